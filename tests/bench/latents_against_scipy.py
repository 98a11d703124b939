"""Statistics of latents by pva beside SciPy and scikit-learn, on the same codes, one thread each, in alternation.

    python3 tests/bench/latents_against_scipy.py --bin build/release/tests [--rows 489] [--latents 16384] [--l0 70]

Needs numpy, scipy, scikit-learn. Prints JSON.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import numpy as np
import scipy
import scipy.stats
import sklearn
import sklearn.metrics

warnings.filterwarnings("ignore")
parser = argparse.ArgumentParser()
parser.add_argument("--bin", type=pathlib.Path, required=True)
parser.add_argument("--rows", type=int, default=489)
parser.add_argument("--latents", type=int, default=16384)
parser.add_argument("--l0", type=float, default=70)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--permutations", type=int, default=1000)
parser.add_argument("--without-auroc", action="store_true", help="leave out scikit-learn's AUROC, which takes half a minute")
arguments = parser.parse_args()

rng = np.random.default_rng(3)
n, m = arguments.rows, arguments.latents
labels = (rng.random(n) < 0.3).astype(np.uint8)
share = rng.pareto(1.1, m) + 0.02  # a few latents fire often, most seldom
share = np.minimum(0.9, share * arguments.l0 / share.sum())
for _ in range(20):
    share = np.minimum(0.9, share * arguments.l0 / share.sum())
dense = np.zeros((n, m), np.float32)
for row in range(n):
    fires = rng.random(m) < share
    dense[row, fires] = rng.gamma(2, 1, fires.sum()).astype(np.float32) + 0.1
rows, columns = np.nonzero(dense)
offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))]).astype(np.uint64)


def timed(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


with tempfile.TemporaryDirectory() as folder:
    path, out = os.path.join(folder, "codes.bin"), os.path.join(folder, "result.f64")
    with open(path, "wb") as file:
        for array in (np.array([n, m, len(rows)], np.uint64), offsets, columns.astype(np.uint32), dense[rows, columns], labels):
            file.write(array.tobytes())
    right, wrong = dense[labels == 1].astype(np.float64), dense[labels == 0].astype(np.float64)
    ours, theirs = None, {"mann_whitney": float("inf"), "welch": float("inf")}
    for _ in range(arguments.rounds):
        seconds, u = timed(lambda: scipy.stats.mannwhitneyu(right, wrong, axis=0, method="asymptotic"))
        theirs["mann_whitney"] = min(theirs["mann_whitney"], seconds)
        seconds, t = timed(lambda: scipy.stats.ttest_ind(right, wrong, equal_var=False))
        theirs["welch"] = min(theirs["welch"], seconds)
        run = json.loads(subprocess.run([arguments.bin / "latents_bench", path, "5", str(arguments.permutations), out], check=True, capture_output=True, text=True).stdout)
        if ours is None:
            ours = run
        for key in ("statistics_seconds", "within_32_groups_seconds", "permutation_seconds"):
            ours[key] = min(ours[key], run[key])
    result = np.fromfile(out).reshape(m, 3)
fires = (dense != 0).sum(axis=0)
normal = fires > 60  # their p is exact below
report = {"versions": {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__},
          "pva": ours, "scipy_mann_whitney_seconds": theirs["mann_whitney"], "scipy_welch_seconds": theirs["welch"],
          "times_as_fast_as_scipy_mann_whitney": theirs["mann_whitney"] / ours["statistics_seconds"],
          "largest_relative_difference": {
              "mann_whitney_p": float(np.max(np.abs(result[normal, 0] / u.pvalue[normal] - 1), initial=0)),
              "welch_p": float(np.nanmax(np.abs(result[fires > 1, 1] / t.pvalue[fires > 1] - 1)))}}
if not arguments.without_auroc:
    seconds, auroc = timed(lambda: np.array([sklearn.metrics.roc_auc_score(labels, dense[:, j]) for j in range(m)]))
    report["scikit_learn_auroc_seconds"] = seconds
    report["largest_relative_difference"]["auroc"] = float(np.max(np.abs(result[:, 2] - auroc)))
json.dump(report, sys.stdout, indent=1)
print()
