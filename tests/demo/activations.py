#!/usr/bin/env python3
"""Activations of the demo study's dataset against the dataset itself and against what pva_check sees in the same tokens.
Needs h5py (exit code 77 without it).

activations.py --bin DIR --demo DIR --data DIR      the results of study.py whole are read from --data
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy as np
except ImportError:
    print("skipped: h5py is not installed")
    sys.exit(77)

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--data", required=True)
arguments = parser.parse_args()
MODEL = os.path.join(arguments.demo, "model")
PROBLEMS = os.path.join(arguments.demo, "problems.jsonl")
LAST_PROMPT, SIGNATURE_END, TENTH, LAST_TOKEN, ALL = range(5)


def check(condition, message):
    if not condition:
        print("FAILED:", message)
        sys.exit(1)


def run(code, name, *options):
    result = subprocess.run([os.path.join(arguments.bin, name), *options], capture_output=True, text=True)
    check(result.returncode == code, f"{name} {options} ended with {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def only(pattern):
    found = glob.glob(pattern)
    check(len(found) == 1, f"{pattern}: {found}")
    return h5py.File(found[0], "r")


dataset = only(os.path.join(arguments.data, "phase1_0", "dataset_*.h5"))
written = only(os.path.join(arguments.data, "phase1_0", "activations_*.h5"))
n = len(dataset["task_id"])
first, kind, tenth, position = (written[name][:] for name in ("first_row", "row/kind", "row/tenth", "row/position"))
program = written["row/program"][:]
check((program == np.repeat(np.arange(n), np.diff(first))).all(), "row/program and first_row differ")
check((dataset["residual/resid_post"][:] == written["activations/resid_post"][:][kind == LAST_PROMPT]).all(),
      "the last prompt tokens' rows are not the dataset's, bit for bit")
check((position[kind == LAST_PROMPT] == dataset["prompt_tokens"][:] - 1).all(), "the last prompt token is elsewhere")
# The last tenth ends with the program, and tenths ascend; the signature ends inside.
prompt = dataset["prompt_tokens"][:][program]
for p in range(n):
    own = slice(first[p], first[p + 1])
    tenths = position[own][kind[own] == TENTH]
    last = position[own][kind[own] == LAST_TOKEN]
    if len(tenths):
        check(len(tenths) == 10 and (np.diff(tenths) >= 0).all() and tenths[-1] == last[0] and tenths[0] >= dataset["prompt_tokens"][p], f"tenths of program {p}: {tenths}")
        check((last[0] < dataset["prompt_tokens"][p] + dataset["generated_tokens"][p]), f"program {p} ends behind its answer")
        signature = position[own][kind[own] == SIGNATURE_END]
        check(len(signature) == 0 or signature[0] <= last[0], f"the signature of program {p} ends behind it")
check((written["row/token_id"][:][kind != LAST_PROMPT] == dataset["token_ids"][:][program, position - prompt][kind != LAST_PROMPT]).all(), "row/token_id is not the dataset's")

with tempfile.TemporaryDirectory() as folder:
    # Every token of prompt and answer at all sites, in three types, against pva_check's view of the same tokens.
    part = ["--model", MODEL, "--problems", PROBLEMS, "--data", folder, "--end", "5", "--max-new-tokens", "48", "--threads", "1", "--positions", "all,signature-end"]
    sites = "embedding,resid_pre,resid_mid,resid_post,attn_out,mlp_out,z,final_norm"
    for dtype in ("float32", "float16", "bfloat16"):
        run(0, "pva_phase1", *part, "--sites", sites, "--activations-dtype", dtype)
    files = sorted(glob.glob(os.path.join(folder, "phase1_0", "activations_*.h5")), key=os.path.getmtime)
    small = only(os.path.join(folder, "phase1_0", "dataset_*.h5"))
    wide, half, brain = (h5py.File(path, "r") for path in files)
    check(half["activations/z"].dtype == np.float16, "float16 is not float16")
    rows = wide["row/kind"][:] == ALL
    sequences = []
    for p in range(len(small["task_id"])):
        own = slice(wide["first_row"][p], wide["first_row"][p + 1])
        sequences.append(wide["row/token_id"][own][wide["row/kind"][own] == ALL].tolist())
        check(len(sequences[-1]) == small["prompt_tokens"][p] + small["generated_tokens"][p], "a token is missing")
    with open(os.path.join(folder, "ids.json"), "w") as file:
        json.dump(sequences, file)
    run(0, "pva_check", "--model", MODEL, "--tokens", os.path.join(folder, "ids.json"), "--sites", sites, "--threads", "1", "--dump", os.path.join(folder, "check.h5"), "--data", folder)
    with h5py.File(os.path.join(folder, "check.h5"), "r") as seen:
        for site in sites.split(","):
            here = wide["activations/" + site][:]
            there = np.concatenate([seen[f"sequence/{i}/{site}"][:] for i in range(len(sequences))], axis=1).transpose(1, 0, 2)
            check((here[rows] == there).all(), f"{site}: not the bits that pva_check sees")
            check((half["activations/" + site][:] == here.astype(np.float16)).all(), f"{site}: float16 is not the nearest")
            bits = here.view(np.uint32).astype(np.uint64)
            nearest = (((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) << 16).astype(np.uint32).view(np.float32)
            check((brain["activations/" + site][:] == nearest).all(), f"{site}: bfloat16 is not the nearest")
    text = run(0, "pva_phase1", *part, "--sites", sites)
    check("nothing to do" in text, "finished activations were made again")
    for options, words in ((["--sites", "resid_post,nowhere"], "nowhere"), (["--positions", "last"], "last-token"), (["--positions", "all,all"], "twice"), (["--sites", "mlp_out.99"], "99")):
        code = 64
        check(words in run(code, "pva_phase1", *(part[:-2] if options[0] == part[-2] else part), *options), f"{options}: the message does not say '{words}'")
print("activations: the dataset's rows and pva_check's, bit for bit; float16 and bfloat16 are the nearest; bad lists are refused")
