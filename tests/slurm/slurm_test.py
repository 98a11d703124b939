#!/usr/bin/env python3
"""The job scripts of jobs/slurm on a real Slurm of one node (cluster.py) with the demo study. Exit code 77: skipped, with the reason.

slurm_test.py MODE --source DIR --bin DIR --compare COMPARE_H5
  study      pipeline.sh: phases 0 to 3 in a chain, phase 1 as an array of three pieces and a merge; equal to one run without Slurm
  launchers  srun --mpi=pmix gives the bytes of mpirun; a launcher that does not fit, arrays and GPUs that do not fit are refused
  limit      the time limit comes: USR1, exit code 75, requeue, resumed; equal to an undisturbed run
  cancel     scancel ends every rank; the same command goes on; equal to an undisturbed run
Standard library only.
"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import cluster

parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["study", "launchers", "limit", "cancel"])
parser.add_argument("--source", required=True)
parser.add_argument("--bin", required=True)
parser.add_argument("--compare", required=True)
arguments = parser.parse_args()

DEMO = os.path.join(arguments.source, "data/demo")
PROBLEMS = os.path.join(DEMO, "problems.jsonl")
MODEL = os.path.join(DEMO, "model")
SAES = os.path.join(DEMO, "saes")
TEXT = os.path.join(DEMO, "general_text.jsonl")
TEST_SECONDS = 2
PHASE1 = ["--max-new-tokens", "64", "--threads", "1", "--test-seconds", str(TEST_SECONDS)]


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def script(name):
    return os.path.join(arguments.source, "jobs/slurm", name + ".sh")


def directly(slurm, ranks, name, *options):
    """An executable without Slurm; the path of its result."""
    summary = os.path.join(slurm.folder, "direct.json")
    result = slurm.run("mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), os.path.join(arguments.bin, name), "--json", summary,
                       *options, check=False, timeout=300)
    check(result.returncode == 0, f"{name} without Slurm ended with {result.returncode}\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    with open(summary) as file:
        return json.load(file)["result"]


def submit(slurm, where, *command, **environment):
    """sbatch in a folder; the job's number."""
    return slurm.run("sbatch", "--parsable", *command, cwd=where, **environment).stdout.strip()


def output(where, job):
    """What the jobs with this number wrote to their %x-%j.out."""
    text = ""
    for path in glob.glob(os.path.join(where, f"*-{job}.out")):
        with open(path, errors="replace") as file:
            text += file.read()
    return text


def completed(slurm, where, job, seconds=150):
    done = slurm.wait(job, seconds=seconds)
    check(done["JobState"] == "COMPLETED", f"job {job} is {done['JobState']}, {done['ExitCode']}\n{output(where, job)[-3000:]}")
    return done


def result_of(data, folder, prefix):
    found = glob.glob(os.path.join(data, folder, prefix + "_*.h5"))
    check(len(found) == 1, f"one file {prefix} was expected in {data}/{folder}: {found}")
    return found[0]


def equal(a, b):
    result = subprocess.run([arguments.compare, a, b], capture_output=True, text=True)
    check(result.returncode == 0, f"{a} and {b} differ: {result.stdout}{result.stderr}")


def slow_problems(folder, count, seconds=1.0):
    """Problems whose tests sleep and burn nothing: runs that last, on any machine. An endless program is then neither busy nor idle when its
    time is over. Its verdict does not depend on the machine's load only where it sleeps far more than the tenth of its time that a busy
    program may lose (exec/server.cpp): waiting for a processor can make its time three times as long, and 0.2 of 2 seconds was a matter of luck."""
    check(0.4 * TEST_SECONDS <= seconds <= 0.6 * TEST_SECONDS, f"{seconds} s of sleep in {TEST_SECONDS} s: endless programs would have one verdict or the other")
    path = os.path.join(folder, "slow.jsonl")
    with open(PROBLEMS) as problems, open(path, "w") as slow:
        for line in list(problems)[:count]:
            problem = json.loads(line)
            problem["test_setup_code"] = f"import time\ntime.sleep({seconds})\n" + problem.get("test_setup_code", "")
            slow.write(json.dumps(problem) + "\n")
    return path


