"""Compares a dataset of phase 1 with Hugging Face transformers (eager, float32, one prompt at a time): the residual stream
at the last prompt token, and the greedy answers.

    python tests/reference/study/check_generation.py --dataset FILE --demo data/demo [--problems 60]

An answer may part from the reference where the two best logits are within rounding of each other: the gap is printed.
Needs h5py, numpy, torch, transformers, sentencepiece.
"""
import argparse
import json
import os
import sys

import h5py
import numpy as np
import sentencepiece
import torch
from transformers import Gemma2ForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--dataset", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--problems", type=int, default=60)
arguments = parser.parse_args()
torch.set_num_threads(1)

model = Gemma2ForCausalLM.from_pretrained(os.path.join(arguments.demo, "model"), dtype=torch.float32, attn_implementation="eager").eval()
tokenizer = sentencepiece.SentencePieceProcessor(model_file=os.path.join(arguments.demo, "model", "tokenizer.model"))
with open(os.path.join(arguments.demo, "problems.jsonl")) as file:
    problems = {p["task_id"]: p for p in map(json.loads, file)}
kept = {}
for layer, block in enumerate(model.model.layers):
    block.register_forward_hook(lambda module, inputs, output, layer=layer: kept.__setitem__(layer, (output[0] if isinstance(output, tuple) else output)[0]))

largest_residual, parted, largest_gap = 0.0, 0, 0.0
with h5py.File(arguments.dataset) as file, torch.no_grad():
    layers = file["layer"][:]
    for row in range(min(arguments.problems, len(file["task_id"]))):
        problem = problems[int(file["task_id"][row])]
        prompt = problem["text"] + "\n\n" + "\n".join(problem["test_list"]) + "\n\n# Solution:"
        ids = [tokenizer.bos_id()] + tokenizer.encode(prompt)
        assert len(ids) == file["prompt_tokens"][row]
        answer = [int(t) for t in file["token_ids"][row] if t >= 0]
        # The reference sees prompt and answer at once; position by position its best next token must be pva's.
        logits = model(torch.tensor([ids + answer])).logits[0].double()
        ours = file["residual/resid_post"][row].astype(np.float64)
        for index, layer in enumerate(layers):
            theirs = kept[int(layer)][len(ids) - 1].double().numpy()
            largest_residual = max(largest_residual, float(np.linalg.norm(ours[index] - theirs) / np.linalg.norm(theirs)))
        for position, token in enumerate(answer):
            best = logits[len(ids) - 1 + position]
            gap = float(best.max() - best[token])
            if gap > 0:
                parted += 1
                largest_gap = max(largest_gap, gap)
print(f"residual stream: largest relative difference of a row {largest_residual:.2g}")
print(f"greedy tokens that are not the reference's best: {parted}, their largest gap {largest_gap:.2g}")
ok = largest_residual < 2e-5 and largest_gap < 1e-4
print("1 passed, 0 failed" if ok else "0 passed, 1 failed")
sys.exit(0 if ok else 1)
