"""Writes tests/golden/stats.json: statistics of seeded inputs by NumPy, SciPy and scikit-learn, and by brute force
where these have no function (DeLong, thresholds). The C++ test compares pva's room `stats` with it.

    python3 tests/reference/stats/make_golden.py      (from the root of the checkout; needs numpy, scipy, scikit-learn)
"""
import json
import math
import pathlib
import warnings
from fractions import Fraction

import numpy as np
import scipy
import scipy.special
import scipy.stats
import sklearn
import sklearn.metrics

warnings.filterwarnings("ignore")
rng = np.random.default_rng(20240611)


def sparse(n, share, low=0.5):
    values = np.where(rng.random(n) < share, np.round(rng.gamma(2.0, 2.0, n), 1) + low, 0.0)
    return values


CASES = {
    "worked example": ([0, 0, 1.5, 2, 2, 3.5], [0, 0, 0, 0.5, 1, 2, 0, 0]),
    "normal": (rng.normal(0.5, 1, 40), rng.normal(0, 2, 60)),
    "sparse with ties": (sparse(147, 0.3), sparse(342, 0.15)),
    "very sparse": (sparse(82, 0.03), sparse(82, 0.05)),
    "integers": (rng.integers(0, 5, 30), rng.integers(1, 6, 25)),
    "negative values and zeros": (np.round(rng.normal(0.3, 1, 50)), np.round(rng.normal(-0.3, 1, 45))),
    "all zero": (np.zeros(5), np.zeros(7)),
    "constant": (np.full(3, 0.1), np.full(6, 0.1)),
    "one class constant": (np.full(6, 1.25), rng.normal(1, 0.5, 9)),
    "never in one class": (sparse(30, 0.4), np.zeros(40)),
    "separated": (rng.uniform(2, 3, 12), rng.uniform(0, 1, 9)),
    "separated the other way": (rng.uniform(0, 1, 8), rng.uniform(2, 3, 12)),
    "one positive": ([1.5], rng.normal(0, 2, 20)),
    "one negative": (rng.normal(0, 2, 20), [0.25]),
    "one each": ([1.0], [2.0]),
    "two each": ([1.0, 4.0], [2.0, 3.0]),
    "large offset": (1e3 + rng.normal(0.2, 1, 50), 1e3 + rng.normal(0, 1, 50)),
    "far apart": (rng.normal(8, 1, 300), rng.normal(0, 1, 400)),
}


def components(own, other, positive):
    """DeLong's structural components by comparing every pair."""
    own, other = np.asarray(own)[:, None], np.asarray(other)[None, :]
    wins = own > other if positive else own < other
    return (wins + 0.5 * (own == other)).mean(axis=1)


def delong(p, n):
    v10, v01 = components(p, n, True), components(n, p, False)
    variance = v10.var(ddof=1) / len(p) + v01.var(ddof=1) / len(n)
    a = v10.mean()
    out = {"variance": variance}
    if variance > 1e-20:
        half = scipy.stats.norm.ppf(0.975) * math.sqrt(variance) / (a * (1 - a))
        logit = scipy.special.logit(a)
        out["interval"] = [scipy.special.expit(logit - half), scipy.special.expit(logit + half)]
    return out


def thresholds(scores, labels):
    """Brute force over all candidates in exact fractions; of equal ones the highest threshold."""
    distinct = sorted(set(scores))
    midpoints = [(a + b) / 2 for a, b in zip(distinct, distinct[1:])]
    candidates = [distinct[0], *midpoints, math.nextafter(distinct[-1], math.inf)]
    n1, n0 = int(sum(labels)), int(len(labels) - sum(labels))
    best = {}
    for t in candidates:
        pred = np.asarray(scores) >= t
        tp, fp = int((pred & (labels == 1)).sum()), int((pred & (labels == 0)).sum())
        f1 = Fraction(2 * tp, tp + fp + n1)
        youden = Fraction(tp, n1) - Fraction(fp, n0)
        for key, value in (("f1", f1), ("youden", youden)):
            if key not in best or value >= best[key][0]:
                best[key] = (value, t)
    return candidates, {key: t for key, (_, t) in best.items()}


