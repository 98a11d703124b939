#!/usr/bin/env python3
"""Kills runs at random moments and checks that the same command goes on to the same file.

kill_test.py --compare COMPARE_H5 --kills N --seed S --name PREFIX [--ranks 1,2,3,4] [--redo UNITS_IN_FLIGHT]
             [--setup-from DIR [--setup-folders LIST]] [--results N] -- EXECUTABLE ARGUMENTS...

The command is run once without interruption (with --data added). Then, until N kills have hit, it is started with a
random number of ranks and, at a moment drawn uniformly over its whole duration, start-up included: one rank is killed,
or all ranks, or mpirun, by SIGKILL, or mpirun gets SIGTERM or SIGUSR1. Interrupted runs are taken up until one ends; its
file must equal the uninterrupted one, dataset by dataset. Python's standard library only.
"""
import argparse
import collections
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time


def descendants(pid):
    """Process ids below `pid`, by /proc."""
    children = collections.defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                children[int(fields[1])].append(int(entry))
            except (OSError, IndexError):
                pass
    found, todo = [], [pid]
    while todo:
        for child in children[todo.pop()]:
            found.append(child)
            todo.append(child)
    return found


def ranks_of(pid, executable):
    """The ranks below mpirun; helpers that a rank forked have the same executable and are children of a rank."""
    name = os.path.realpath(executable)
    same = []
    for child in descendants(pid):
        try:
            if os.path.realpath(os.readlink(f"/proc/{child}/exe")) == name:
                same.append(child)
        except OSError:
            pass
    parents = {}
    for child in same:
        try:
            with open(f"/proc/{child}/stat") as file:
                parents[child] = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    return [child for child in same if parents.get(child) not in same]