def study(slurm):
    where = os.path.join(slurm.folder, "work")
    os.makedirs(where)
    data = os.path.join(where, "data")
    shown = slurm.run("bash", script("pipeline"), "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES, "--general-text", TEXT, "--data", data,
                      "--pieces", "3", "--sbatch", "--time=10 --mem=1G --cpus-per-task=1", "--phase0", "--end 70", "--phase1", "--end 70 " + " ".join(PHASE1),
                      "--phase2", "--threads 1 --general-tokens 48", "--phase3", "--candidates 2", cwd=where, PVA_BIN=arguments.bin).stdout
    jobs = [line.split() for line in shown.splitlines()]
    check([name for name, _ in jobs] == ["phase0", "phase1", "merge", "phase1_1", "phase2", "phase3"], f"the chain: {shown}")
    # Meanwhile the same piece of the study in one run, with other ranks.
    alone = os.path.join(slurm.folder, "alone")
    directly(slurm, 1, "pva_phase0", "--problems", PROBLEMS, "--data", alone, "--end", "70")
    whole = directly(slurm, 1, "pva_phase1", "--model", MODEL, "--problems", PROBLEMS, "--data", alone, "--end", "70", *PHASE1)
    for name, job in jobs:
        if name == "phase1":
            continue  # an array; the merge waits for it
        completed(slurm, where, job)
        print(f"{name}: job {job} done")
    check(len(glob.glob(os.path.join(where, "pva_phase1-*.out"))) == 3, "an array of three tasks leaves three outputs")
    check(len(glob.glob(os.path.join(data, "phase1_0", "dataset_*.h5"))) == 4, "three pieces and their merge were expected")
    equal(result_of(alone, "phase0", "difficulty"), result_of(data, "phase0", "difficulty"))
    equal(whole, result_of(data, "phase1_0", "dataset_model_0-70"))
    equal(directly(slurm, 1, "pva_phase1_1", "--problems", PROBLEMS, "--data", alone), result_of(data, "phase1_1", "splits"))
    latents = directly(slurm, 1, "pva_phase2", "--model", MODEL, "--problems", PROBLEMS, "--data", alone, "--sae", SAES, "--general-text", TEXT, "--threads", "1",
                       "--general-tokens", "48")
    equal(latents, result_of(data, "phase2", "latents"))
    validation = directly(slurm, 1, "pva_phase3", "--model", MODEL, "--problems", PROBLEMS, "--data", alone, "--sae", SAES, "--candidates", "2")
    equal(validation, result_of(data, "phase3", "validation"))
    # A chain whose first link breaks: the second one never starts.
    shown = slurm.run("bash", script("pipeline"), "--problems", os.path.join(where, "nothing.jsonl"), "--data", data, "--phases", "0,1_1", "--sbatch", "--mem=1G",
                      cwd=where, PVA_BIN=arguments.bin).stdout
    first, second = [line.split()[1] for line in shown.splitlines()]
    broken = slurm.wait(first)
    check((broken["JobState"], broken["ExitCode"]) == ("FAILED", "65:0"), f"missing problems: {broken['JobState']} {broken['ExitCode']}\n{output(where, first)}")
    check(slurm.wait(second)["JobState"] == "CANCELLED" and output(where, second) == "", "a job ran after one that failed")
    print("phases 0 to 3 through sbatch, phase 1 as three pieces and a merge: equal to one run without Slurm")


