#!/usr/bin/env python3
"""pva_train_sae on the demo model: the same SAEs on any number of ranks and after kills, files that pva_check reads, wrong use that is
refused. Python's standard library only.

train_sae.py --bin DIR --demo DIR [--kills N]     N above 1: so many kills, and every number of ranks and every refusal; processes take half a
second of processor time to start, so the suite has few of them
"""
import argparse
import fcntl
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--kills", type=int, default=1)
arguments = parser.parse_args()
LONG = arguments.kills > 1
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
MODEL, PROBLEMS, TEXT = (os.path.join(arguments.demo, name) for name in ("model", "problems.jsonl", "general_text.jsonl"))
WORK = tempfile.mkdtemp(prefix="pva_train_sae_")
MEASURED = ("tokens_per_second", "seconds_left")


def check(condition, message):
    if not condition:
        print(f"FAILED: {message}")
        sys.exit(1)


def command(program, *options, ranks=1):
    launcher = [] if ranks == 1 else ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)]
    return [*launcher, os.path.join(arguments.bin, program), "--data", WORK, "--threads", "1", *options]


def run(*options, ranks=1, code=0, program="pva_train_sae"):
    summary = os.path.join(WORK, "summary.json")
    result = subprocess.run(command(program, "--json", summary, *options, ranks=ranks), capture_output=True, text=True, env=ENVIRONMENT)
    check(result.returncode == code, f"{' '.join(options)} ended with {result.returncode}, not {code}\n{result.stdout[-2500:]}\n{result.stderr[-2500:]}")
    if code != 0:
        return result.stdout + result.stderr
    with open(summary) as file:
        return json.load(file)["summary"]


def refused(code, *parts, options):
    said = run(*options, code=code)
    check(said.count(": error: ") == 1, f"said once: {said[-1500:]}")
    for part in parts:
        check(part in said, f"{' '.join(options)}: no '{part}' in {said[-1500:]}")


def table(folder):
    """The progress table without what is measured."""
    with open(os.path.join(folder, "progress.tsv")) as file:
        lines = [line.rstrip("\n").split("\t") for line in file]
    keep = [i for i, name in enumerate(lines[0]) if name not in MEASURED]
    return [[line[i] for i in keep] for line in lines]


