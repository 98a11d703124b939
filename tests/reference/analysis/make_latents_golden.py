"""Writes tests/golden/latents.json: what phase 2 says of latents and its baselines, by NumPy, SciPy, scikit-learn and
statsmodels. The C++ test compares pva's room `analysis` with it.

    python3 tests/reference/analysis/make_latents_golden.py

from the root of the checkout; needs numpy, scipy, scikit-learn, statsmodels.
"""
import itertools
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
import statsmodels
import statsmodels.api
from sklearn.linear_model import LogisticRegression

warnings.filterwarnings("ignore")
rng = np.random.default_rng(20240614)


def number(x):
    """JSON has neither NaN nor infinity."""
    x = float(x)
    return x if math.isfinite(x) else None if math.isnan(x) else ("inf" if x > 0 else "-inf")


def delong_variance(p, n):
    wins = (p[:, None] > n[None, :]) + 0.5 * (p[:, None] == n[None, :])
    return wins.mean(axis=1).var(ddof=1) / len(p) + wins.mean(axis=0).var(ddof=1) / len(n)


def exact_p(right, wrong, most=14):
    """Twice the smaller tail of the rank sum given the ties, counted in whole numbers; None where that takes too long."""
    pooled = np.concatenate([right, wrong])
    ranks = [int(r) for r in 2 * scipy.stats.rankdata(pooled)]
    values, counts = np.unique(pooled, return_counts=True)
    common = values[np.argmax(counts)]
    rest = [r for r, v in zip(ranks, pooled) if v != common]
    if len(rest) > most:
        return None
    rank = next(r for r, v in zip(ranks, pooled) if v == common)
    zeros, observed, less, greater = len(pooled) - len(rest), sum(ranks[: len(right)]), 0, 0
    for j in range(min(len(rest), len(right)) + 1):
        ways = math.comb(zeros, len(right) - j)
        for chosen in itertools.combinations(rest, j):
            statistic = sum(chosen) + (len(right) - j) * rank
            less, greater = less + ways * (statistic <= observed), greater + ways * (statistic >= observed)
    return float(min(Fraction(1), 2 * Fraction(min(less, greater), math.comb(len(pooled), len(right)))))


def latent(column, labels):
    right, wrong = column[labels == 1], column[labels == 0]
    constant = len(set(column)) == 1
    out = {"frequency_difference": (right != 0).mean() - (wrong != 0).mean(), "auroc": sklearn.metrics.roc_auc_score(labels, column)}
    one = min(len(right), len(wrong)) == 1
    if one:
        out |= dict.fromkeys(["cohens_d", "welch_t", "welch_df", "welch_p", "auroc_standard_error", "auroc_low", "auroc_high"], math.nan)
        out |= {"variance_right": right.var(ddof=1) if len(right) > 1 else math.nan, "variance_wrong": wrong.var(ddof=1) if len(wrong) > 1 else math.nan}
    else:
        variance = delong_variance(right, wrong)
        if variance > 1e-20:
            a = out["auroc"]
            half = scipy.stats.norm.ppf(0.975) * math.sqrt(variance) / (a * (1 - a))
            out |= {"auroc_low": scipy.special.expit(scipy.special.logit(a) - half), "auroc_high": scipy.special.expit(scipy.special.logit(a) + half)}
        out["auroc_standard_error"] = math.sqrt(variance)
    if constant:
        out |= {"asymptotic_p": 1.0, "z": 0.0, "exact_p": 1.0}
    else:
        with_correction = scipy.stats.mannwhitneyu(right, wrong, method="asymptotic", use_continuity=True)
        without = scipy.stats.mannwhitneyu(right, wrong, method="asymptotic", use_continuity=False)
        sign = np.sign(without.statistic - len(right) * len(wrong) / 2)
        out |= {"asymptotic_p": with_correction.pvalue, "z": sign * scipy.stats.norm.isf(without.pvalue / 2) if without.pvalue > 0 else math.nan}
        found = exact_p(right, wrong)
        if found is not None:
            out["exact_p"] = found
    return {k: number(v) for k, v in out.items()}


def within(column, labels, groups):
    """Pairs of one group only, and least squares with a constant for each group by statsmodels."""
    wins = pairs = excess = variance = shares = weights = 0.0
    for g in np.unique(groups):
        x, y = column[(groups == g) & (labels == 1)], column[(groups == g) & (labels == 0)]
        if len(x) == 0 or len(y) == 0:
            continue
        u = ((x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])).sum()
        n = len(x) + len(y)
        ties = sum(t**3 - t for t in np.unique(np.concatenate([x, y]), return_counts=True)[1])
        wins, pairs, excess = wins + u, pairs + len(x) * len(y), excess + u - len(x) * len(y) / 2
        variance += len(x) * len(y) / 12 * ((n + 1) - ties / (n * (n - 1)))
        w = len(x) * len(y) / n
        shares, weights = shares + w * ((x != 0).mean() - (y != 0).mean()), weights + w
    if pairs == 0:
        return {"auroc": 0.5, "p": 1.0, "cohens_d": 0.0, "t": 0.0, "frequency_difference": 0.0}
    out = {"auroc": wins / pairs, "frequency_difference": shares / weights,
           "p": 2 * scipy.stats.norm.sf(abs(excess) / math.sqrt(variance)) if variance > 1e-9 else 1.0, "cohens_d": 0.0, "t": 0.0}
    if len(set(column)) > 1:
        dummies = (groups[:, None] == np.unique(groups)[None, :]).astype(float)
        fit = statsmodels.api.OLS(column, np.column_stack([labels.astype(float), dummies])).fit()
        if fit.scale > 1e-20:
            out |= {"t": fit.tvalues[0], "cohens_d": fit.params[0] / math.sqrt(fit.scale)}
        else:
            del out["t"], out["cohens_d"]
    return {k: number(v) for k, v in out.items()}


