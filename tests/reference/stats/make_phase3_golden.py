"""Writes tests/golden/stats_phase3.json: exact tests, trends, curves, power, corrections and bootstraps over problems by SciPy,
scikit-learn and statsmodels, and by plain arithmetic where these have no function (Newcombe, Hanley-McNeil, the one-standard-
error rule). The C++ test compares pva's room `stats` with it.

    python3 tests/reference/stats/make_phase3_golden.py    (from the root of the checkout; needs numpy, scipy, scikit-learn, statsmodels)
"""
import json
import math
import pathlib
from fractions import Fraction

import numpy as np
import scipy
import scipy.optimize
import scipy.stats
import sklearn
import sklearn.metrics
import statsmodels
import statsmodels.api as sm
import statsmodels.stats.multitest
import statsmodels.stats.proportion
from statsmodels.stats.contingency_tables import Table, mcnemar

rng = np.random.default_rng(20240615)


def make_mcnemar():
    out = []
    for b, c in ((0, 0), (1, 0), (0, 1), (5, 5), (1, 1), (11, 17), (5, 1), (11, 0), (1, 7), (6, 16), (40, 63), (500, 560), (3, 200)):
        p = mcnemar([[10, b], [c, 10]], exact=True).pvalue if b + c else 1.0
        # The exact p in whole numbers; mid-p from the same counts (Fagerland, Lydersen and Laake 2013).
        k, n = min(b, c), b + c
        tail, at = Fraction(sum(math.comb(n, i) for i in range(k + 1)), 2**n), Fraction(math.comb(n, k), 2**n)
        assert math.isclose(p, min(1.0, float(2 * tail)), rel_tol=1e-11)
        mid = 1.0 if n == 0 else float(1 - at / 2) if b == c else float(2 * tail - at)
        out.append({"gained": b, "lost": c, "p": min(1.0, float(2 * tail)), "mid_p": mid})
    return out


def wilson(k, n, level):
    ci = scipy.stats.binomtest(k, n).proportion_ci(level, "wilson")
    return ci.low, ci.high


