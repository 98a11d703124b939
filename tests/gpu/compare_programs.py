#!/usr/bin/env python3
"""Compares the programs of two datasets of phase 1 that were written by different forward passes: rows with other tokens, and the largest
difference of log-probabilities of tokens up to the first that differs. Exit code 1 when a bound is passed, 2 when the rows do not agree.

compare_programs.py A B --bound X --other SHARE     X in nats; at most SHARE of the rows may have other tokens
"""
import argparse
import sys

import h5py
import numpy


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--bound", type=float, required=True)
    parser.add_argument("--other", type=float, required=True)
    arguments = parser.parse_args()
    with h5py.File(arguments.a) as a, h5py.File(arguments.b) as b:
        if not (numpy.array_equal(a["task_id"][...], b["task_id"][...]) and numpy.array_equal(a["prompt_sha256"][...], b["prompt_sha256"][...])):
            print(f"{arguments.a} and {arguments.b} do not hold the same problems")
            return 2
        tokens = [file["token_ids"][...] for file in (a, b)]
        values = [file["log_probability"][...].astype(numpy.float64) for file in (a, b)]
    width = max(t.shape[1] for t in tokens)
    tokens = [numpy.pad(t, ((0, 0), (0, width - t.shape[1])), constant_values=-1) for t in tokens]
    values = [numpy.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in values]
    # True up to the first token that differs, the probability of which belongs to another token already.
    common = numpy.cumprod(tokens[0] == tokens[1], axis=1).astype(bool)
    worst = float(numpy.abs(values[0] - values[1])[common].max()) if common.any() else 0.0
    other = int((~common[:, -1]).sum())
    rows = len(common)
    print(f"{rows} programs, {other} with other tokens; log-probabilities differ by at most {worst:.2g}; bounds {arguments.other:g} of the programs and {arguments.bound:g}")
    return 1 if worst > arguments.bound or other > arguments.other * rows else 0


sys.exit(main())
