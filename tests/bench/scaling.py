#!/usr/bin/env python3
"""Tables of docs/scaling.md: weak and strong scaling with simulated computation, rows, file throughput, uneven units.

scaling.py TABLE --bench SCALING_BENCH [--data DIR] [--max-ranks N]
  strong   1920 units of 50 ms on 1 to 64 ranks
  weak     100 units of 100 ms for each of 1 to 64 ranks, and 30 units of a second
  rows     1,000 to 1,000,000 rows, one a unit and ten a unit, no computation
  file     throughput of write_unit as a share of plain pwrite, for units of 4 KB to 16 MB
  uneven   units of uneven cost, dealt by their cost and dealt blindly, measured and worked out for more ranks
  all      all of them
  extrapolate  8, 64 and 512 GPUs on paper, from the constants below and the formula in docs/scaling.md
scaling.py check --bench SCALING_BENCH --compare COMPARE_H5 --ranks N
  a small run on N ranks: its seconds add up, its file is that of one rank
Ranks are oversubscribed: give the machine nothing else to do. Standard library only.
"""
import argparse
import glob
import heapq
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("table", choices=["strong", "weak", "rows", "file", "uneven", "all", "extrapolate", "check"])
parser.add_argument("--bench")
parser.add_argument("--compare")
parser.add_argument("--ranks", type=int, default=6)
parser.add_argument("--units", type=int, default=300)
parser.add_argument("--data", help="folder for the files (default: a temporary one)")
parser.add_argument("--max-ranks", type=int, default=64)
arguments = parser.parse_args()
if arguments.bench is None and arguments.table != "extrapolate":
    parser.error("--bench is missing")

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
ENVIRONMENT.setdefault("OMPI_MCA_io", "romio321")
COUNTS = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= arguments.max_ranks]


def bench(ranks, *options, keep=None):
    """One run; its summary, with the seconds of the whole command."""
    data = tempfile.mkdtemp(prefix="pva_scaling_", dir=arguments.data)
    try:
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), arguments.bench, "--data", data, "--json", data + "/summary.json",
                   "--log-level", "warning", *map(str, options)]
        before = time.monotonic()
        result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join(command)} ended with {result.returncode}\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
        with open(data + "/summary.json") as file:
            summary = json.load(file)["summary"]
        summary["command_seconds"] = time.monotonic() - before
        if keep:
            shutil.move(glob.glob(os.path.join(data, "work", "scaling_*.h5"))[0], keep)
        return summary
    finally:
        shutil.rmtree(data, ignore_errors=True)