def make_latents(rows, columns, n_right, n_groups):
    labels = np.zeros(rows, int)
    labels[rng.permutation(rows)[:n_right]] = 1
    groups = rng.integers(0, n_groups, rows)
    density = rng.choice([0.02, 0.1, 0.3, 0.8, 1.0], columns)
    values = np.round(rng.gamma(2, 1, (rows, columns)) + 0.7 * labels[:, None] * rng.integers(0, 2, columns) + 0.1 * groups[:, None], 1)
    dense = np.where(rng.random((rows, columns)) < density, values, 0).astype(np.float32)
    dense[:, 0] = 0                         # never fires
    dense[:, 1] = np.float32(0.7)           # constant
    dense[:, 2] = np.where(labels == 1, 1 + np.arange(rows) % 3, 0)   # fires exactly on one class
    dense[:, 3] = 0
    dense[min(5, rows - 1), 3] = 1.5        # fires once
    dense[:, 4] = groups                    # the group itself
    offsets, latents, kept = [0], [], []
    for row in dense:
        (nonzero,) = np.nonzero(row)
        latents += nonzero.tolist()
        kept += [float(x) for x in row[nonzero]]
        offsets.append(len(latents))
    columns64 = dense.astype(np.float64)
    return {"labels": labels.tolist(), "groups": groups.tolist(), "n_groups": n_groups, "n_latents": columns, "row_offsets": offsets, "latents": latents, "values": kept,
            "expected": [latent(columns64[:, j], labels) for j in range(columns)],
            "within": [within(columns64[:, j], labels, groups) for j in range(columns)]}


def newton(x, y, C):
    """The minimum of 1/2 |w|^2 + C sum log(1 + exp(-y x.w)) with a last feature 1, by full Newton steps."""
    x = np.column_stack([x, np.ones(len(x))])
    s = np.where(y == 1, 1.0, -1.0)

    def value(w):
        return 0.5 * w @ w + C * np.logaddexp(0, -s * (x @ w)).sum()

    w = np.zeros(x.shape[1])
    for _ in range(200):
        f = x @ w
        g = w - C * x.T @ (s * scipy.special.expit(-s * f))
        step = np.linalg.solve(np.eye(len(w)) + C * (x.T * (scipy.special.expit(f) * scipy.special.expit(-f))) @ x, g)
        t = 1.0
        while value(w - t * step) > value(w) and t > 1e-12:
            t /= 2
        if t <= 1e-12 or np.abs(step).max() < 1e-15:
            break
        w = w - t * step
    return w


def make_logistic():
    out = []
    for n, d, C in ((60, 5, 1.0), (60, 5, 1000.0), (25, 60, 0.1), (25, 60, 100.0), (8, 1, 1.0)):
        labels = (np.arange(n) % 3 == 0).astype(int)
        x = np.round(rng.normal(0, 1, (n, d)) + 0.5 * labels[:, None] * (np.arange(d) == 0), 3)
        w = newton(x, labels, C)
        model = LogisticRegression(solver="liblinear", C=C, tol=1e-12, max_iter=100000).fit(x, labels)
        assert np.allclose(model.coef_[0], w[:-1], rtol=1e-4, atol=1e-5), np.abs(model.coef_[0] - w[:-1]).max()
        out.append({"x": x.tolist(), "labels": labels.tolist(), "C": C, "decisions": (x @ w[:-1] + w[-1]).tolist(), "weights": w[:-1].tolist(), "intercept": float(w[-1])})
    return out


# Philox4x32-10 (Salmon et al. 2011) and pva's streams, so that both sides use the same folds.
def philox_block(key, counter):
    k, c = [key & 0xFFFFFFFF, key >> 32], list(counter)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


class Stream:
    def __init__(self, seed, stream, item):
        self.numbers = (n for block in itertools.count() for n in philox_block(seed, [stream & 0xFFFFFFFF, stream >> 32, item, block]))

    def below(self, n):
        limit = 0xFFFFFFFF - (0xFFFFFFFF % n + 1) % n
        return next(v for v in self.numbers if v <= limit) % n


