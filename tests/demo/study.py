#!/usr/bin/env python3
"""Runs the demo study through the real executables and checks what comes out. Python's standard library only.

study.py whole  --bin DIR --demo DIR --data DIR                 all phases, 2 ranks; the results stay in DIR for later tests
study.py ranks  --bin DIR --demo DIR --compare COMPARE_H5       a part of it with 1, 2, 3 and 4 ranks: equal files
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
parser.add_argument("mode", choices=["whole", "ranks"])
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--data", default="")
parser.add_argument("--compare", default="")
arguments = parser.parse_args()

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
MODEL = os.path.join(arguments.demo, "model")
PROBLEMS = os.path.join(arguments.demo, "problems.jsonl")
SAES = os.path.join(arguments.demo, "saes")
TEXT = os.path.join(arguments.demo, "general_text.jsonl")


def check(condition, message):
    if not condition:
        print(f"FAILED: {message}")
        sys.exit(1)


def run(data, ranks, name, *options):
    """Runs one executable; returns its JSON summary."""
    summary = os.path.join(data, "summary.json")
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), os.path.join(arguments.bin, name),
               "--data", data, "--json", summary, *options]
    before = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    if result.returncode != 0:
        print(result.stdout[-3000:], result.stderr[-3000:])
        check(False, f"{' '.join(command)} ended with {result.returncode}")
    with open(summary) as file:
        report = json.load(file)
    print(f"{name} with {ranks} ranks: {time.monotonic() - before:.1f} s")
    check(os.path.exists(report["result"]), f"{name}: no result file")
    if name != "pva_check":
        check(os.path.exists(report["result"][:-3] + ".json"), f"{name}: no JSON beside the result")
    return report, result.stdout


STAGES = ("--sites", "resid_post,mlp_out", "--positions", "last-prompt,signature-end,tenths,last-token")


def phases(data, ranks, part=(), general_tokens="256", candidates="5", split=(), threads="1", batch_size="16", permutations="1000", stages=()):
    run(data, ranks, "pva_phase0", "--problems", PROBLEMS, *part)
    one, _ = run(data, ranks, "pva_phase1", "--model", MODEL, "--problems", PROBLEMS, "--max-new-tokens", "128",
                 "--threads", threads, "--batch-size", batch_size, *part, *stages)
    run(data, ranks, "pva_phase1_1", "--problems", PROBLEMS, *split)
    sampled, _ = run(data, ranks, "pva_phase1_2", "--model", MODEL, "--problems", PROBLEMS, "--max-new-tokens", "128", "--part", "analysis",
                     "--temperatures", "0.5,1.2", "--samples", "2", "--test-seconds", "2", "--threads", threads, "--batch-size", batch_size)
    two, _ = run(data, ranks, "pva_phase2", "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES, "--general-text", TEXT,
                 "--general-tokens", general_tokens, "--group-by", "family", "--permutations", permutations, "--threads", threads)
    three, table = run(data, ranks, "pva_phase3", "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES, "--candidates", candidates, "--group-by", "family",
                       "--threads", threads)
    return one, sampled, two, three, table


def main():
    with open(PROBLEMS) as file:
        n_problems = sum(1 for line in file if line.strip())
    if arguments.mode == "whole":
        shutil.rmtree(arguments.data, ignore_errors=True)
        os.makedirs(arguments.data)
        one, sampled, two, three, table = phases(arguments.data, 2)
        summary = one["summary"]
        check(summary["problems"] == n_problems, "phase 1 did not run all problems")
        share = summary["solved"] / n_problems
        check(0.35 <= share <= 0.75, f"the demo model solves {share:.1%}, the study was made for 35 to 75 %")
        check("internal" not in summary["verdicts"], "the tester broke")
        by_difficulty = summary["solved_by_difficulty"]
        check(set(by_difficulty) == {"easy", "medium", "hard"}, "difficulties are missing")
        rates = [entry["right"] / (sampled["summary"]["problems"] * (2 if entry["temperature"] else 1)) for entry in sampled["summary"]["temperatures"]]
        check(len(rates) == 3 and rates[1] > rates[2], f"right programs at temperatures 0, 0.5 and 1.2: {rates}")
        check(sampled["summary"]["measured"]["prompts_read"] == sampled["summary"]["problems"], "a prompt was read more than once")
        for layer in two["summary"]["layers"]:
            check(layer["explained_variance"] > 0.7, f"explained variance {layer['explained_variance']} at layer {layer['layer']}: wrong site or SAE?")
        names = [baseline["name"] for baseline in two["summary"]["baselines"]]
        check(len(names) == 10 and "words of the text" in names and "logistic probe" in names, f"baselines of phase 2: {names}")
        for baseline in two["summary"]["baselines"]:
            check(0.4 < baseline["auroc"] < 0.95 and len(baseline["within_auroc"]) == 2, f"{baseline}")
        # The published rules on the same codes: nothing is encoded again.
        paper, text = run(arguments.data, 2, "pva_phase2", "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES, "--general-text", TEXT, "--threads", "1",
                          "--compat", "paper", "--permutations", "0", "--random-directions", "0")
        check("blocks of codes" not in text and paper["summary"]["score"] == "frequency-difference", "phase 2 with the published rules")
        check(paper["summary"]["set_aside_rare"] == 0 and paper["summary"]["permutation_threshold"] is None, "published rules set nothing aside")
        check(len(glob.glob(os.path.join(arguments.data, "phase2", "sparse_*.h5"))) == 1 and len(glob.glob(os.path.join(arguments.data, "phase2", "rates_*.h5"))) == 2, "files of codes and rates")
        os.remove(paper["result"])  # the later tests take the newest file
        os.remove(paper["result"][:-3] + ".json")
        detectors = three["summary"]["detectors"]
        check(len(detectors) == 30, "5 latents and 10 baselines for each direction were expected")
        for detector in detectors:
            check(0 <= detector["auroc_low"] <= detector["auroc"] <= detector["auroc_high"] <= 1, f"interval of {detector}")
            check(0 <= detector["auroc_bootstrap_low"] <= detector["auroc"] <= detector["auroc_bootstrap_high"] <= 1, f"bootstrap interval of {detector}")
            check(0 < detector["permutation_p"] <= 1 and (detector["q_value"] is None) == (detector["kind"] != 0), f"p of {detector}")
            check((detector["q_value"] or 1) >= detector["permutation_p"] or detector["q_value"] is None, f"q of {detector}")
        for direction in ("right", "wrong"):
            head = three["summary"]["headline"][direction]
            first = next(d for d in detectors if d["positive_class"] == direction)
            check(head["latent"] == first["detector"] and head["auroc"] == first["auroc"], "the headline is the first of the ranking on selection")
            check(abs(head["text_and_latent_auroc"] - head["text_auroc"] - head["difference"]) < 1e-12, f"{head}")
            check(head["difference_low"] <= head["difference"] <= head["difference_high"], f"{head}")
        # Both directions of the residual stream and the words see the same thing from both sides.
        for kind in (1, 9, 10):
            pair = [d["auroc"] for d in detectors if d["kind"] == kind]
            check(len(pair) == 2 and abs(pair[0] - pair[1]) < 1e-12, f"kind {kind}: {pair}")
        check(0.6 < three["summary"]["smallest_detectable_auroc"] < 0.7, "smallest detectable AUROC of 136 problems")
        check(three["summary"]["temperatures"]["values"] == [0, 0.5, 1.2] and three["summary"]["temperatures"]["right_share_slope"] < 0, "temperatures of phase 3")
        check(three["summary"]["random_latents"]["n"] == 100 and 0.45 < three["summary"]["random_latents"]["mean_auroc"] < 0.58, "random latents")
        check("AUROC held out" in table and "no stages of writing" in table and three["summary"]["stages"] is None, "no final table")
        # Steering: no steering is phase 1, and a long vector is no detail. tests/demo/steer.py does more.
        steered, table = run(arguments.data, 2, "pva_steer", "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES, "--arms", "right", "--coefficients", "0.05,3",
                             "--controls", "1", "--compat", "paper", "--threads", "1")
        for part in ("tuning", "analysis"):
            check(steered["summary"][part]["differ_from_phase1"] == 0, f"no steering on the {part} part is not phase 1")
        weak, strong = steered["summary"]["tuning"]["conditions"][1:]
        check(strong["broken"] > weak["broken"] and strong["similarity"] < weak["similarity"], f"a vector three times as long as the stream: {strong}")
        tests = steered["summary"]["analysis"]["tests"]
        check(len(tests) == 14 and sum(test["published"] for test in tests) == 4 and "smallest attainable p 0.500" in table, "tests of steering")
        # For the example of docs/formats/check.md.
        os.makedirs(os.path.join(arguments.data, "check"))
        dumped, _ = run(arguments.data, 2, "pva_check", "--model", MODEL, "--text", TEXT, "--records", "3", "--max-tokens", "40", "--threads", "1",
                        "--sites", "resid_post,mlp_out", "--generate", "4", "--dump", os.path.join(arguments.data, "check", "check_demo.h5"))
        check(dumped["summary"]["mean_loss"] < 4, "the demo model does not know its own text")
        # For the example of docs/formats/codes.md.
        os.makedirs(os.path.join(arguments.data, "codes"))
        coded, _ = run(arguments.data, 1, "pva_check", "--model", MODEL, "--text", TEXT, "--records", "3", "--max-tokens", "40", "--threads", "1",
                       "--sae", SAES, "--loss-records", "0", "--codes", os.path.join(arguments.data, "codes", "codes_demo.h5"))
        # For the example of docs/formats/verdicts.md: the same programs once more.
        judged, _ = run(arguments.data, 2, "pva_evaluate", "--problems", PROBLEMS, "--rescore", "--out", os.path.join(arguments.data, "evaluate.jsonl"))
        check(judged["summary"]["changed_verdicts"] == 0, f"verdicts changed: {judged['summary']['changes']}")
        # Other sites and positions of the finished dataset, for the example of docs/formats/activations.md and for later tests.
        added, out = run(arguments.data, 2, "pva_phase1", "--model", MODEL, "--problems", PROBLEMS, "--max-new-tokens", "128", "--threads", "1",
                         *STAGES)
        positions = added["summary"]["activations"]["positions"]
        check(added["result"] == one["result"] and positions["last-prompt"] == {"programs": n_problems, "rows": n_problems}, f"activations: {positions}")
        check(positions["tenths"]["rows"] == 10 * positions["last-token"]["rows"] > 9 * n_problems, f"activations: {positions}")
        # Phase 3 finds its result and adds the stages of writing.
        stages, table = run(arguments.data, 2, "pva_phase3", "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES, "--group-by", "family", "--threads", "1")
        check(stages["result"] == three["result"] and "When does it know?" in table, "phase 3 with activations")
        course = stages["summary"]["stages"]["stages"]
        check([s["stage"] for s in course] == ["last-prompt", "signature-end"] + [f"tenth-{i}" for i in range(1, 11)] + ["last-token"], f"stages: {[s['stage'] for s in course]}")
        check(course[0]["tokens_written"] == 0 and all(a["tokens_written"] <= b["tokens_written"] for a, b in zip(course[2:], course[3:])), "tokens written at the stages")
        check(course[0]["baselines"][2]["auroc"] is None and course[-1]["baselines"][2]["auroc"] > 0.6, "log-probability so far")
        same = [[d["auroc"] for d in course[i]["detectors"]] for i in (11, 12)]
        check(same[0] == same[1], f"the last tenth ends with the last token: {same}")
        # Phase 2 on them: the last prompt token there gives what the dataset's own rows give; the first notebook's position sees the answer.
        activations = glob.glob(os.path.join(arguments.data, "phase1_0", "activations_*.h5"))[0]
        same, _ = run(arguments.data, 2, "pva_phase2", "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES, "--general-text", TEXT, "--threads", "1", "--group-by", "family",
                      "--activations", activations)
        check(same["summary"]["ranked"] == two["summary"]["ranked"] and same["summary"]["comparison"] == two["summary"]["comparison"], "phase 2 on the same rows of another file")
        rates = sorted(glob.glob(os.path.join(arguments.data, "phase2", "rates_*.h5")))[0]
        last, _ = run(arguments.data, 2, "pva_phase2", "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES, "--general-text", rates, "--threads", "1", "--layers", "3-4",
                      "--position", "last-token", "--compat", "first", "--activation-threshold", "0", "--permutations", "0", "--random-directions", "0")
        check(last["summary"]["problems"] <= two["summary"]["problems"] and len(last["summary"]["layers"]) == 2 and last["summary"]["score"] == "notebook-d", "phase 2 at the last token")
        for report in (same, last):
            os.remove(report["result"])
            os.remove(report["result"][:-3] + ".json")
        # A second start finds everything finished.
        for first, name, options in [
                (one, "pva_phase1", ["--max-new-tokens", "128"]),
                (sampled, "pva_phase1_2", ["--max-new-tokens", "128", "--part", "analysis", "--temperatures", "0.5,1.2", "--samples", "2", "--test-seconds", "2"]),
                (two, "pva_phase2", ["--sae", SAES, "--general-text", TEXT, "--general-tokens", "256", "--group-by", "family", "--permutations", "1000"]),
                (three, "pva_phase3", ["--sae", SAES, "--candidates", "5", "--group-by", "family"])]:
            again, out = run(arguments.data, 2, name, "--model", MODEL, "--problems", PROBLEMS, "--threads", "1", *options)
            check("nothing to do" in out and again["result"] == first["result"], f"{name}: a finished run was done again")
        print(f"solved {summary['solved']} of {n_problems}")
        return
    folder = tempfile.mkdtemp(prefix="pva_ranks_")
    reference = None
    for ranks in (1, 2, 3, 4):
        data = os.path.join(folder, str(ranks))
        os.makedirs(data)
        # Other batches and threads each time: rows must not depend on them. Blocks that do not divide the 72 problems evenly.
        batch_size, threads = {1: ("16", "1"), 2: ("7", "2"), 3: ("32", "1"), 4: ("1", "1")}[ranks]
        phases(data, ranks, part=("--start", "0", "--end", "71"), general_tokens="48", candidates="2", threads=threads, batch_size=batch_size, permutations="100",
               stages=("--sites", "resid_post", "--positions", "last-prompt,tenths"))
        run(data, ranks, "pva_phase1", "--model", MODEL, "--problems", PROBLEMS, "--max-new-tokens", "64", "--threads", threads, "--batch-size", batch_size,
            "--start", "72", "--end", "80", "--temperature", "0.8", "--samples", "4", "--top-k", "20", "--top-p", "0.95", "--min-p", "0.01", "--layers", "1-2", "--test-seconds", "2",
            "--sites", "resid_post,resid_mid.2", "--positions", "tenths,all", "--activations-dtype", "bfloat16")
        files = {prefix: glob.glob(os.path.join(data, "phase*", prefix + "_*.h5")) for prefix in ("difficulty", "dataset", "splits", "temperatures", "sparse", "rates", "latents", "validation", "stages", "activations")}
        files["samples"] = [path for path in files["dataset"] if "_72-80_" in path]
        files["dataset"] = [path for path in files["dataset"] if "_72-80_" not in path]
        files["activations of samples"] = [path for path in files["activations"] if "_72-80_" in path]
        files["activations"] = [path for path in files["activations"] if "_72-80_" not in path]
        for prefix, found in files.items():
            check(len(found) == 1, f"{len(found)} files {prefix} with {ranks} ranks")
        if reference is None:
            reference = files
            continue
        for prefix, found in files.items():
            result = subprocess.run([arguments.compare, reference[prefix][0], found[0]], capture_output=True, text=True)
            check(result.returncode == 0, f"{prefix} with {ranks} ranks: {result.stdout}{result.stderr}")
    shutil.rmtree(folder)
    print("1, 2, 3 and 4 ranks, with batches of 16, 7, 32 and 1 and with 1 and 2 threads, give equal files in all phases")


main()
