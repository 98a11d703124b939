"""Recomputes the figures of a finished study from its dataset, split and SAEs by other means (NumPy, SciPy, scikit-learn),
and compares them with what phases 2 and 3 stored.

    python tests/reference/study/check_study.py --results DIR --demo data/demo

DIR is a data folder with phase0 ... phase3. Prints the largest differences; exit code 1 when one is too large.
Needs h5py, numpy, scipy, scikit-learn.
"""
import argparse
import glob
import json
import os
import sys

import h5py
import numpy as np
from scipy import stats
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, matthews_corrcoef, roc_auc_score

parser = argparse.ArgumentParser()
parser.add_argument("--results", required=True)
parser.add_argument("--demo", required=True)
arguments = parser.parse_args()
worst = {}


def compare(name, ours, theirs, tolerance):
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    difference = float(np.max(np.abs(ours - theirs) / np.maximum(1, np.abs(theirs)))) if ours.size else 0.0
    before = worst.get(name, (0.0, tolerance))
    worst[name] = (max(before[0], difference), tolerance)


def newest(pattern):
    return sorted(glob.glob(os.path.join(arguments.results, pattern)))[-1]


with h5py.File(newest("phase1_0/dataset_*.h5")) as file:
    ids, passed = file["task_id"][:], file["passed"][:].astype(int)
    residual, tokens = file["residual/resid_post"][:].astype(np.float64), file["prompt_tokens"][:]
with h5py.File(newest("phase1_1/splits_*.h5")) as file:
    part, complexity = file["part"][:], file["complexity"][:]
    assert (file["task_id"][:] == ids).all()
with open(os.path.join(arguments.demo, "problems.jsonl")) as file:
    texts = {p["task_id"]: p["text"] for p in map(json.loads, file)}
texts = np.array([texts[i] for i in ids])
selection, tuning, analysis = part == 0, part == 1, part == 2


def codes(layer):
    sae = np.load(os.path.join(arguments.demo, "saes", f"layer_{layer}", "params.npz"))
    pre = residual[:, layer] @ sae["W_enc"].astype(np.float64) + sae["b_enc"]
    return np.where((pre > sae["threshold"]) & (pre > 0), pre, 0)


with h5py.File(newest("phase2/latents_*_selection_*.h5")) as file:
    for index, layer in enumerate(file["layer"][:]):
        values = codes(layer)[selection]
        right, wrong = values[passed[selection] == 1], values[passed[selection] == 0]
        stored = {name: file["statistics/" + name][index] for name in file["statistics"]}
        fires = (values != 0).sum(axis=0)
        # A float32 value within rounding of its threshold may fall on the other side in float64: leave such latents out.
        same = fires == stored["fired_rows"]
        print(f"layer {layer}: {same.mean():.2%} of the latents fire on the same number of rows in float64")
        assert same.mean() > 0.99
        some = same & (fires >= 5)
        compare("mean_right", stored["mean_right"][some], right.mean(axis=0)[some], 1e-5)
        compare("variance_wrong", stored["variance_wrong"][some], wrong.var(axis=0, ddof=1)[some], 1e-4)
        t = stats.ttest_ind(right[:, some], wrong[:, some], equal_var=False)
        compare("welch_t", stored["welch_t"][some], t.statistic, 1e-4)
        compare("welch_p", stored["welch_p"][some], t.pvalue, 1e-4)
        pooled = np.sqrt(((len(right) - 1) * right.var(axis=0, ddof=1) + (len(wrong) - 1) * wrong.var(axis=0, ddof=1)) / (len(values) - 2))[some]
        compare("cohens_d", stored["cohens_d"][some], (right.mean(axis=0) - wrong.mean(axis=0))[some] / pooled, 1e-4)
        # Ranks of float32 and float64 values can differ only where two values are within rounding of each other.
        compare("auroc", stored["auroc"][some], [roc_auc_score(passed[selection], values[:, j]) for j in np.flatnonzero(some)], 1e-3)

with h5py.File(newest("phase3/validation_*.h5")) as file:
    held_out = ~selection
    assert (file["task_id"][:] == ids[held_out]).all()
    in_analysis = file["part"][:] == 2
    for unit, name in enumerate(file["detector"].asstr()[:] if file["detector"].dtype.kind == "O" else [n.decode() for n in file["detector"][:]]):
        score, sign, positive = file["score"][unit], file["sign"][unit], file["positive_class"][unit]
        target = passed if positive == 0 else 1 - passed
        if name.startswith("latent"):
            compare("score of a latent", score, codes(file["layer"][unit])[held_out, file["latent"][unit]], 1e-4)
        elif name == "prompt length":
            compare("prompt length", score, tokens[held_out], 0)
        elif name == "complexity":
            compare("complexity", score, complexity[held_out], 0)
        else:
            words = CountVectorizer(ngram_range=(1, 2), binary=True, min_df=2, token_pattern=r"[A-Za-z0-9_]+")
            model = LogisticRegression(solver="liblinear", C=1.0, tol=1e-10, max_iter=10000).fit(words.fit_transform(texts[selection]), passed[selection])
            theirs = model.decision_function(words.transform(texts[held_out]))
            compare("words of the text", score, theirs if positive == 0 else -theirs, 1e-4)
        y, s = target[analysis], sign * score[in_analysis]
        predicted = s >= file["threshold"][unit]
        compare("held-out auroc", file["auroc"][unit], roc_auc_score(y, s), 1e-12)
        compare("held-out average precision", file["average_precision"][unit], average_precision_score(y, s), 1e-12)
        compare("held-out f1", file["f1"][unit], f1_score(y, predicted), 1e-12)
        compare("held-out mcc", file["mcc"][unit], matthews_corrcoef(y, predicted), 1e-12)
        # The threshold has the best F1 of all on the tuning part.
        y, s = target[tuning], sign * score[~in_analysis]
        best = max(f1_score(y, s >= t) for t in np.append(np.unique(s), np.inf))
        compare("tuning f1", file["tuning_f1"][unit], best, 1e-12)

bad = 0
for name, (difference, tolerance) in worst.items():
    print(f"{'ok    ' if difference <= tolerance else 'FAILED'} {name}: largest difference {difference:.2g} (allowed {tolerance:g})")
    bad += difference > tolerance
print(f"{len(worst) - bad} passed, {bad} failed")
sys.exit(1 if bad else 0)
