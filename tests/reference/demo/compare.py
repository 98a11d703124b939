"""Largest logit and residual difference between model.py and transformers' eager float32 Gemma-2: compare.py MODEL TOKENIZER PROBLEMS.jsonl|--fresh."""
import json
import sys

import sentencepiece as spm
import torch
import transformers

import evaluate
import model as demo
import problems


@torch.no_grad()
def main(folder, tokenizer, source):
    ps = evaluate.fresh(20, 99) if source == "--fresh" else [json.loads(line) for line in open(source)][::10]
    sp = spm.SentencePieceProcessor(model_file=tokenizer)
    ours = demo.load(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    kept = []
    for block in theirs.model.layers:
        block.register_forward_hook(lambda m, i, o: kept.append(o[0] if isinstance(o, tuple) else o))
    worst, worst_site, largest = 0.0, 0.0, 0.0
    for p in ps:
        ids = torch.tensor([[2] + sp.encode(problems.prompt(p) + problems.completion(p)) + [1]])
        kept.clear()
        b = theirs(ids, use_cache=False).logits
        sites = []
        a = ours.logits(ours(ids, sites))
        worst = max(worst, (a - b).abs().max().item())
        largest = max(largest, b.abs().max().item())
        worst_site = max(worst_site, max((x - y).abs().max().item() for x, y in zip(sites, kept)))
    print(f"transformers {transformers.__version__}, torch {torch.__version__}: {len(ps)} texts, max abs logit difference {worst:.3g} "
          f"(largest logit {largest:.3g}), max abs resid_post difference {worst_site:.3g}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
