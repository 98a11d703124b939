#!/usr/bin/env python3
"""Compares two dumps of pva_check: the largest norm of a row's difference over the row's norm, for logits and every site, and the written
tokens. Exit code 1 when a bound is passed, 2 when the files do not hold the same datasets.

compare_dumps.py A B --bound X     X = 0: the same bits; otherwise X for every row, and the written tokens must agree up to X < 0.01;
                                   their log-probabilities count up to the first that differs
"""
import argparse
import sys

import h5py
import numpy


def datasets(file):
    names = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(names)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--bound", type=float, required=True)
    arguments = parser.parse_args()
    worst = {}
    other_tokens = tokens = 0
    with h5py.File(arguments.a) as a, h5py.File(arguments.b) as b:
        names = datasets(a)
        if names != datasets(b) or not any(name.endswith("/logits") for name in names):
            print(f"{arguments.a} and {arguments.b} do not hold the same datasets")
            return 2
        for name in names:
            x, y = a[name][...], b[name][...]
            kind = name.rsplit("/", 1)[-1]
            if x.shape != y.shape or x.dtype != y.dtype:
                print(f"{name}: {x.shape} {x.dtype} and {y.shape} {y.dtype}")
                return 2
            if arguments.bound == 0:
                worst[kind] = max(worst.get(kind, 0.0), 0.0 if x.tobytes() == y.tobytes() else 1.0)
            elif kind == "generated":
                tokens += x.size
                other_tokens += int((x != y).sum())
            elif numpy.issubdtype(x.dtype, numpy.floating):
                x, y = x.astype(numpy.float64), y.astype(numpy.float64)
                if kind == "generated_log_probability":
                    written = name.rsplit("/", 1)[0] + "/generated"
                    same = numpy.cumprod(a[written][...] == b[written][...]).sum()
                    if same == 0:
                        continue
                    x, y = x[:same], y[:same]
                if not (numpy.isfinite(x).all() and numpy.isfinite(y).all()):
                    print(f"{name}: not finite")
                    return 1
                norms = numpy.maximum(numpy.linalg.norm(x, axis=-1), 1e-30)
                worst[kind] = max(worst.get(kind, 0.0), float((numpy.linalg.norm(x - y, axis=-1) / norms).max()))
            elif not numpy.array_equal(x, y):
                print(f"{name} differs")
                return 1
    if arguments.bound == 0:
        different = [kind for kind, value in worst.items() if value]
        print(f"{len(names)} datasets, " + (f"different bits in {', '.join(different)}" if different else "the same bits"))
        return 1 if different else 0
    # A written token may differ where two are nearly as probable; in float32 that should not come up in some hundred tokens.
    bad = max(worst.values()) > arguments.bound or (arguments.bound < 0.01 and other_tokens > 0)
    print(", ".join(f"{kind} {value:.2g}" for kind, value in worst.items()) + f"; {other_tokens} of {tokens} written tokens differ; bound {arguments.bound:g}")
    return 1 if bad else 0


sys.exit(main())
