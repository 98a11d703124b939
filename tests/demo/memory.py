#!/usr/bin/env python3
"""Memory that is not enough: the batch size is chosen by the estimate, too large a one is refused by name, and a run that meets a real limit
(RLIMIT_AS, what `ulimit -v` sets) goes on with fewer rows and gives the same bytes, or stops and names the block size.

memory.py [--long] --bin DIR --demo DIR --compare COMPARE_H5
  --long  runs under a dozen limits, so that memory ends at many places: each one ends well or with a message
Standard library only.
"""
import argparse
import glob
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("--long", action="store_true")
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--compare", required=True)
arguments = parser.parse_args()

PROBLEMS = 16
COMMAND = [os.path.join(arguments.bin, "pva_phase1"), "--model", os.path.join(arguments.demo, "model"), "--problems", os.path.join(arguments.demo, "problems.jsonl"),
           "--max-new-tokens", "600", "--threads", "1", "--test-seconds", "2", "--test-memory-mb", "256", "--test-workers", "4"]


def check(condition, message):
    if not condition:
        sys.exit(message)


def phase1(data, *options, address_space=None):
    """Exit code and everything said by a run over the first problems."""
    def limit():
        if address_space:
            resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    result = subprocess.run([*COMMAND, "--end", str(PROBLEMS - 1), "--data", data, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=limit)
    return result.returncode, result.stdout


def peak_address_space(data):
    """Of a run with one row at a time, in bytes."""
    peak = 0
    with subprocess.Popen([*COMMAND, "--data", data, "--batch-size", "1", "--end", "1"], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/status") as status:
                    found = re.search(r"VmPeak:\s+(\d+) kB", status.read())
                    peak = max(peak, int(found[1]) << 10) if found else peak
            except OSError:
                pass
            time.sleep(0.02)
    check(process.returncode == 0 and peak > 0, f"one row at a time: exit code {process.returncode}")
    return peak


def dataset(data):
    found = glob.glob(os.path.join(data, "phase1_0", "dataset_*.h5"))
    check(len(found) == 1, f"one dataset was expected in {data}")
    return found[0]


def equal(a, b, what):
    result = subprocess.run([arguments.compare, dataset(a), dataset(b)], capture_output=True, text=True)
    check(result.returncode == 0, f"{what}: {result.stdout}{result.stderr}")


def main():
    folder = tempfile.mkdtemp(prefix="pva_memory_")
    try:
        at = lambda name: os.path.join(folder, name)
        code, said = phase1(at("whole"))
        check(code == 0, f"without limits: {code}\n{said}")
        sizes = re.search(r"memory: weights ([\d.]+) GiB, cache ([\d.]+) GiB and passes ([\d.]+) GiB a rank", said)
        check(sizes, f"the need of memory is not said\n{said}")
        weights, cache, passes = (float(size) * 1.073741824 for size in sizes.groups())

        # The estimate: memory for five and a half of sixteen rows.
        enough = weights + passes + cache * 5.5 / PROBLEMS
        code, said = phase1(at("few"), "--memory-gb", f"{enough:.4f}")
        found = re.search(r"memory: (\d+) rows generated together instead of 16", said)
        check(code == 0 and found and 4 <= int(found[1]) <= 6, f"--memory-gb: {code}\n{said}")
        equal(at("whole"), at("few"), "fewer rows at a time")
        for options, title in [(["--batch-size", "16"], "a batch size that was asked for"), (["--forward", "reference"], "the reference pass")]:
            code, said = phase1(at("refused"), "--memory-gb", f"{enough:.4f}", *options)
            found = re.search(r"Take --batch-size (\d+)", said)
            if "reference" in options:  # its passes need more: perhaps not even one row
                check(code == 65 and "does not fit this node" in said, f"{title}: {code}\n{said}")
                continue
            check(code == 65 and found, f"{title}: {code}\n{said}")
            code, said = phase1(at("refused"), "--memory-gb", f"{enough:.4f}", "--batch-size", found[1], "--dry-run")
            check(code == 0, f"--batch-size {found[1]}, as advised: {code}\n{said}")
        code, said = phase1(at("refused"), "--memory-gb", "0.001")
        check(code == 65 and "--batch-size" not in said.split("does not fit this node")[1], f"no memory at all: {code}\n{said}")

        # A real limit.
        one = peak_address_space(at("one"))
        row = cache / PROBLEMS * 1e9
        limits = [one + int(row * rows) for rows in ((0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12) if arguments.long else (4.5,))]
        kinds = {}
        for limit in limits:
            data = at(f"limit{limit}")
            code, said = phase1(data, "--batch-size", "16", address_space=limit)
            check(code == 0, f"{limit >> 20} MiB of address space: {code}\n{said}")
            equal(at("whole"), data, f"{limit >> 20} MiB of address space")
            for kind in re.findall(r"out of memory while (taking room|writing) .*goes on with", said):
                kinds[kind] = kinds.get(kind, 0) + 1
            shutil.rmtree(data)
        check(kinds, f"memory never ended under {[limit >> 20 for limit in limits]} MiB")
        stopped = 0
        for limit in limits[:: 3]:
            data = at(f"reference{limit}")
            code, said = phase1(data, "--batch-size", "16", "--forward", "reference", address_space=limit)
            check(code in (0, 65), f"the reference pass with {limit >> 20} MiB of address space: {code}\n{said}")
            if code == 65:
                stopped += 1
                check("out of memory" in said and "Take --batch-size 8" in said, f"the block size to use is not named\n{said}")
        check(stopped > 0, "the reference pass never ran out of memory")
        print(f"one row: {one >> 20} MiB of address space; limits from {limits[0] >> 20} to {limits[-1] >> 20} MiB: went on with fewer rows {kinds}, same bytes; "
              f"the reference pass stopped in {stopped}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main()
