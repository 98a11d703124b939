"""Writes tests/golden/analysis.json: statistics of latents, held-out detection and a bag of words by NumPy, SciPy and
scikit-learn. The C++ test compares pva's room `analysis` with it.

    python3 tests/reference/analysis/make_golden.py [mbpp.jsonl]

from the root of the checkout; needs numpy, scipy, scikit-learn. With the MBPP file, decision values for its problem
texts are added; the texts themselves are not stored.
"""
import json
import math
import pathlib
import sys

import numpy as np
import scipy
import scipy.special
import scipy.stats
import sklearn
import sklearn.metrics
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(20240612)


def delong_variance(p, n):
    wins = (p[:, None] > n[None, :]) + 0.5 * (p[:, None] == n[None, :])
    return wins.mean(axis=1).var(ddof=1) / len(p) + wins.mean(axis=0).var(ddof=1) / len(n)


def latent(column, labels):
    right, wrong = column[labels == 1], column[labels == 0]
    out = {"fired_rows": int((column != 0).sum()),
           "firing_share_right": (right != 0).mean(), "firing_share_wrong": (wrong != 0).mean(),
           "mean_right": right.mean(), "mean_wrong": wrong.mean(),
           "variance_right": right.var(ddof=1), "variance_wrong": wrong.var(ddof=1),
           "auroc": sklearn.metrics.roc_auc_score(labels, column),
           "auroc_standard_error": math.sqrt(delong_variance(right, wrong))}
    if len(set(column)) == 1:
        out |= {"variance_right": 0.0, "variance_wrong": 0.0, "cohens_d": 0.0, "welch_t": 0.0,
                "welch_df": len(labels) - 2.0, "welch_p": 1.0}
    else:
        test = scipy.stats.ttest_ind(right, wrong, equal_var=False)
        squares = (len(right) - 1) * out["variance_right"] + (len(wrong) - 1) * out["variance_wrong"]
        pooled = squares / (len(labels) - 2)
        out |= {"cohens_d": (out["mean_right"] - out["mean_wrong"]) / math.sqrt(pooled),
                "welch_t": test.statistic, "welch_df": test.df, "welch_p": test.pvalue}
    return out


def make_latents(rows, columns, negative):
    """Sparse columns of many densities, values on a coarse grid so that ties are common; some columns special."""
    labels = (rng.random(rows) < 0.4).astype(int)
    labels[:2], labels[2:4] = 1, 0
    density = rng.choice([0.02, 0.1, 0.3, 0.8, 1.0], columns)
    values = np.round(rng.gamma(2, 1, (rows, columns)) + 0.5 * labels[:, None] * rng.integers(0, 2, columns), 1)
    if negative:
        values *= rng.choice([-1, 1], (rows, columns))
    dense = np.where(rng.random((rows, columns)) < density, values, 0).astype(np.float32)
    dense[:, 0] = 0                           # never fires
    dense[:, 1] = np.float32(0.7)             # constant
    dense[:, 2] = np.where(labels == 1, 1 + np.arange(rows) % 3, 0)   # fires exactly on one class
    dense[:, 3] = 0
    dense[5, 3] = 1.5                         # fires once
    offsets, latents, kept = [0], [], []
    for row in dense:
        (nonzero,) = np.nonzero(row)
        latents += nonzero.tolist()
        kept += [float(x) for x in row[nonzero]]
        offsets.append(len(latents))
    return {"labels": labels.tolist(), "n_latents": columns, "row_offsets": offsets, "latents": latents, "values": kept,
            "expected": [latent(dense[:, j].astype(np.float64), labels) for j in range(columns)]}