def launchers(slurm):
    where = os.path.join(slurm.folder, "work")
    os.makedirs(where)
    options = ["--model", MODEL, "--problems", slow_problems(slurm.folder, 16), *PHASE1]
    small = ["--time=10", "--mem=1G", "--cpus-per-task=1"]
    jobs = {}
    for name, launcher, ranks in [("mpirun", "mpirun --bind-to none", 2), ("srun", "srun --mpi=pmix --kill-on-bad-exit=1", 2)]:
        jobs[name] = submit(slurm, where, *small, f"--ntasks-per-node={ranks}", script("phase1"), *options, "--data", os.path.join(where, name),
                            PVA_LAUNCHER=launcher, PVA_BIN=arguments.bin, PVA_HOME=arguments.source)
    for name, job in jobs.items():
        completed(slurm, where, job)
        check("\n2 ranks\n" in output(where, job), f"{name}: {output(where, job)}")
    equal(result_of(os.path.join(where, "mpirun"), "phase1_0", "dataset"), result_of(os.path.join(where, "srun"), "phase1_0", "dataset"))
    # USR1 reaches the ranks through srun too, and 75 comes back: the job is requeued.
    slow = slow_problems(slurm.folder, 60)
    job = submit(slurm, where, *small, "--ntasks-per-node=2", script("phase1"), "--model", MODEL, "--problems", slow, "--data", os.path.join(where, "stopped"),
                 "--batch-size", "2", *PHASE1, PVA_LAUNCHER="srun --mpi=pmix --kill-on-bad-exit=1", PVA_BIN=arguments.bin, PVA_HOME=arguments.source)
    slurm.until(lambda: glob.glob(os.path.join(where, "stopped", "phase1_0", "*.part")), "the run begins", 60)
    slurm.run("scancel", "--batch", "--signal=USR1", job)
    slurm.until(lambda: slurm.job(job).get("Restarts") == "1", "the job goes back into the queue", 60)
    slurm.run("scancel", job)
    print("srun --mpi=pmix gives the bytes of mpirun, and stops and is requeued like it")

    # Refusals. Without a given place of the checkout: Slurm knows where the script came from.
    refused = [
        ("srun without PMIx", ["--ntasks-per-node=2", script("phase0"), "--problems", PROBLEMS], {"PVA_LAUNCHER": "srun --mpi=none"}, None, "started by srun without PMIx"),
        ("more ranks than GPUs", ["--gpus-per-node=1", "--ntasks-per-node=2", script("phase0"), "--problems", PROBLEMS], {}, "64:0", "one rank a GPU"),
        ("an array of a phase without pieces", ["--array=0-1", script("phase2"), "--model", MODEL], {}, "64:0", "does not work on pieces"),
        ("a part of an array", ["--array=1,3", script("phase1"), "--model", MODEL, "--problems", PROBLEMS], {}, "64:0", "PVA_PIECES"),
    ]
    for title, command, environment, code, words in refused:
        data = os.path.join(where, "refused")
        job = submit(slurm, where, *small, *command, "--data", data, PVA_BIN=arguments.bin, **environment)
        done = slurm.wait(job)
        said = "".join(open(path, errors="replace").read() for path in glob.glob(os.path.join(where, f"*-{done['JobId']}.out")))
        check(done["JobState"] == "FAILED" and code in (None, done["ExitCode"]), f"{title}: {done['JobState']} {done['ExitCode']}\n{said}")
        check(words in said, f"{title}: '{words}' is not said\n{said}")
        check(not glob.glob(os.path.join(data, "phase*", "*")), f"{title}: left a file")
        print(f"refused: {title}")
    # Two ranks for two GPUs are right.
    job = submit(slurm, where, *small, "--gpus-per-node=2", "--ntasks-per-node=2", script("phase0"), "--problems", PROBLEMS, "--data", os.path.join(where, "gpus"),
                 PVA_BIN=arguments.bin)
    completed(slurm, where, job)


