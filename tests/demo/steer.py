#!/usr/bin/env python3
"""pva_steer on the demo study: equal files for 1, 2 and 4 ranks and other batches, every kind of arm, roles of the parts, a second start.
Python's standard library only.

steer.py --bin DIR --demo DIR --data RESULTS --compare COMPARE_H5     RESULTS: of study.py whole
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

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--compare", required=True)
arguments = parser.parse_args()

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
STUDY = ["--model", os.path.join(arguments.demo, "model"), "--problems", os.path.join(arguments.demo, "problems.jsonl"), "--sae", os.path.join(arguments.demo, "saes"), "--threads", "1"]
folder = tempfile.mkdtemp(prefix="pva_steer_")


def check(condition, message):
    if not condition:
        print(f"FAILED: {message}; left for inspection: {folder}")
        sys.exit(1)


def steer(data, ranks, *options, code=0):
    summary = os.path.join(data, "summary.json")
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), os.path.join(arguments.bin, "pva_steer"), "--data", data, "--json", summary, *STUDY, *options]
    before = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    check(result.returncode == code, f"{' '.join(command)} ended with {result.returncode}\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
    print(f"pva_steer {' '.join(options)} with {ranks} ranks: {time.monotonic() - before:.1f} s")
    if code != 0:
        return None, result.stdout + result.stderr
    with open(summary) as file:
        return json.load(file)["summary"], result.stdout


def study_in(name):
    data = os.path.join(folder, name)
    for phase in ("phase0", "phase1_0", "phase1_1", "phase2"):
        shutil.copytree(os.path.join(arguments.data, phase), os.path.join(data, phase), ignore=shutil.ignore_patterns("activations_*"))
    return data


ARMS = ["--arms", "right,gated-right,against-wrong,without-right", "--coefficients", "0.4,1", "--gate-percentiles", "50", "--gate-at", "first-generated", "--controls", "1"]
reference = None
for ranks, batch_size in ((2, "16"), (1, "32"), (4, "3")):
    data = study_in(str(ranks))
    summary, _ = steer(data, ranks, *ARMS, "--batch-size", batch_size)
    files = [glob.glob(os.path.join(data, "phase3", f"steering_*_{part}_*.h5")) for part in ("tuning", "analysis")]
    check(all(len(found) == 1 for found in files), f"files with {ranks} ranks: {files}")
    check(not os.path.exists(os.path.join(data, "phase3", "steering_model.tmp")), "the changed model was left behind")
    if reference is None:
        reference = [found[0] for found in files]
        first = summary
        continue
    for path, found in zip(reference, files):
        result = subprocess.run([arguments.compare, path, found[0]], capture_output=True, text=True)
        check(result.returncode == 0, f"{ranks} ranks: {result.stdout}{result.stderr}")
    check({part: first[part]["tests"] for part in ("tuning", "analysis")} == {part: summary[part]["tests"] for part in ("tuning", "analysis")}, "tests differ")
for part in ("tuning", "analysis"):
    check(first[part]["differ_from_phase1"] == 0, f"no steering on the {part} part is not phase 1")
gated = [c for c in first["tuning"]["conditions"] if "gate_percentile" in c]
check(len(gated) == 2 and all(0 < c["gate_open_right"] + c["gate_open_wrong"] < 2 for c in gated), f"gated conditions: {gated}")
check(len(first["analysis"]["conditions"]) == 5 and len(first["analysis"]["tests"]) == 40, "arms of the analysis part")
check([arm.get("chosen") is not None for arm in first["tuning"]["arms"]] == [True, True, True, False], "coefficients are chosen for what has one")

# A second start finds both files; the tuning file serves other numbers of controls.
data = os.path.join(folder, "2")
again, text = steer(data, 1, *ARMS)
check("nothing to do" in text and again["analysis"]["conditions"] == first["analysis"]["conditions"], "a finished run was done again")
steer(data, 2, "--arms", "right", "--coefficients", "0.4,1", "--tuning-only", "--positions", "all")
steer(data, 2, "--arms", "right", "--coefficients", "0.4,1", "--controls", "2", "--positions", "all")
check(len(glob.glob(os.path.join(data, "phase3", "steering_*_tuning_*.h5"))) == 2, "coefficients were tried twice")

# Roles: latents of another part are refused, and so is a coefficient for the analysis part, which no option gives.
descriptive = study_in("descriptive")
for path in glob.glob(os.path.join(descriptive, "phase2", "latents_*")):
    os.remove(path)
command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2", os.path.join(arguments.bin, "pva_phase2"), "--data", descriptive, *STUDY, "--general-text",
           sorted(glob.glob(os.path.join(descriptive, "phase2", "rates_*.h5")))[0], "--split", "analysis", "--permutations", "0", "--random-directions", "0"]
result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
check(result.returncode == 0, f"pva_phase2 --split analysis: {result.stdout[-2000:]}{result.stderr[-2000:]}")
latents = glob.glob(os.path.join(descriptive, "phase2", "latents_*.h5"))[0]
_, text = steer(descriptive, 1, code=65)
_, text = steer(descriptive, 1, "--latents", latents, code=65)
check("chosen on selection" in text, f"latents of the analysis part: {text[-500:]}")
for bad in (["--coefficients", "0"], ["--coefficients", "1,x"], ["--arms", "left"], ["--arms", "right,right"], ["--gate-percentiles", "101"]):
    steer(os.path.join(folder, "2"), 1, *bad, code=64)
shutil.rmtree(folder)
print("1, 2 and 4 ranks give equal files")
