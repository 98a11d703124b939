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
        normal = some & (stored["mann_whitney_exact"] == 0)
        compare("mann_whitney_p", stored["mann_whitney_p"][normal], stats.mannwhitneyu(right[:, normal], wrong[:, normal], method="asymptotic").pvalue, 1e-3)
        exact = np.flatnonzero(some & (stored["mann_whitney_exact"] == 1))[:20]
        for j in exact:
            # All ways to choose the right rows are too many; that many at random come near.
            r = stats.mannwhitneyu(right[:, j], wrong[:, j], method=stats.PermutationMethod(n_resamples=9999, rng=np.random.default_rng(1)))
            compare("exact p, by 9,999 permutations", stored["mann_whitney_p"][j], r.pvalue, 0.05)
    tested = file["kept"][:] != 0
    p = file["statistics/mann_whitney_p"][:]
    compare("q_value", file["statistics/q_value"][:][tested], stats.false_discovery_control(p[tested], method="bh"), 1e-12)
    assert np.isnan(file["statistics/q_value"][:][~tested]).all() and ((file["statistics/fired_rows"][:] >= 5) == tested).all()
    maxima = file["permutation/maximum"][:]
    distance = np.abs(file["score"][:][tested])
    family = [(1 + (maxima >= d * (1 - 1e-12)).sum()) / (1 + len(maxima)) for d in distance]
    compare("family_wise_p", file["statistics/family_wise_p"][:][tested], family, 1e-12)
    # Held-out values of ranked latents.
    for direction in ("right", "wrong"):
        for rank in range(5):
            layer, latent = file[f"ranked_{direction}/layer"][rank], file[f"ranked_{direction}/latent"][rank]
            a = roc_auc_score(passed[tuning] if direction == "right" else 1 - passed[tuning], codes(layer)[tuning, latent])
            compare("tuning auroc of ranked latents", file[f"ranked_{direction}/tuning_auroc"][rank], a, 1e-3)
    names = [name.decode().rstrip("\0") for name in file["baseline/name"][:]]
    for b, name in enumerate(names):
        layer, sign = file["baseline/layer"][b], file["baseline/sign"][b]
        if name == "best dimension":
            x = residual[:, layer]
            distance = [abs(roc_auc_score(passed[selection], x[selection, j]) - 0.5) for j in range(x.shape[1])]
            compare("best dimension", [0.5 + max(distance), np.argmax(distance)], [file["baseline/auroc"][b], file["baseline/index"][b]], 1e-12)
            compare("best dimension on tuning", file["baseline/tuning_auroc"][b], roc_auc_score(passed[tuning], sign * x[tuning, np.argmax(distance)]), 1e-12)
        if name == "difference of means":
            x = residual[:, layer]
            w = x[selection & (passed == 1)].mean(axis=0) - x[selection & (passed == 0)].mean(axis=0)
            compare("difference of means on tuning", file["baseline/tuning_auroc"][b], roc_auc_score(passed[tuning], x[tuning] @ w), 1e-9)
        if name == "logistic probe":
            x = residual[:, layer]
            mean, sd = x[selection].mean(axis=0), x[selection].std(axis=0, ddof=1)
            z = (x - mean) / sd / np.sqrt(x.shape[1])
            model = LogisticRegression(solver="liblinear", C=file["baseline/strength"][b], tol=1e-8, max_iter=100000).fit(z[selection], passed[selection])
            score = file["baseline/tuning_score"][b]
            compare("logistic probe on tuning", score / np.abs(score).max(), model.decision_function(z[tuning]) / np.abs(score).max(), 1e-3)

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
        elif name == "words of the text":
            words = CountVectorizer(ngram_range=(1, 2), binary=True, min_df=2, token_pattern=r"[A-Za-z0-9_]+")
            model = LogisticRegression(solver="liblinear", C=1.0, tol=1e-10, max_iter=10000).fit(words.fit_transform(texts[selection]), passed[selection])
            theirs = model.decision_function(words.transform(texts[held_out]))
            compare("words of the text", score, theirs, 1e-4)
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