def describe(p, n):
    p, n = np.asarray(p, dtype=float), np.asarray(n, dtype=float)
    pooled = np.concatenate([p, n])
    labels = np.concatenate([np.ones(len(p), int), np.zeros(len(n), int)])
    order = rng.permutation(len(pooled))
    scores, labels = pooled[order], labels[order]
    case = {"scores": scores.tolist(), "labels": labels.tolist(), "midranks": scipy.stats.rankdata(scores).tolist()}
    constant = len(set(pooled)) == 1
    exact = []  # mean and variance as fractions: no rounding of sums
    for key, x in (("positives", p), ("negatives", n)):
        values = [Fraction(v) for v in x.tolist()]
        mean = sum(values) / len(values)
        case[key] = {"count": len(x), "mean": float(mean)}
        if len(x) > 1:
            variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
            case[key]["variance"] = float(variance)
            exact.append((mean, variance, len(x)))
    if not constant:
        for key, continuity in (("mann_whitney", False), ("mann_whitney_corrected", True)):
            r = scipy.stats.mannwhitneyu(p, n, method="asymptotic", use_continuity=continuity)
            case[key] = {"u": r.statistic, "p": r.pvalue}
    case["auroc"] = sklearn.metrics.roc_auc_score(labels, scores)
    case["average_precision"] = sklearn.metrics.average_precision_score(labels, scores)
    if len(p) > 1 and len(n) > 1:
        case["delong"] = delong(p, n)
        if not constant:
            (m1, v1, n1), (m0, v0, n0) = exact
            se2 = v1 / n1 + v0 / n0
            t = float(m1 - m0) / math.sqrt(se2)
            df = float(se2**2 / ((v1 / n1) ** 2 / (n1 - 1) + (v0 / n0) ** 2 / (n0 - 1)))
            case["welch"] = {"t": t, "df": df, "p": 2 * scipy.stats.t.sf(abs(t), df)}
            r = scipy.stats.ttest_ind(p, n, equal_var=False)  # rounds at the size of the values, hence the tolerance
            assert np.allclose([r.statistic, r.df, r.pvalue], [t, df, case["welch"]["p"]], rtol=1e-6), r
            v = n1 + n0 - 2
            d = float(m1 - m0) / math.sqrt(((n1 - 1) * v1 + (n0 - 1) * v0) / v)
            j = math.exp(math.lgamma(v / 2) - math.lgamma((v - 1) / 2)) / math.sqrt(v / 2)
            case["cohens_d"], case["hedges_g"] = d, d * j
    candidates, best = thresholds(scores.tolist(), labels)
    case["candidates"] = candidates
    for key, t in best.items():
        predicted = (scores >= t).astype(int)
        tn, fp, fn, tp = sklearn.metrics.confusion_matrix(labels, predicted, labels=[0, 1]).ravel().tolist()
        case[key] = {
            "threshold": t, "tp": tp, "fp": fp, "tn": tn, "fn": fn,
            "precision": sklearn.metrics.precision_score(labels, predicted, zero_division=0),
            "recall": sklearn.metrics.recall_score(labels, predicted),
            "f1": sklearn.metrics.f1_score(labels, predicted, zero_division=0),
            "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(labels, predicted),
            "mcc": sklearn.metrics.matthews_corrcoef(labels, predicted)}
    return case


def paired(labels, a, b):
    one, zero = labels == 1, labels == 0
    v10 = np.array([components(s[one], s[zero], True) for s in (a, b)])
    v01 = np.array([components(s[zero], s[one], False) for s in (a, b)])
    s = np.cov(v10) / one.sum() + np.cov(v01) / zero.sum()
    variance = s[0, 0] + s[1, 1] - 2 * s[0, 1]
    z = (v10[0].mean() - v10[1].mean()) / math.sqrt(variance)
    return {"labels": labels.tolist(), "a": a.tolist(), "b": b.tolist(),
            "auroc_a": v10[0].mean(), "auroc_b": v10[1].mean(), "variance": variance,
            "z": z, "p": 2 * scipy.stats.norm.sf(abs(z))}


def make_paired():
    out = []
    for n in (12, 60, 200):
        labels = (np.arange(n) % 3 == 0).astype(int)
        signal = labels + rng.normal(0, 1.5, n)
        a = np.round(signal + rng.normal(0, 1, n), 1)
        b = np.maximum(0, np.round(signal + rng.normal(0, 2, n), 1))
        out.append(paired(labels, a, b))
    return out


def make_proportions():
    out = []
    for k, n in ((0, 1), (1, 1), (0, 272), (11, 272), (17, 116), (272, 272), (1, 3), (500, 1000), (3, 10**6)):
        test = scipy.stats.binomtest(k, n)
        entry = {"successes": k, "trials": n}
        for level in (0.95, 0.99):
            ci = test.proportion_ci(level, "wilson")
            entry[f"wilson_{round(level * 100)}"] = [ci.low, ci.high]
            # By the beta distribution: binomtest's "exact" solves for the limits only to an absolute 2e-12.
            tail = (1 - level) / 2
            low = scipy.stats.beta.ppf(tail, k, n - k + 1) if k > 0 else 0.0
            high = scipy.stats.beta.isf(tail, k + 1, n - k) if k < n else 1.0
            assert np.allclose(list(test.proportion_ci(level, "exact")), [low, high], rtol=0, atol=1e-11)
            entry[f"clopper_pearson_{round(level * 100)}"] = [low, high]
        out.append(entry)
    return out


def make_bh():
    lists = [[.001, .008, .039, .041, .042, .06, .074, .205, .212, .216], [0.7], [1.0, 0.0, 1.0],
             [0.02, 0.02, 0.01, 0.5, 0.5], rng.random(200).tolist(), (rng.random(300) ** 8).tolist()]
    return [{"p": p, "q": scipy.stats.false_discovery_control(p, method="bh").tolist()} for p in lists]


golden = {
    "made_by": "tests/reference/stats/make_golden.py",
    "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__},
    "two_groups": {name: describe(p, n) for name, (p, n) in CASES.items()},
    "paired_delong": make_paired(),
    "proportions": make_proportions(),
    "benjamini_hochberg": make_bh(),
}
path = pathlib.Path("tests/golden/stats.json")
path.parent.mkdir(parents=True, exist_ok=True)
text = json.dumps(golden, allow_nan=False, separators=(",", ":"))
path.write_text(text.replace('"},"', '"},\n"').replace('},{', '},\n{') + "\n")
print(path, path.stat().st_size, "bytes")