def start(command, ranks, log):
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    return subprocess.Popen(["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] + command,
                            stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def wait_gone(pids, seconds=15):
    """Waits until none of the processes is alive."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = [pid for pid in pids if os.path.exists(f"/proc/{pid}") and not open_state(pid) == "Z"]
        if not alive:
            return []
        time.sleep(0.05)
    return alive


def open_state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compare", required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", required=True, help="start of the result files' names")
    parser.add_argument("--ranks", default="1,2,3,4")
    parser.add_argument("--redo", type=int, default=0, help="units a rank may have in hand; 0: no journal")
    parser.add_argument("--setup-from", default="", help="results of earlier phases are copied from there into each run's data folder")
    parser.add_argument("--setup-folders", default="phase0,phase1_0,phase1_1", help="of these phases")
    parser.add_argument("--results", type=int, default=1, help="files that a whole run writes")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    command = [word for word in arguments.command if word != "--"]
    ranks_to_try = [int(n) for n in arguments.ranks.split(",")]
    seed = arguments.seed
    chance = random.Random(seed)
    folder = tempfile.mkdtemp(prefix="pva_kill_")
    log_path = os.path.join(folder, "log")

    def fresh_data(name):
        path = os.path.join(folder, name)
        if arguments.setup_from:
            for name in arguments.setup_folders.split(","):
                shutil.copytree(os.path.join(arguments.setup_from, name), os.path.join(path, name), ignore=shutil.ignore_patterns(arguments.name + "_*"))
        else:
            os.makedirs(path)
        return path

    def result_in(data):
        found = [p for p in glob.glob(os.path.join(data, "*", arguments.name + "_*.h5"))]
        return sorted(found)

    def good_ones(log_begin):
        """What the last full progress line of a run says of programs that are right; None without one."""
        with open(log_path, errors="replace") as file:
            file.seek(log_begin)
            counts = re.findall(r"\(100\.0 %\).*?, (\d+ (?:solved|programs right|passed))", file.read())
        return counts[-1] if counts else None

    def fail(message):
        print(f"FAILED: {message} (seed {seed})")
        with open(log_path, errors="replace") as file:
            print(file.read()[-4000:])
        print(f"left for inspection: {folder}")
        sys.exit(1)

    with open(log_path, "ab") as log:
        reference = fresh_data("reference")
        before = time.monotonic()
        code = start(command + ["--data", reference], ranks_to_try[-1] if 2 not in ranks_to_try else 2, log).wait()
        duration = time.monotonic() - before
        if code != 0 or len(result_in(reference)) != arguments.results:
            fail(f"the uninterrupted run ended with {code}")
        expected = result_in(reference)
        expected_good = good_ones(0)

        hits, rounds, kinds = 0, 0, collections.Counter()
        redone = 0
        while hits < arguments.kills:
            rounds += 1
            data = fresh_data(f"round{rounds}")
            in_flight = 0
            interruptions = 0
            while True:
                ranks = chance.choice(ranks_to_try)
                # Every third start is left alone, so that rounds end.
                kind = chance.choice(["rank", "all", "mpirun", "term", "usr1"]) if chance.random() < 0.75 and hits < arguments.kills else "none"
                if interruptions >= 6:
                    kind = "none"
                log_begin = os.path.getsize(log_path)
                process = start(command + ["--data", data], ranks, log)
                if kind != "none":
                    time.sleep(chance.uniform(0.0, duration * 1.05))
                    if process.poll() is None:
                        below = descendants(process.pid)
                        ours = ranks_of(process.pid, command[0])
                        try:
                            if kind == "rank" and ours:
                                os.kill(chance.choice(ours), signal.SIGKILL)
                            elif kind == "all":
                                for pid in ours:
                                    os.kill(pid, signal.SIGKILL)
                                os.kill(process.pid, signal.SIGKILL)
                            elif kind == "mpirun":
                                os.kill(process.pid, signal.SIGKILL)
                            elif kind == "term":
                                os.kill(process.pid, signal.SIGTERM)
                            elif kind == "usr1" and ours:
                                # Before the handler is installed USR1 simply ends the process: that is a kill as well.
                                os.kill(process.pid, signal.SIGUSR1)
                            hits += 1
                            interruptions += 1
                            kinds[kind] += 1
                            in_flight += ranks * max(1, arguments.redo)
                        except ProcessLookupError:
                            pass
                        try:
                            process.wait(timeout=60)
                        except subprocess.TimeoutExpired:
                            fail(f"still running 60 s after {kind}")
                        left = wait_gone(below)
                        if left:
                            fail(f"processes {left} are still alive after {kind}")
                code = process.wait(timeout=300)
                if code == 0:
                    break
                if kind == "none":
                    fail(f"a run that nobody interrupted ended with {code}")
                if kind == "usr1" and code not in (75, 138, -10, 10, 1):
                    fail(f"USR1 gave {code}")
            if good_ones(log_begin) not in (expected_good, None):
                fail(f"round {rounds}: at the end it says {good_ones(log_begin)}, without interruption {expected_good}")
            found = result_in(data)
            if len(found) != arguments.results:
                fail(f"round {rounds}: {len(found)} result files; a run that was killed after its result had its name must find it when it is started again")
            rest = [p for p in glob.glob(os.path.join(data, "*", "*")) if ".part" in p or ".segment" in p or p.endswith((".new", ".layout", ".lock"))]
            rest = [p for p in rest if os.path.basename(p).startswith(arguments.name)]
            if rest:
                fail(f"round {rounds}: left behind {rest}")
            for one, other in zip(expected, found):
                compared = subprocess.run([arguments.compare, one, other], capture_output=True, text=True)
                if compared.returncode != 0:
                    fail(f"round {rounds}: {os.path.basename(other)}: {compared.stdout}{compared.stderr}")
            if arguments.redo:
                with open(os.path.join(data, "journal")) as file:
                    counts = collections.Counter(file.read().split())
                again = sum(n - 1 for n in counts.values())
                redone += again
                if again > in_flight:
                    fail(f"round {rounds}: {again} units were computed again after {interruptions} interruptions; at most {in_flight} were in flight")
            shutil.rmtree(data)
    shutil.rmtree(folder)
    print(f"{hits} kills ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}) in {rounds} rounds, a whole run takes {duration:.1f} s; "
          f"every file is equal" + (f"; {redone} units were computed twice" if arguments.redo else ""))


if __name__ == "__main__":
    main()
