#!/usr/bin/env python3
"""SAEs of the demo model made by pva_train_sae, beside those that ship in data/demo/saes.

    demo_saes.py --bin DIR --demo DIR --work DIR [--ranks 2] [--kind batchtopk] [--l0 32] [--share 0.43] [--tokens 1228800] [--texts-only] [-- more options]

Writes what saes.py of tests/reference/demo reads as JSONL files: problems with their reference answers, general text, and problems whose
last prompt token is oversampled; none is one of the study's. Trains layers 2, 3, 4 with 1,024 latents to WORK/saes (params.npz), then
measures both sets by saes.py's own functions on the same tokens, none of them trained on. Needs what tests/reference/demo needs.
"""
import argparse
import itertools
import json
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "demo"))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import sentencepiece as spm  # noqa: E402
import torch  # noqa: E402

import model as demo  # noqa: E402
import problems  # noqa: E402
import saes  # noqa: E402
import study  # noqa: E402
import words  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--work", required=True)
parser.add_argument("--ranks", type=int, default=2)
parser.add_argument("--kind", default="batchtopk")
parser.add_argument("--l0", type=int, default=32)
parser.add_argument("--share", type=float, default=0.43)
parser.add_argument("--tokens", type=int, default=1_228_800)
parser.add_argument("--texts-only", action="store_true", help="only write the texts, for against_saelens.py")
parser.add_argument("more", nargs="*")
arguments = parser.parse_args()
LAYERS = [2, 3, 4]


def write(name, records):
    path = os.path.join(arguments.work, name)
    with open(path, "w") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    return path


def as_problem(p, number):
    return {"text": p["text"], "code": p["code"], "task_id": number, "test_setup_code": "", "test_list": p["tests"], "challenge_test_list": [], "family": p["family"]}


def write_texts():
    """The texts of saes.py, from the same seeds."""
    rng = random.Random(41)
    known = itertools.islice(problems.stream(11, False), 1100)
    new = itertools.islice(problems.stream(42, False, 0.7), 1100)
    whole = [p for pair in zip(known, new) for p in pair]
    like = {}
    for p in study.stream(46):
        like.setdefault(problems.prompt(p), p)
        if len(like) == 15000:
            break
    general = [words.general_text(rng) for _ in range(1500)]
    text = write("text.jsonl", [{"text": problems.prompt(p) + problems.completion(p)} for p in whole] + [{"text": t} for t in general])
    prompts = write("prompts.jsonl", [as_problem(p, i) for i, p in enumerate(whole + list(like.values()))])
    return text, prompts


def measured_rows():
    """Rows at the layers: last prompt tokens and other tokens of held-out tasks, general text of another seed, the study's prompts."""
    sp = spm.SentencePieceProcessor(model_file=os.path.join(arguments.demo, "model", "tokenizer.model"))
    held = [p for pair in itertools.islice(zip(problems.stream(43, True), problems.stream(45, True, 0.7)), 400) for p in pair]
    rng = random.Random(44)
    general = [words.general_text(rng) for _ in range(300)]
    with open(os.path.join(arguments.demo, "problems.jsonl")) as file:
        own = [json.loads(line) for line in file]
    prompt = lambda p: [2] + sp.encode(problems.prompt(p))
    whole = [prompt(p) + sp.encode(problems.completion(p)) + [1] for p in held[:300]]
    texts = [([2] + sp.encode(t))[:400] for t in general]
    last = lambda rows: [slice(len(r) - 1, len(r)) for r in rows]
    inner = lambda rows: [slice(1, len(r)) for r in rows]
    net = demo.load(os.path.join(arguments.demo, "model"))
    kinds = {"last prompt token, held-out problems": ([prompt(p) for p in held], last), "last prompt token, the study's problems": ([prompt(p) for p in own], last),
             "all positions, held-out problems": (whole, inner), "general text": (texts, inner)}
    return {name: {layer: torch.cat(v) for layer, v in saes.residuals(net, rows, LAYERS, at(rows)).items()} for name, (rows, at) in kinds.items()}


def main():
    os.makedirs(arguments.work, exist_ok=True)
    text, prompts = write_texts()
    if arguments.texts_only:
        return
    out = os.path.join(arguments.work, "saes")
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(arguments.ranks), os.path.join(arguments.bin, "pva_train_sae"), "--data", arguments.work, "--model", os.path.join(arguments.demo, "model"),
               "--text", text, "--problems", os.path.join(arguments.demo, "problems.jsonl"), "--oversample-problems", prompts, "--oversample-share", str(arguments.share), "--kind", arguments.kind,
               "--format", "gemma-scope", "--layers", ",".join(map(str, LAYERS)), "--latents", "1024", "--l0", str(arguments.l0), "--tokens", str(arguments.tokens), "--batch", "1024", "--micro-batch", "256",
               "--context", "256", "--threads", "1", "--out", out, *arguments.more]
    subprocess.run(command, check=True, env=dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1"))
    rows = measured_rows()
    for layer in LAYERS:
        for name, folder in (("shipped", os.path.join(arguments.demo, "saes")), ("pva_train_sae", out)):
            with np.load(os.path.join(folder, f"layer_{layer}", "params.npz")) as file:
                sae = {key: torch.from_numpy(file[key]) for key in file.files}
            figures = "  ".join(f"{kind}: {ev:.3f} / {l0:.1f}" for kind, (ev, l0) in ((kind, saes.explained_variance(sae, of[layer])) for kind, of in rows.items()))
            fires = {kind: (saes.encode(sae, of[layer]) > 0).double().mean(0) for kind, of in rows.items()}
            passing = int(((fires["last prompt token, held-out problems"] >= 0.03) & (fires["general text"] <= 0.02)).sum())
            print(f"layer {layer} {name:14} EV / L0 at {figures}  latents at 3 % of last tokens that pass the general filter: {passing}")


if __name__ == "__main__":
    main()