def stratified_folds(labels, k, seed, stream):
    folds, following = np.zeros(len(labels), int), 0
    for label in (1, 0):
        rows, random = np.flatnonzero(labels == label).tolist(), Stream(seed, stream, label)
        for i in range(len(rows), 1, -1):
            j = random.below(i)
            rows[i - 1], rows[j] = rows[j], rows[i - 1]
        for row in rows:
            folds[row] = following % k
            following += 1
    return folds


def fold_auroc(scores, labels, folds):
    pairs = wins = 0.0
    for fold in range(folds.max() + 1):
        y, s = labels[folds == fold], scores[folds == fold]
        here = float(y.sum()) * float((1 - y).sum())
        if here > 0:
            pairs, wins = pairs + here, wins + here * sklearn.metrics.roc_auc_score(y, s)
    return wins / pairs


def fit(x, labels, C):
    return LogisticRegression(solver="liblinear", C=C, tol=1e-10, max_iter=100000).fit(x, labels)


def choose(x, labels, grid, wanted, seed, stream):
    k = min(wanted, labels.sum(), (1 - labels).sum())
    folds = stratified_folds(labels, k, seed, stream)
    best, chosen = -1, grid[0]
    for C in grid:
        values = np.zeros(len(labels))
        for fold in range(k):
            values[folds == fold] = fit(x[folds != fold], labels[folds != fold], C).decision_function(x[folds == fold])
        auroc = fold_auroc(values, labels, folds)
        if auroc > best:
            best, chosen = auroc, C
    return chosen


def make_nested():
    n, d, grid, seed, stream = 70, 12, [0.01, 1.0, 100.0], 9, 4
    labels = (rng.random(n) < 0.4).astype(int)
    x = np.round(rng.normal(0, 1, (n, d)) + 0.6 * labels[:, None] * (np.arange(d) < 3), 3)
    folds = stratified_folds(labels, 5, seed, stream << 8)
    held_out, strengths = np.zeros(n), []
    for fold in range(5):
        training = folds != fold
        strengths.append(choose(x[training], labels[training], grid, 5, seed, (stream << 8) + 1 + fold))
        held_out[~training] = fit(x[training], labels[training], strengths[-1]).decision_function(x[~training])
    C = choose(x, labels, grid, 5, seed, (stream << 8) + 255)
    model = fit(x, labels, C)
    return {"x": x.tolist(), "labels": labels.tolist(), "grid": grid, "seed": seed, "stream": stream, "folds": folds.tolist(), "fold_C": strengths, "held_out": held_out.tolist(),
            "auroc": fold_auroc(held_out, labels, folds), "C": C, "weights": model.coef_[0].tolist(), "intercept": float(model.intercept_[0])}


def make_published():
    """Scores of the published versions, written as their code has them."""
    labels = np.array([1, 1, 1, 0, 0, 0, 0])
    dense = np.array([[2, 0, 0, 1], [4, 0, 1, 1], [0, 3, 0, 1], [0, 1, 5, 1], [1, 0, 6, 1], [0, 2, 7, 1], [0, 0, 8, 1]], dtype=np.float32).astype(np.float64)
    correct, incorrect = dense[labels == 1], dense[labels == 0]
    # First notebook: absolute Cohen's d, 1e-8 on each standard deviation (unbiased, as torch.std).
    sd_c, sd_i = correct.std(axis=0, ddof=1) + 1e-8, incorrect.std(axis=0, ddof=1) + 1e-8
    n_c, n_i = len(correct), len(incorrect)
    pooled = np.sqrt(((n_c - 1) * sd_c**2 + (n_i - 1) * sd_i**2) / (n_c + n_i - 2))
    first = np.abs(correct.mean(axis=0) - incorrect.mean(axis=0)) / pooled
    # Paper: difference of firing shares for steering, Welch's t for predicting (NaN gives 0).
    frequency = (correct > 0).mean(axis=0) - (incorrect > 0).mean(axis=0)
    t = np.nan_to_num(scipy.stats.ttest_ind(correct, incorrect, equal_var=False).statistic)
    return {"labels": labels.tolist(), "dense": dense.tolist(), "notebook_d": first.tolist(), "frequency_difference": frequency.tolist(), "welch_t": t.tolist(),
            "mean": float(first.mean()), "standard_deviation": float(first.std()), "max": float(first.max()), "top_indices": np.argsort(-first, kind="stable").tolist()}


golden = {
    "made_by": "tests/reference/analysis/make_latents_golden.py",
    "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__, "statsmodels": statsmodels.__version__},
    "latents": [make_latents(60, 20, 25, 3), make_latents(150, 16, 50, 9), make_latents(12, 8, 1, 2), make_latents(12, 8, 11, 2)],
    "logistic": make_logistic(),
    "nested": make_nested(),
    "published": make_published(),
}
path = pathlib.Path("tests/golden/latents.json")
path.write_text(json.dumps(golden, allow_nan=False, separators=(",", ":")).replace("},{", "},\n{").replace('],"', '],\n"') + "\n")
print(path, path.stat().st_size, "bytes")
