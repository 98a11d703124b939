"""Writes tests/golden/stats_resampling.json: exact Mann-Whitney tests, permutation tests, BCa intervals, quantiles and
false discovery rates by SciPy and statsmodels. The C++ test compares pva's room `stats` with it.

    python3 tests/reference/stats/make_resampling_golden.py    (from the root of the checkout; needs numpy, scipy, statsmodels)
"""
import itertools
import json
import math
import pathlib
from fractions import Fraction

import numpy as np
import scipy
import scipy.stats
import statsmodels
import statsmodels.stats.multitest

rng = np.random.default_rng(20240613)


def sparse(n, k):
    values = np.zeros(n)
    values[rng.permutation(n)[:k]] = np.round(rng.gamma(2.0, 2.0, k), 1) + 0.5
    return values


def by_counting(p, n):
    """Twice the smaller tail of the rank sum over all choices of positives, in whole numbers: the rows outside the largest
    group of ties are chosen one set after the other, the rest is counted by binomial coefficients."""
    pooled = np.concatenate([p, n])
    ranks = [int(r) for r in 2 * scipy.stats.rankdata(pooled)]
    observed = sum(ranks[: len(p)])
    values, counts = np.unique(pooled, return_counts=True)
    common = values[np.argmax(counts)]
    rest = [r for r, v in zip(ranks, pooled) if v != common]
    rank_of_common = next(r for r, v in zip(ranks, pooled) if v == common)
    zeros = len(pooled) - len(rest)
    less = greater = 0
    for j in range(min(len(rest), len(p)) + 1):
        ways = math.comb(zeros, len(p) - j) if len(p) >= j else 0
        if ways == 0:
            continue
        for chosen in itertools.combinations(rest, j):
            statistic = sum(chosen) + (len(p) - j) * rank_of_common
            less += ways * (statistic <= observed)
            greater += ways * (statistic >= observed)
    return float(min(Fraction(1), 2 * Fraction(min(less, greater), math.comb(len(pooled), len(p)))))


EXACT = {
    "no ties": (rng.normal(0.5, 1, 12), rng.normal(0, 1, 15)),
    "no ties, larger": (rng.normal(0.6, 1, 18), rng.normal(0, 1, 20)),
    "one each": ([1.0], [2.0]),
    "one positive": ([1.5], rng.normal(0, 2, 20)),
    "one negative": (rng.normal(0, 2, 20), [0.25]),
    "constant": (np.full(3, 0.1), np.full(6, 0.1)),
    "worked example": ([0, 0, 1.5, 2, 2, 3.5], [0, 0, 0, 0.5, 1, 2, 0, 0]),
    "ties, small": (rng.integers(0, 4, 7).astype(float), rng.integers(1, 5, 6).astype(float)),
    "negative values and zeros": (np.round(rng.normal(0.3, 1, 6)), np.round(rng.normal(-0.3, 1, 7))),
    "separated": (rng.uniform(2, 3, 6), rng.uniform(0, 1, 5)),
    "sparse, 5 of 489": (sparse(147, 4), sparse(342, 1)),
    "sparse, all in the smaller class": (sparse(147, 8), np.zeros(342)),
    "sparse, all in the larger class": (np.zeros(147), sparse(342, 12)),
    "sparse, 15 of 489": (sparse(147, 9), sparse(342, 6)),
    "sparse, 18 of 10000": (sparse(4000, 12), sparse(6000, 6)),
    "few zeros": (np.concatenate([rng.uniform(1, 2, 8), np.zeros(2)]), np.concatenate([rng.uniform(0.5, 2, 6), np.zeros(1)])),
}