def make_newcombe():
    """Newcombe (1998), method 10, written out as in the paper: first outcome after, second before."""
    out = []
    for yes, gained, lost, no in ((1, 1, 7, 12), (36, 12, 2, 4), (20, 12, 2, 16), (0, 1, 0, 9), (0, 0, 0, 10), (10, 0, 0, 0), (0, 0, 10, 0), (0, 5, 5, 0),
                                  (105, 11, 11, 261), (53, 0, 1, 0), (3, 20, 30, 2), (400, 30, 12, 558), (0, 1, 0, 0)):
        n = yes + gained + lost + no
        for level in (0.95, 0.9):
            p1, p2 = (yes + gained) / n, (yes + lost) / n
            (l1, u1), (l2, u2) = wilson(yes + gained, n, level), wilson(yes + lost, n, level)
            det = yes * no - gained * lost
            margins = math.sqrt((yes + gained) * (lost + no) * (yes + lost) * (gained + no))
            phi = 0.0 if margins == 0 else (det - n / 2 if det > n / 2 else 0.0 if det >= 0 else det) / margins
            delta = math.sqrt(max(0, (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2))
            epsilon = math.sqrt(max(0, (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2))
            net = [1] * gained + [-1] * lost + [0] * (yes + no)
            out.append({"counts": [yes, gained, lost, no], "confidence": level, "net": (gained - lost) / n, "standard_error": float(np.std(net) / math.sqrt(n)),
                        "interval": [p1 - p2 - delta, p1 - p2 + epsilon]})
    return out


def make_fisher():
    tables = [(4, 2, 3, 5), (11, 261, 3, 269), (11, 261, 0, 272), (3, 1, 1, 3), (0, 5, 5, 0), (5, 0, 0, 5), (1, 0, 0, 1), (10, 0, 5, 0), (0, 0, 3, 4), (2, 3, 0, 0),
              (8, 2, 1, 5), (120, 300, 90, 340), (17, 99, 300, 2020), (1, 999, 7, 9000), (2000, 1000, 900, 2100), (7, 7, 7, 7)]
    out = []
    for a, b, c, d in tables:
        case = {"table": [a, b, c, d]}
        for side in ("two_sided", "less", "greater"):
            if min(a + b, c + d, a + c, b + d) == 0:
                case[side] = 1.0
                continue
            # In whole numbers.
            low, high = max(0, a + c - (c + d)), min(a + b, a + c)
            total = math.comb(a + b + c + d, a + c)
            weight = {x: math.comb(a + b, x) * math.comb(c + d, a + c - x) for x in range(low, high + 1)}
            chosen = [x for x in weight if (x >= a if side == "greater" else x <= a if side == "less" else weight[x] * 10**7 <= weight[a] * (10**7 + 1))]
            case[side] = float(Fraction(sum(weight[x] for x in chosen), total))
            by_scipy = scipy.stats.fisher_exact([[a, b], [c, d]], side.replace("_", "-")).pvalue
            assert math.isclose(by_scipy, case[side], rel_tol=1e-9), (a, b, c, d, side, by_scipy, case[side])
        out.append(case)
    return out


def make_binomial():
    out = []
    for k, n, p in ((11, 272, 0.02), (0, 10, 0.3), (10, 10, 0.3), (3, 20, 0.5), (17, 20, 0.5), (10, 20, 0.5), (1, 1, 0.5), (0, 1, 0.1), (5, 100, 0.1), (150, 1000, 0.12), (4, 9, 0.25),
                    (100, 388, 0.299), (7, 272, 0.0), (0, 272, 0.0), (116, 116, 1.0), (115, 116, 1.0), (30, 1000, 0.05), (12, 50, 0.24)):
        case = {"successes": k, "trials": n, "rate": p}
        for side in ("two_sided", "less", "greater"):
            case[side] = float(scipy.stats.binomtest(k, n, p, side.replace("_", "-")).pvalue)
        out.append(case)
    return out


def make_holm():
    lists = [[.001, .008, .039, .041, .042, .06, .074, .205, .212, .216], [0.7], [1.0, 0.0, 1.0], [0.02, 0.02, 0.01, 0.5, 0.5], (rng.random(150) ** 5).tolist()]
    return [{"p": p, "adjusted": statsmodels.stats.multitest.multipletests(p, method="holm")[1].tolist()} for p in lists]


def make_trend():
    out = []
    cases = [([48, 38, 5, 1, 1], [17114, 14502, 793, 127, 38], [0, 0.5, 1.5, 4, 7]), ([10, 20, 30], [100, 100, 100], [1, 2, 3]), ([30, 12, 5], [40, 33, 50], [0, 1, 2]),
             ([1, 0], [1, 1], [0, 1]), ([5, 5], [10, 10], [0, 1]), ([3, 0, 8], [9, 0, 11], [1, 2, 3]), ([116, 90, 70, 66, 40, 31, 20, 9], [388] * 8, [0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4])]
    for successes, trials, scores in cases:
        table = np.array([[s, t - s] for s, t in zip(successes, trials) if t])
        used = np.array([x for x, t in zip(scores, trials) if t], float)
        r = Table(table, shift_zeros=False).test_ordinal_association(row_scores=used, col_scores=np.array([1.0, 0.0]))
        # statsmodels' variance has the divisor N - 1; its z and p are those of pva.
        out.append({"successes": successes, "trials": trials, "scores": scores, "z": float(r.zscore), "p": float(r.pvalue),
                    "greater": float(scipy.stats.norm.sf(r.zscore)), "less": float(scipy.stats.norm.cdf(r.zscore))})
    return out


def make_weighted_trend():
    out = []
    for x, y, se in (([1, 2, 3], [0.62, 0.58, 0.66], [0.03, 0.05, 0.04]), ([0, 1], [0.5, 0.7], [0.1, 0.02]), ([0, 0.3, 0.6, 0.9, 1.2], rng.normal(0.6, 0.03, 5).tolist(), rng.uniform(0.02, 0.05, 5).tolist())):
        fit = sm.WLS(y, sm.add_constant(np.asarray(x, float)), weights=1 / np.square(se)).fit(cov_type="fixed scale")
        out.append({"scores": x, "estimates": y, "standard_errors": se, "slope": float(fit.params[1]), "standard_error": float(fit.bse[1]), "z": float(fit.tvalues[1]), "p": float(2 * scipy.stats.norm.sf(abs(fit.tvalues[1])))})
    return out


def hanley_mcneil(a, n1, n0):
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return math.sqrt(max(0, a * (1 - a) + (n1 - 1) * (q1 - a * a) + (n0 - 1) * (q2 - a * a)) / (n1 * n0))


def make_power():
    out = []
    for n1, n0 in ((116, 272), (272, 116), (147, 342), (28, 69), (82, 82), (5, 6), (2, 2), (2000, 6000)):
        for alpha, power in ((0.05, 0.8), (0.01, 0.9), (0.05, 0.5)):
            z = scipy.stats.norm.isf(alpha / 2), scipy.stats.norm.ppf(power)
            f = lambda a: 0.5 + z[0] * hanley_mcneil(0.5, n1, n0) + z[1] * hanley_mcneil(a, n1, n0) - a
            root = scipy.optimize.brentq(f, 0.5, 1, xtol=1e-15, rtol=1e-14) if f(1) <= 0 else None
            out.append({"n_positives": n1, "n_negatives": n0, "alpha": alpha, "power": power, "auroc": root, "standard_error_060": hanley_mcneil(0.6, n1, n0),
                        "standard_error_null": math.sqrt((n1 + n0 + 1) / (12 * n1 * n0)),
                        "power_060": float(scipy.stats.norm.cdf((0.1 - z[0] * hanley_mcneil(0.5, n1, n0)) / hanley_mcneil(0.6, n1, n0)))})
    return out


def make_curves():
    out = []
    for n in (7, 60, 388):
        labels = (rng.random(n) < 0.3).astype(int)
        labels[:2] = (0, 1)
        scores = np.maximum(0, np.round(rng.normal(labels * 0.7, 1), 1))
        fpr, tpr, thresholds = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
        precision, recall, at = sklearn.metrics.precision_recall_curve(labels, scores)
        f1 = [sklearn.metrics.f1_score(labels, scores >= t, zero_division=0) for t in thresholds]
        out.append({"scores": scores.tolist(), "labels": labels.tolist(), "thresholds": thresholds[1:].tolist(), "fpr": fpr.tolist(), "tpr": tpr.tolist(),
                    "precision": precision[::-1].tolist(), "recall": recall[::-1].tolist(), "f1": f1,
                    "average_precision": float(sklearn.metrics.average_precision_score(labels, scores)), "base_rate": float(labels.mean())})
        assert at[::-1].tolist() == thresholds[1:].tolist()
    return out


def make_one_standard_error():
    out = []
    for n in (1, 4, 11, 11):
        setting = [round(float(v), 3) for v in rng.permutation(np.linspace(-20, 100, n))] if n > 4 else [float(10 * i) for i in range(n)]
        estimate, error = np.round(rng.normal(0, 0.02, n), 4), np.round(rng.uniform(0.004, 0.03, n), 4)
        best = int(np.argmax(estimate))
        bar = estimate[best] - error[best]
        allowed = [i for i in range(n) if estimate[i] >= bar]
        out.append({"settings": setting, "estimates": estimate.tolist(), "standard_errors": error.tolist(), "best": best, "chosen": min(allowed, key=lambda i: abs(setting[i])), "bar": float(bar)})
    return out


def make_cluster_bootstrap():
    """Statistics of given draws of problems, rows written out, by scikit-learn; intervals of these by SciPy's formula
    are checked in stats_resampling.json."""
    out = []
    for n_clusters, samples in ((12, 3), (40, 1), (25, 4)):
        clusters = np.repeat(np.arange(n_clusters), samples)
        problem = rng.normal(0, 1, n_clusters)
        labels = (problem[clusters] + rng.normal(0, 0.7, len(clusters)) > 0.3).astype(int)
        a = np.round(problem[clusters] + rng.normal(0, 1, len(clusters)), 1)
        b = np.maximum(0, np.round(rng.normal(0, 1, n_clusters)[clusters] + 0.5 * labels, 1))
        order = rng.permutation(len(clusters))
        clusters, labels, a, b = clusters[order], labels[order], a[order], b[order]
        draws = []
        for _ in range(6):
            drawn = rng.integers(0, n_clusters, n_clusters)
            rows = np.concatenate([np.flatnonzero(clusters == c) for c in drawn])
            draws.append({"drawn": drawn.tolist(), "auroc_a": float(sklearn.metrics.roc_auc_score(labels[rows], a[rows])), "auroc_b": float(sklearn.metrics.roc_auc_score(labels[rows], b[rows])),
                          "average_precision_a": float(sklearn.metrics.average_precision_score(labels[rows], a[rows]))})
        without = [float(sklearn.metrics.roc_auc_score(labels[clusters != c], a[clusters != c])) for c in range(n_clusters)]
        out.append({"n_clusters": n_clusters, "clusters": clusters.tolist(), "labels": labels.tolist(), "a": a.tolist(), "b": b.tolist(), "auroc_a": float(sklearn.metrics.roc_auc_score(labels, a)),
                    "draws": draws, "auroc_a_without": without})
    return out


golden = {
    "made_by": "tests/reference/stats/make_phase3_golden.py",
    "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__, "statsmodels": statsmodels.__version__},
    "mcnemar": make_mcnemar(),
    "newcombe": make_newcombe(),
    "fisher": make_fisher(),
    "binomial": make_binomial(),
    "holm": make_holm(),
    "cochran_armitage": make_trend(),
    "weighted_trend": make_weighted_trend(),
    "power": make_power(),
    "curves": make_curves(),
    "one_standard_error": make_one_standard_error(),
    "cluster_bootstrap": make_cluster_bootstrap(),
}
path = pathlib.Path("tests/golden/stats_phase3.json")
path.write_text(json.dumps(golden, allow_nan=False, separators=(",", ":")).replace("},", "},\n") + "\n")
print(path, path.stat().st_size, "bytes")