def files(folder):
    """Bytes of everything but the table and the record, whose measured parts differ."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            if name not in ("progress.tsv", "training.json"):
                with open(os.path.join(at, name), "rb") as file:
                    found[os.path.relpath(os.path.join(at, name), folder)] = file.read()
    return found


def record(folder):
    with open(os.path.join(folder, "training.json")) as file:
        value = json.load(file)
    return {key: value[key] for key in ("identity", "text", "saes", "rows_trained")}


def same(a, b, what):
    check(table(a) == table(b), f"{what}: progress tables differ")
    one, two = files(a), files(b)
    check(sorted(one) == sorted(two), f"{what}: {sorted(one)} and {sorted(two)}")
    for name in one:
        check(one[name] == two[name], f"{what}: {name} differs")
    check(record(a) == record(b), f"{what}: records differ")


SMALL = ("--model", MODEL, "--text", TEXT, "--context", "64", "--tokens", "6144" if LONG else "3072", "--batch", "256", "--micro-batch", "64", "--buffer", "1024", "--measure-every", "12" if LONG else "6",
         "--measure-sequences", "8" if LONG else "4", "--loss-sequences", "1", "--held-out-share", "0.05")
KINDS = {"topk": (), "batchtopk": ("--format", "gemma-scope"), "jumprelu": ()}


def options_of(kind, out, layers=None):
    return (*SMALL, "--kind", kind, "--layers", layers or ("2,4" if kind == "topk" else "2"), "--latents", "192", "--l0", "8", *KINDS[kind], "--dead-after", "2048", "--out", out)


def ranks_and_formats():
    for kind, all_ranks in {"topk": (1, 2, 4) if LONG else (1, 4), "batchtopk": (1, 3) if LONG else (1,), "jumprelu": (1, 2) if LONG else (1,)}.items():
        folders = {}
        for ranks in all_ranks:
            folders[ranks] = os.path.join(WORK, f"{kind}_{ranks}")
            summary = run(*options_of(kind, folders[ranks]), ranks=ranks)
        for ranks, folder in folders.items():
            same(folders[1], folder, f"{kind} on {ranks} ranks")
        check(not os.path.exists(os.path.join(folders[1], "checkpoint.safetensors")), "the checkpoint of a finished training")
        layers = [2, 4] if kind == "topk" else [2]
        check(len(table(folders[1])) == 1 + 2 * len(layers), f"lines of the table: {table(folders[1])}")
        first, last = (dict(zip(table(folders[1])[0], table(folders[1])[i])) for i in (1, -len(layers)))
        check(float(last["loss"]) < float(first["loss"]), f"the loss falls: {first} {last}")
        check(float(last["explained_variance"]) > float(first["explained_variance"]), "the explained variance rises")
        if kind == "jumprelu" or (kind == "batchtopk" and not LONG):
            continue
        # pva's own loaders and measures see the same SAE.
        checked = run("--sae", folders[1], "--model", MODEL, "--text", TEXT, "--records", "30", "--loss-records", "1", program="pva_check")
        check([s["layer"] for s in checked["saes"]] == layers, f"layers {checked['saes']}")
        for sae, ours in zip(checked["saes"], summary["saes"]):
            check(sae["unit_norm_share"] == 1, "unit decoder rows")
            check(sae["d_sae"] == 192 and sae["format"] == ("Gemma Scope" if kind == "batchtopk" else "SAELens"), f"format {sae}")
            check(abs(sae["quality"]["l0"] / ours["quality"]["all"]["l0"] - 1) < 0.5, f"L0 {sae['quality']} {ours['quality']}")
            check(ours["quality"]["loss_recovered"] is not None and ours["quality"]["all"]["explained_variance"] > 0.2, f"quality {ours}")
            if kind == "topk":
                check(ours["quality"]["all"]["l0"] <= 8, f"L0 {ours}")
    folder = os.path.join(WORK, "topk_1")
    check(run(*options_of("topk", folder))["saes"] == record(folder)["saes"], "a finished training is not done again")
    refused(65, "other options", options=(*options_of("topk", folder), "--seed", "5"))
    goes_on_from(folder)
    with open(os.path.join(WORK, "topk_1", "documents.tsv")) as file:
        parts = [line.split("\t")[4].strip() for line in file]
    check(parts.count("measured") > 5 and parts.count("trained") > 300, f"documents {len(parts)}")


def goes_on_from(folder):
    """A second training that begins with the SAEs of the first is better at its first line than that was at its last."""
    out = os.path.join(WORK, "second")

    def second(out, layers, start):
        return (*options_of("topk", out, layers), "--seed", "1", "--learning-rate", "1e-3", "--start-from", start)

    run(*second(out, "4", folder), ranks=2)
    columns = table(folder)[0]
    before = dict(zip(columns, table(folder)[-1]))
    after = dict(zip(columns, table(out)[1]))
    check(before["sae"] == after["sae"] == "layer_4", f"lines of layer 4: {before} {after}")
    check(float(after["explained_variance"]) > float(before["explained_variance"]), f"goes on where the first ended: {before} {after}")
    with open(os.path.join(out, "training.json")) as file:
        inputs = json.load(file)["provenance"]["inputs"]
    check(any(i["role"] == "SAE that layer_4 begins with" for i in inputs), f"the SAE it began with is named: {inputs}")
    # Another SAE in that folder is another training.
    moved = os.path.join(WORK, "moved")
    shutil.copytree(os.path.join(folder, "layer_2"), os.path.join(moved, "layer_4"))
    refused(65, "other options", options=second(out, "4", moved))
    refused(65, "has no SAE of layer 3", options=second(os.path.join(WORK, "third"), "3", folder))
    refused(65, "say --latents 192", options=(*SMALL, "--layers", "4", "--latents", "64", "--start-from", folder, "--out", os.path.join(WORK, "third")))


def processes_below(pid):
    """`pid` and all its descendants, by /proc: the ranks that mpirun starts are no members of its group."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    children.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
            except (OSError, IndexError):
                pass
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return found