def make_detection(tie, positive_class):
    def part(n):
        passed = (rng.random(n) < 0.4).astype(int)
        passed[:3], passed[3:6] = 1, 0
        signal = (passed if positive_class == "right" else 1 - passed) + rng.normal(0, 1, n)
        return np.maximum(0, np.round(signal * 2) / 2) if tie else signal, passed
    tuning, tuning_passed = part(97)
    analysis, analysis_passed = part(388)
    y = tuning_passed if positive_class == "right" else 1 - tuning_passed
    z = analysis_passed if positive_class == "right" else 1 - analysis_passed
    distinct = np.unique(tuning)
    midpoints = (distinct[:-1] + distinct[1:]) / 2
    candidates = np.concatenate([distinct[:1], midpoints, [np.nextafter(distinct[-1], np.inf)]])
    scores = [sklearn.metrics.f1_score(y, tuning >= t, zero_division=0) for t in candidates]
    best = max(range(len(candidates)), key=lambda i: (round(scores[i], 12), i))
    predicted = (analysis >= candidates[best]).astype(int)
    tn, fp, fn, tp = sklearn.metrics.confusion_matrix(z, predicted).ravel().tolist()
    a = sklearn.metrics.roc_auc_score(z, analysis)
    se = math.sqrt(delong_variance(analysis[z == 1], analysis[z == 0]))
    half = scipy.stats.norm.ppf(0.975) * se / (a * (1 - a))
    return {"positive_class": positive_class, "tuning": tuning.tolist(), "tuning_passed": tuning_passed.tolist(),
            "analysis": analysis.tolist(), "analysis_passed": analysis_passed.tolist(),
            "expected": {"threshold": candidates[best], "tuning_f1": scores[best],
                         "tp": tp, "fp": fp, "tn": tn, "fn": fn,
                         "base_rate": z.mean(), "auroc": a, "auroc_standard_error": se,
                         "lower": scipy.special.expit(scipy.special.logit(a) - half),
                         "upper": scipy.special.expit(scipy.special.logit(a) + half),
                         "f1": sklearn.metrics.f1_score(z, predicted),
                         "always_positive_f1": sklearn.metrics.f1_score(z, np.ones_like(z)),
                         "precision": sklearn.metrics.precision_score(z, predicted),
                         "recall": sklearn.metrics.recall_score(z, predicted),
                         "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(z, predicted),
                         "mcc": sklearn.metrics.matthews_corrcoef(z, predicted),
                         "average_precision": sklearn.metrics.average_precision_score(z, analysis)}}


WORDS = ("Write a function to find the SUM of all even odd numbers in list2 my_list (sorted), count vowels; reverse "
         "string without using map/filter — naïve: return True if x>=10 else False. tuple_of_3 Gruppe A_1").split(" ")


def bag_of_words(texts, labels):
    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True, min_df=2, token_pattern=r"[A-Za-z0-9_]+")
    x = vectorizer.fit_transform(texts)
    model = LogisticRegression(solver="liblinear", C=1, tol=1e-10, max_iter=10000).fit(x, labels)
    return vectorizer, model, x


def make_texts():
    def text():
        return " ".join(rng.choice(WORDS, rng.integers(5, 15)))

    train = [text() for _ in range(200)]
    held_out = [text() for _ in range(100)] + ["", "unseen words only here", "SUM sum sum"]

    def label(t):
        return int(("even" in t) + rng.normal(0, 0.7) > 0.5)

    train_labels, held_out_labels = [label(t) for t in train], [label(t) for t in held_out]
    vectorizer, model, x = bag_of_words(train, train_labels)
    held_out_values = model.decision_function(vectorizer.transform(held_out))
    return {"train": train, "train_labels": train_labels, "held_out": held_out, "held_out_labels": held_out_labels,
            "vocabulary": sorted(vectorizer.vocabulary_), "intercept": float(model.intercept_[0]),
            "train_values": model.decision_function(x).tolist(), "held_out_values": held_out_values.tolist(),
            "held_out_auroc": sklearn.metrics.roc_auc_score(held_out_labels, held_out_values)}


def make_mbpp(path):
    """Even rows train, odd rows are scored; the label: the reference solution has fewer than 8 line ends."""
    problems = [json.loads(line) for line in open(path, encoding="utf-8")]
    labels = [int(p["code"].count("\n") < 8) for p in problems]
    texts = [p["text"] for p in problems]
    vectorizer, model, _ = bag_of_words(texts[::2], labels[::2])
    values = model.decision_function(vectorizer.transform(texts[1::2]))
    return {"n_terms": len(vectorizer.vocabulary_), "held_out_values": values.tolist(),
            "held_out_auroc": sklearn.metrics.roc_auc_score(labels[1::2], values)}


golden = {
    "made_by": "tests/reference/analysis/make_golden.py",
    "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__},
    "latent_statistics": [make_latents(60, 24, False), make_latents(150, 16, True)],
    "detection": [make_detection(tie, c) for tie in (False, True) for c in ("right", "wrong")],
    "bag_of_words": make_texts(),
}
path = pathlib.Path("tests/golden/analysis.json")
if len(sys.argv) > 1:
    golden["bag_of_words_mbpp"] = make_mbpp(sys.argv[1])
elif path.exists():
    golden["bag_of_words_mbpp"] = json.loads(path.read_text())["bag_of_words_mbpp"]
text = json.dumps(golden, allow_nan=False, separators=(",", ":"))
path.write_text(text.replace("},{", "},\n{").replace('],"', '],\n"') + "\n")
print(path, path.stat().st_size, "bytes")