def limit(slurm):
    where = os.path.join(slurm.folder, "work")
    os.makedirs(where)
    slow = slow_problems(slurm.folder, 100)
    options = ["--model", MODEL, "--problems", slow, *PHASE1, "--batch-size", "2"]
    data = os.path.join(where, "data")
    # One minute is the shortest limit there is. Slurm looks twice a minute and may send the signal up to a minute early.
    job = submit(slurm, where, "--time=1", "--signal=B:USR1@55", "--mem=1G", "--ntasks-per-node=2", "--cpus-per-task=1", script("phase1"), *options, "--data", data,
                 "--fresh", PVA_BIN=arguments.bin, PVA_HOME=arguments.source)
    whole = directly(slurm, 2, "pva_phase1", *options, "--data", os.path.join(slurm.folder, "alone"), "--test-workers", "16")
    slurm.until(lambda: slurm.job(job).get("Restarts") == "1" or slurm.job(job)["JobState"] in ("COMPLETED", "FAILED", "TIMEOUT"), "the time limit comes near", 90)
    check(slurm.job(job).get("Restarts") == "1", f"not requeued: {slurm.job(job)}\n{output(where, job)}")
    check(len(glob.glob(os.path.join(data, "phase1_0", "*.part"))) == 1, "an unfinished file was expected")
    starts = 1
    while True:
        # Slurm waits two minutes before a requeued job; the second start needs another limit only to keep this test short. Not at once:
        # slurmd refuses a credential made in the second in which it revoked the last one of this job.
        slurm.wait(job, states=("PENDING", "COMPLETED", "FAILED", "TIMEOUT"))
        if slurm.job(job)["JobState"] != "PENDING":
            break
        starts += 1
        slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=10")
        slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now+3")
        slurm.wait(job, states=("RUNNING", "COMPLETED", "FAILED", "TIMEOUT"))
    done = completed(slurm, where, job)
    said = output(where, job)
    check(done["Restarts"] == "1" and said.count(", start 0, on ") == 1 and said.count(", start 1, on ") == 1, f"{done['Restarts']} restarts, {starts} starts\n{said}")
    check("stopped on request" in said, said)
    check("--fresh true" in said.split(", start 1, on ")[0] and "--fresh true" not in said.split(", start 1, on ")[1], "--fresh counts for the first start only")
    equal(whole, result_of(data, "phase1_0", "dataset"))
    print("stopped before its time limit, requeued, resumed: equal to an undisturbed run")


def cancel(slurm):
    where = os.path.join(slurm.folder, "work")
    os.makedirs(where)
    slow = slow_problems(slurm.folder, 40)
    options = ["--model", MODEL, "--problems", slow, *PHASE1, "--batch-size", "4"]
    data = os.path.join(where, "data")
    sbatch = ["--time=10", "--mem=1G", "--ntasks-per-node=2", "--cpus-per-task=1", script("phase1"), *options, "--data", data]
    job = submit(slurm, where, *sbatch, PVA_BIN=arguments.bin, PVA_HOME=arguments.source)
    slurm.until(lambda: "problems (" in output(where, job) or glob.glob(os.path.join(data, "phase1_0", "*.part")), "the run begins", 60)
    time.sleep(4)  # some units are done, some in hand
    slurm.run("scancel", job)
    slurm.wait(job, states=("CANCELLED",))

    def ranks():
        return subprocess.run(["pgrep", "-f", "pva_phase1 .*" + data], capture_output=True, text=True).stdout.split()
    slurm.until(lambda: not ranks(), "the ranks end", 40)
    check(len(glob.glob(os.path.join(data, "phase1_0", "*.part"))) == 1 and not glob.glob(os.path.join(data, "phase1_0", "dataset_*.h5")), "one unfinished file")
    again = submit(slurm, where, *sbatch, "--test-workers", "8", PVA_BIN=arguments.bin, PVA_HOME=arguments.source)
    whole = directly(slurm, 1, "pva_phase1", *options, "--data", os.path.join(slurm.folder, "alone"), "--test-workers", "16")
    completed(slurm, where, again)
    said = output(where, again)
    check("taking up " in said, f"nothing was found done\n{said}")
    equal(whole, result_of(data, "phase1_0", "dataset"))
    print("cancelled, submitted again: equal to an undisturbed run")


def main():
    reason = None if cluster.INSIDE in os.environ else cluster.missing()
    if reason is not None:
        print(f"skipped: {reason}")
        return 77
    cluster.enter_namespace()
    folder = tempfile.mkdtemp(prefix="pva_slurm_")
    before = time.monotonic()
    try:
        with cluster.Cluster(folder) as slurm:
            print(f"Slurm is up after {time.monotonic() - before:.1f} s")
            try:
                {"study": study, "launchers": launchers, "limit": limit, "cancel": cancel}[arguments.mode](slurm)
            except Exception as error:
                # What failed stands last, in one line: a log that is cut still shows it.
                line = next((frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.name == arguments.mode), 0)
                print(f"{slurm.logs()}\n{error}\nFAILED: {arguments.mode}, line {line}: {(str(error) or repr(error)).splitlines()[0]}", flush=True)
                return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


sys.exit(main())