def kill_all(process):
    pids = processes_below(process.pid)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        time.sleep(0.01)


def interrupted(kills, seed):
    """Kills at random moments, going on with other numbers of ranks: the same as never killed."""
    draw = random.Random(seed)
    whole, cut = os.path.join(WORK, "whole"), os.path.join(WORK, "cut")
    options = lambda out: (*SMALL, "--kind", "batchtopk", "--layers", "3", "--latents", "256,128", "--l0", "8", "--dead-after", "2048", "--checkpoint-minutes", "0", "--out", out)
    start = time.time()
    run(*options(whole), ranks=2 if LONG else 1)
    seconds = time.time() - start
    # A stop on request keeps everything and says so.
    said = run(*options(cut), "--max-minutes", "0.0001", code=75)
    check(f"of {24 if LONG else 12} steps are done and stored" in said, said[-500:])
    done = 0
    while done < kills:
        ranks = draw.choice((1, 2, 3))
        process = subprocess.Popen(command("pva_train_sae", *options(cut), ranks=ranks), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
        try:
            process.wait(timeout=draw.uniform(0.2, 0.9) * seconds)
            check(process.returncode == 0, f"ended with {process.returncode} before it was killed")
            shutil.rmtree(cut)  # it was finished: once more from the beginning
        except subprocess.TimeoutExpired:
            kill_all(process)
            if os.path.exists(os.path.join(cut, "training.json")):
                shutil.rmtree(cut)
            done += 1
    # The last kill may have come before the first checkpoint.
    if not os.path.exists(os.path.join(cut, "checkpoint.safetensors")):
        run(*options(cut), "--max-minutes", "0.0001", code=75)
    if LONG:
        refused(65, "other options", options=(*options(cut), "--seed", "9"))
    run(*options(cut), ranks=2)
    same(whole, cut, f"{kills} kills")
    if not LONG:
        return
    damaged = os.path.join(WORK, "damaged")
    os.makedirs(damaged)
    with open(os.path.join(damaged, "checkpoint.safetensors"), "wb") as file:
        file.write(b"\x10\0\0\0\0\0\0\0 not a header  ")
    refused(65, "checkpoint.safetensors", options=options(damaged))


def is_held(path):
    """Whether a process holds the lock."""
    if not os.path.exists(path):
        return False
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True


def two_in_one_folder():
    """A run that has just locked its folder and is then stopped, and a second one, which waits ten seconds for it: both processes."""
    out = os.path.join(WORK, "locked")
    options = (*SMALL, "--layers", "3", "--latents", "64", "--l0", "4", "--out", out)
    first = subprocess.Popen(command("pva_train_sae", *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    while not is_held(os.path.join(out, "training.lock")):
        check(first.poll() is None, "a run never locked its folder")
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGSTOP)
    second = subprocess.Popen(command("pva_train_sae", *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)
    return first, second


def second_is_refused(first, second):
    said = second.communicate(timeout=120)[0]
    check(second.returncode == 65 and "another run is working on this" in said and "training.lock" in said, f"two runs in one folder: {second.returncode} {said[-1500:]}")
    check(os.listdir(os.path.join(WORK, "locked")) == ["training.lock"], "the second run wrote something")
    kill_all(first)


def more_refusals(base, out):
    refused(64, "holds thresholds", options=(*base, "--format", "gemma-scope"))
    refused(64, "with 8 latents", options=("--model", MODEL, "--text", TEXT, "--layers", "3", "--latents", "8", "--l0", "9", "--out", out))
    refused(64, "fewer tokens", options=("--model", MODEL, "--text", TEXT, "--layers", "3", "--tokens", "100", "--out", out))
    refused(65, "missing.txt", options=("--model", MODEL, "--text", os.path.join(WORK, "missing.txt"), "--out", out))
    empty = os.path.join(WORK, "empty")
    os.makedirs(empty)
    refused(65, "no file that ends", options=("--model", MODEL, "--text", empty, "--out", out))
    broken = os.path.join(WORK, "broken.txt")
    with open(broken, "wb") as file:
        file.write(b"caf\xe9 ")
    refused(65, "broken.txt", "UTF-8", options=("--model", MODEL, "--text", broken, "--out", out))


def refusals():
    out = os.path.join(WORK, "refused")
    base = (*SMALL, "--layers", "3", "--latents", "64", "--l0", "4", "--out", out)
    leak = os.path.join(WORK, "leak.jsonl")
    with open(PROBLEMS) as file:
        problem = json.loads(file.readline())
    with open(leak, "w") as file:
        file.write(json.dumps({"text": "Something else."}) + "\n" + json.dumps({"text": "# Task:\n  " + problem["text"].replace(" ", "\n", 3) + "\n" + problem["code"]}) + "\n")
    refused(65, "leak.jsonl, text 1", "problem 1", "--drop-held-out", options=("--model", MODEL, "--text", f"{TEXT},{leak}", "--problems", PROBLEMS, "--layers", "3", "--out", out))
    refused(65, "is held out", options=("--model", MODEL, "--text", TEXT, "--problems", PROBLEMS, "--oversample-problems", PROBLEMS, "--oversample-share", "0.2", "--layers", "3", "--out", out))
    if LONG:
        more_refusals(base, out)
    check(not os.path.exists(os.path.join(out, "training.json")), "nothing was written")
    # A dropped document, a plain file, sampled prompts, other sites, a dry run.
    plain = os.path.join(WORK, "corpus")
    os.makedirs(os.path.join(plain, "below"))
    with open(TEXT) as file:
        texts = [json.loads(line)["text"] for line in file]
    for i, text in enumerate(texts[:120] + texts[:3]):
        with open(os.path.join(plain, "below" if i % 2 else ".", f"{i}.txt"), "w") as file:
            file.write(text)
    prompts = os.path.join(WORK, "prompts.jsonl")
    with open(PROBLEMS) as source, open(prompts, "w") as file:
        for i, line in enumerate(source):
            if i >= 100:
                file.write(line)
    held = os.path.join(WORK, "held.jsonl")
    with open(PROBLEMS) as source, open(held, "w") as file:
        file.writelines(line for i, line in enumerate(source) if i < 100)
    options = ("--model", MODEL, "--text", f"{plain},{leak}", "--problems", held, "--drop-held-out", "--oversample-problems", prompts, "--oversample-share", "0.25", "--site", "resid_post,mlp_out",
               "--layers", "3", "--latents", "64", "--l0", "4", "--context", "48", "--tokens", "2048", "--batch", "256", "--micro-batch", "128", "--buffer", "600", "--loss-sequences", "2")
    if LONG:
        dry = run(*options, "--out", out, "--dry-run")
        check(dry["saes"] == 2 and dry["text"]["dropped_documents"] == 1, f"dry run {dry}")
        check(not os.path.exists(out), "a dry run writes nothing")
    one, two = os.path.join(WORK, "sites_1"), os.path.join(WORK, "sites_2")
    summary = run(*options, "--out", one)
    check(summary["text"]["dropped_documents"] == 1 and summary["text"]["repeated_documents"] >= 3, f"documents {summary['text']}")
    if LONG:
        run(*options, "--out", two, ranks=2)
        same(one, two, "sites and prompts")
    check([s["path"] for s in summary["saes"]] == ["resid_post/layer_3", "mlp_out/layer_3"], f"paths {summary['saes']}")
    check(summary["saes"][0]["quality"]["last_prompt"]["rows"] > 0, "last prompt rows are measured")
    check(summary["saes"][1]["quality"]["loss_recovered"] is None, "a site that is not residual has no spliced loss")
    with open(os.path.join(one, "documents.tsv")) as file:
        check("prompt\t" in file.read(), "prompts are in the list of what was read")


both = two_in_one_folder()
ranks_and_formats()
interrupted(arguments.kills, 77 if LONG else 5)
refusals()
second_is_refused(*both)
shutil.rmtree(WORK)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"ok; {used.ru_utime + used.ru_stime:.1f} s of processor time")