def table(title, head, rows):
    print(f"\n{title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + " ---: |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def percent(share):
    return f"{100 * share:.2f}"


SHARES = ["ranks", "ideal s", "s", "efficiency", "MPI and HDF5 %", "writing %", "messages %", "open, publish %", "waiting %", "late %", "other %", "start s"]


def row_of(summary):
    share = summary["share_of_rank_seconds"]
    files = share["open"] + share["publish"]
    return [str(summary["ranks"]), f"{summary['ideal_seconds']:.2f}", f"{summary['seconds']:.2f}", f"{summary['efficiency']:.3f}",
            percent(share["writing"] + share["messages"] + files), percent(share["writing"]), percent(share["messages"]), percent(files), percent(share["waiting"]),
            percent(share["late_wakening"]), percent(share["content"] + share["other"]), f"{summary['command_seconds'] - summary['seconds']:.1f}"]


def strong():
    table("Strong scaling: 1920 units of 50 ms, 250 kB each", SHARES,
          [row_of(bench(n, "--units", 1920, "--milliseconds", 50)) for n in COUNTS])


def weak():
    table("Weak scaling: 100 units of 100 ms, 250 kB each, for every rank", SHARES,
          [row_of(bench(n, "--units", 100 * n, "--milliseconds", 100)) for n in COUNTS])
    table("Weak scaling: 30 units of a second, 250 kB each, for every rank", SHARES,
          [row_of(bench(n, "--units", 30 * n, "--milliseconds", 1000)) for n in COUNTS if n in (1, 8, 16, 32, 64)])


def rows():
    lines = []
    ranks = min(16, arguments.max_ranks)
    for units, per_unit in [(1000, 1), (10_000, 1), (100_000, 1), (1_000_000, 1), (100, 10), (1000, 10), (10_000, 10), (100_000, 10)]:
        s = bench(ranks, "--units", units, "--rows", per_unit, "--width", 64, "--milliseconds", 0)
        lines.append([f"{units * per_unit:,}", str(per_unit), f"{s['seconds']:.2f}", f"{s['open_seconds']:.2f}", f"{s['loop_seconds']:.2f}", f"{s['publish_seconds']:.2f}",
                      f"{s['write_microseconds_a_unit']:.0f}", f"{s['message_microseconds_a_block']:.1f}"])
    table(f"Rows: {ranks} ranks, 256 bytes a row, no computation", ["rows", "rows a unit", "s", "open s", "loop s", "publish s", "write µs a unit", "messages µs a unit"], lines)


def file():
    lines = []
    for ranks in (1, 2, 8):
        for width, units in [(1000, 8000), (16_000, 4000), (62_500, 2000), (250_000, 800), (4_000_000, 64)]:
            # The best of three: other load only takes away.
            runs = [bench(ranks, "--units", units, "--width", width, "--milliseconds", 0, "--raw") for _ in range(3)]
            h5, raw = (max(run[name] for run in runs) for name in ("gb_per_s", "raw_gb_per_s"))
            h5_all, raw_all = (max(run[name] for run in runs) for name in ("with_fsync_gb_per_s", "raw_with_fsync_gb_per_s"))
            lines.append([str(ranks), f"{4 * width / 1000:,.0f}", f"{h5:.2f}", f"{raw:.2f}", f"{h5 / raw:.2f}", f"{h5_all:.2f}", f"{raw_all:.2f}", f"{h5_all / raw_all:.2f}"])
    table("File: units written as fast as they come, GB/s of all ranks; with disk: with reserving the space and fsync",
          ["ranks", "kB a unit", "write_unit", "pwrite", "share", "write_unit, with disk", "pwrite, with disk", "share"], lines)


def worked_out(ranks, units_a_rank, spread, blind, seed=1):
    """Ideal over actual time of a dealing, without any cost of MPI or files."""
    source = random.Random(seed)
    sigma = math.sqrt(math.log(1 + spread * spread))
    costs = [source.lognormvariate(-sigma * sigma / 2, sigma) for _ in range(ranks * units_a_rank)]
    loads = [0.0] * ranks
    if blind:
        for unit, cost in enumerate(costs):
            loads[unit % ranks] += cost
    else:
        for cost in sorted(costs, reverse=True):
            heapq.heapreplace(loads, loads[0] + cost)
    return sum(costs) / ranks / max(loads)


def uneven():
    lines = []
    for ranks in (8, 64, 512):
        for units in (4, 16, 100):
            cells = [str(ranks), str(units)]
            for blind in (False, True):
                expected = sum(worked_out(ranks, units, 0.6, blind, seed) for seed in range(5)) / 5
                seen = "" if ranks > arguments.max_ranks or units > 16 else \
                    f"{bench(ranks, '--units', ranks * units, '--milliseconds', 500, '--spread', 0.6, '--width', 1000, *(['--blind'] if blind else []))['efficiency']:.3f}"
                cells += [f"{expected:.3f}", seen]
            lines.append(cells)
    table("Uneven units: standard deviation 0.6 of the mean, 500 ms; efficiency worked out (mean of five draws) and measured",
          ["ranks", "units a rank", "by cost, worked out", "measured", "blindly, worked out", "measured"], lines)


# For extrapolate: measured on two cores (docs/scaling.md), and assumed.
WRITE_SECONDS = 0.5e-3  # write_unit and messages, a unit of 250 kB
FILE_SECONDS_A_RANK = 0.02  # opening and publishing the file
START_SECONDS = 60  # assumed: launcher, MPI, reading the weights
UNITS, SAMPLES = 100_000, 10


def extrapolate():
    lines = []
    for rows_a_second in (18, 45):
        for gpus in (1, 8, 64, 512):
            ideal = UNITS * SAMPLES / rows_a_second / gpus
            computing = ideal / worked_out(gpus, UNITS // gpus, 0.6, True)
            writing = WRITE_SECONDS * UNITS / gpus
            files = FILE_SECONDS_A_RANK * gpus
            total = START_SECONDS + computing + writing + files
            lines.append([str(rows_a_second), str(gpus), f"{ideal:,.0f}", f"{computing - ideal:,.1f}", f"{writing:,.1f}", f"{files:,.1f}", str(START_SECONDS), f"{total:,.0f}",
                          f"{ideal / total:.3f}", percent((writing + files) / total), f"{UNITS * 250e3 / (computing + writing) / 1e9:.2f}"])
    table(f"On paper: {UNITS * SAMPLES:,} programs, {SAMPLES} for each of {UNITS:,} problems",
          ["programs/s a GPU", "GPUs", "ideal s", "uneven s", "writing s", "open, publish s", "start s", "s", "efficiency", "MPI and HDF5 %", "written GB/s"], lines)


def check():
    with tempfile.TemporaryDirectory() as folder:
        size = ["--units", arguments.units, "--rows", 3, "--width", 50]
        many = bench(arguments.ranks, *size, "--milliseconds", 1, "--spread", 0.5, keep=folder + "/many.h5")
        bench(1, *size, "--milliseconds", 0, "--block", 7, "--raw", keep=folder + "/one.h5")
        assert many["ranks"] == arguments.ranks and many["rows"] == 3 * arguments.units
        total = sum(many["share_of_rank_seconds"].values())
        assert 0.97 < total < 1.03, f"the shares of the ranks' time add up to {total}: {many}"
        assert many["mpi_file_share"] > 0 and many["mpi_message_share"] > 0, f"no call of MPI was seen: {many}"
        result = subprocess.run([arguments.compare, folder + "/many.h5", folder + "/one.h5"], capture_output=True, text=True)
        assert result.returncode == 0, f"{arguments.ranks} ranks and one: {result.stdout}{result.stderr}"
        print(f"{arguments.ranks} ranks: {result.stdout.strip()}; shares of the time add up to {total:.3f}; {many['seconds']:.2f} s")


if arguments.table == "all":
    for one in (strong, weak, rows, file, uneven):
        one()
else:
    {"strong": strong, "weak": weak, "rows": rows, "file": file, "uneven": uneven, "extrapolate": extrapolate, "check": check}[arguments.table]()