def exact(name, p, n):
    p, n = np.asarray(p, float), np.asarray(n, float)
    pooled = np.concatenate([p, n])
    outside = len(pooled) - np.unique(pooled, return_counts=True)[1].max()
    case = {"positives": p.tolist(), "negatives": n.tolist()}
    if len(set(pooled)) == len(pooled):
        case["p"] = scipy.stats.mannwhitneyu(p, n, method="exact").pvalue
        if outside > 18:
            return case
    counted = by_counting(p, n)
    if "p" in case:
        assert math.isclose(case["p"], counted, rel_tol=1e-12), name
    case["p"] = counted
    if math.comb(len(pooled), len(p)) <= 5000 and min(len(p), len(n)) > 1:
        # SciPy itself, through all permutations.
        r = scipy.stats.mannwhitneyu(p, n, use_continuity=False, method=scipy.stats.PermutationMethod(n_resamples=np.inf)) if len(set(pooled)) > 1 else None
        if r is not None:
            assert math.isclose(r.pvalue, counted, rel_tol=1e-12), (name, r.pvalue, counted)
            case["checked_with_scipy_permutations"] = True
    return case


def make_bca():
    """SciPy's interval from SciPy's own draws: the draws go into the file."""
    out = []
    for n, m, level in ((25, 0, 0.95), (40, 0, 0.9), (12, 17, 0.95)):
        x = np.round(rng.gamma(2, 1, n), 3)
        if m == 0:
            r = scipy.stats.bootstrap((x,), np.mean, n_resamples=199, confidence_level=level, method="BCa", rng=np.random.default_rng(5))
            jackknife = [[np.delete(x, i).mean() for i in range(n)]]
            estimate = x.mean()
            percentile = scipy.stats.bootstrap((x,), np.mean, n_resamples=0, bootstrap_result=r, confidence_level=level, method="percentile")
        else:
            y = np.round(rng.gamma(2, 1, m) + 0.5, 3)

            def difference(a, b, axis=-1):
                return a.mean(axis=axis) - b.mean(axis=axis)

            r = scipy.stats.bootstrap((x, y), difference, n_resamples=199, confidence_level=level, method="BCa", rng=np.random.default_rng(6))
            jackknife = [[np.delete(x, i).mean() - y.mean() for i in range(n)], [x.mean() - np.delete(y, i).mean() for i in range(m)]]
            estimate = x.mean() - y.mean()
            percentile = scipy.stats.bootstrap((x, y), difference, n_resamples=0, bootstrap_result=r, confidence_level=level, method="percentile")
        out.append({"draws": r.bootstrap_distribution.tolist(), "estimate": float(estimate), "confidence": level, "jackknife": [[float(v) for v in j] for j in jackknife],
                    "bca": list(map(float, r.confidence_interval)), "percentile": list(map(float, percentile.confidence_interval))})
    return out


def make_fdr():
    lists = [[0.7], [1.0, 0.0, 1.0], rng.random(60).tolist(), (rng.random(200) ** 6).tolist(), np.round(rng.random(80), 1).tolist()]
    return [{"p": p, "q": statsmodels.stats.multitest.multipletests(p, method="fdr_bh")[1].tolist()} for p in lists]


def make_quantiles():
    values = np.round(rng.normal(0, 1, 31), 2)
    return {"values": values.tolist(), "shares": (shares := [0, 0.025, 0.1, 1 / 3, 0.5, 0.77, 0.975, 1]), "quantiles": [float(np.quantile(values, s)) for s in shares]}


golden = {
    "made_by": "tests/reference/stats/make_resampling_golden.py",
    "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__},
    "exact_mann_whitney": {name: exact(name, p, n) for name, (p, n) in EXACT.items()},
    "bca": make_bca(),
    "fdr": make_fdr(),
    "quantiles": make_quantiles(),
}
path = pathlib.Path("tests/golden/stats_resampling.json")
path.write_text(json.dumps(golden, allow_nan=False, separators=(",", ":")).replace("},", "},\n") + "\n")
print(path, path.stat().st_size, "bytes", sum("checked_with_scipy_permutations" in c for c in golden["exact_mann_whitney"].values()), "checked by SciPy's permutations")
