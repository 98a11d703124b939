#!/usr/bin/env python3
"""Latents chosen on one problem set, tried on another: pva_phase3 --chosen-on. Python's standard library only.

transfer.py --bin DIR --demo DIR --data DIR   DIR: results of `study.py whole`, read only
"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--data", required=True)
arguments = parser.parse_args()

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
MODEL, PROBLEMS, SAES = (os.path.join(arguments.demo, name) for name in ("model", "problems.jsonl", "saes"))
folder = tempfile.mkdtemp(prefix="pva_transfer_")
data = os.path.join(folder, "data")


def check(condition, message):
    if not condition:
        print(f"FAILED: {message}\nleft for inspection: {folder}")
        sys.exit(1)


def run(code, name, *options):
    summary = os.path.join(folder, "summary.json")
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2", os.path.join(arguments.bin, name), "--data", data, "--json", summary, *options]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    check(result.returncode == code, f"{' '.join(command)} ended with {result.returncode}\n{result.stdout}{result.stderr}")
    if code != 0:
        return result.stdout + result.stderr
    with open(summary) as file:
        return json.load(file), result.stdout


for name in ("phase1_0", "phase1_1", "phase2"):
    shutil.copytree(os.path.join(arguments.data, name), os.path.join(data, name), ignore=shutil.ignore_patterns("activations_*"))
# Another problem set: the same kinds of problems in other words, and two problems that both sets have.
other = os.path.join(folder, "other.jsonl")
with open(PROBLEMS) as source, open(other, "w") as target:
    for number, line in enumerate(source):
        if number >= 40:
            break
        problem = json.loads(line)
        problem["task_id"] += 5000
        if number >= 2:
            problem["text"] = "Here is a task. " + problem["text"]
        target.write(json.dumps(problem) + "\n")
common = ("--model", MODEL, "--sae", SAES, "--permutations", "500", "--bootstrap", "200")
run(0, "pva_phase1", "--model", MODEL, "--problems", other, "--max-new-tokens", "128", "--threads", "1")
text = run(65, "pva_phase3", *common, "--problems", PROBLEMS, "--chosen-on", PROBLEMS)
check("same problems" in text, text)
text = run(64, "pva_phase3", *common, "--problems", other, "--chosen-dataset", "x.h5")
check("belongs to --chosen-on" in text, text)
report, table = run(0, "pva_phase3", *common, "--problems", other, "--chosen-on", PROBLEMS)
summary = report["summary"]
check(summary["transfer"] is True and summary["analysis_problems"] == 38, f"{summary['analysis_problems']} problems; two of 40 are in both sets")
check("every program of other is held out" in table and "2 problems have the text" in table, "the output does not say what was done:\n" + table)
check("_transfer_" in os.path.basename(report["result"]), report["result"])
# Thresholds and figures of selection are those of the first study; the figures held out are not.
first = sorted(glob.glob(os.path.join(arguments.data, "phase3", "validation_*.json")))[-1]
with open(first) as file:
    before = json.load(file)["summary"]
chosen = {(d["detector"], d["positive_class"]): d for d in before["detectors"]}
compared = 0
for detector in summary["detectors"]:
    old = chosen[detector["detector"], detector["positive_class"]]
    check(detector["threshold"] == old["threshold"] and detector["selection_auroc"] == old["selection_auroc"], f"{detector}\n{old}")
    compared += 1
check(compared >= 24, f"{compared} detectors; complexity is not known there")
check(not any("complexity" in d["detector"] for d in summary["detectors"]), "complexity is not known of these problems")
shutil.rmtree(folder)
print(f"{compared} detectors of one study on 38 problems of another")
