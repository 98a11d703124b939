"""Prefill and decode rates of pva_check beside Hugging Face transformers in the same run, on the same weights.

    python tests/bench/against_transformers.py --bin build/release/bin [--model FOLDER] [--threads 2] [--batches 1,16,64]

Without --model a random model of a 24-million-parameter Gemma-2 shape is made in a temporary folder. Needs torch, transformers and
safetensors. transformers runs with its settings for this CPU that were fastest here: eager attention (the only one with Gemma-2's soft
caps), inference mode, dynamic cache, logits of the last position only; each figure is the better of three rounds, pva's too. Rows are all
of one length, so that transformers wastes nothing on padding.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

PROMPT, STEPS, ROUNDS = 128, 32, 3


def make_model(folder: pathlib.Path) -> None:
    torch.manual_seed(1)
    config = Gemma2Config(vocab_size=16384, hidden_size=384, num_hidden_layers=8, num_attention_heads=6, num_key_value_heads=3, head_dim=64,
                          intermediate_size=1536, query_pre_attn_scalar=64, max_position_embeddings=1024)
    Gemma2ForCausalLM(config).float().save_pretrained(folder)


def transformers_rates(folder: pathlib.Path, tokens: list[list[int]], dtype: torch.dtype) -> tuple[float, float]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    ids = torch.tensor(tokens)
    prefill, decode = 0.0, 0.0
    with torch.inference_mode():
        for _ in range(ROUNDS):
            start = time.perf_counter()
            out = model(ids, use_cache=True, logits_to_keep=1)
            prefill = max(prefill, ids.numel() / (time.perf_counter() - start))
            cache = out.past_key_values
            step = out.logits[:, -1].argmax(-1, keepdim=True)
            start = time.perf_counter()
            for _ in range(STEPS):
                out = model(step, past_key_values=cache, use_cache=True, logits_to_keep=1)
                step = out.logits[:, -1].argmax(-1, keepdim=True)
            decode = max(decode, STEPS * len(tokens) / (time.perf_counter() - start))
    return prefill, decode


def pva_rates(binary: pathlib.Path, folder: pathlib.Path, tokens: list[list[int]], dtype: str, threads: int) -> tuple[float, float]:
    best = (0.0, 0.0)
    with tempfile.TemporaryDirectory() as work:
        (pathlib.Path(work) / "ids.json").write_text(json.dumps(tokens))
        for _ in range(ROUNDS):
            subprocess.run([binary / "pva_check", "--model", folder, "--tokens", f"{work}/ids.json", "--rates-only", "--batch-size", str(len(tokens)),
                            "--generate", str(STEPS), "--threads", str(threads), "--dtype", dtype, "--data", work, "--json", f"{work}/out.json"],
                           check=True, stdout=subprocess.DEVNULL)
            summary = json.loads((pathlib.Path(work) / "out.json").read_text())["summary"]
            best = (max(best[0], summary["prefill_tokens_per_second"]), max(best[1], summary["decode_tokens_per_second"]))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", default="1,16,64")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.model or pathlib.Path(temporary)
        if not options.model:
            make_model(folder)
        vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
        generator = torch.Generator().manual_seed(2)
        print(f"transformers {transformers.__version__}, torch {torch.__version__}, {options.threads} threads, prompts of {PROMPT} tokens, {STEPS} steps, "
              f"load average {os.getloadavg()[0]:.1f}; tokens a second")
        print("batch  dtype     prefill: transformers       pva  ratio    decode: transformers       pva  ratio")
        for batch in map(int, options.batches.split(",")):
            tokens = torch.randint(3, vocab, (batch, PROMPT), generator=generator).tolist()
            for dtype in ("float32", "bfloat16"):
                theirs = transformers_rates(folder, tokens, getattr(torch, dtype))
                ours = pva_rates(options.bin, folder, tokens, dtype, options.threads)
                print(f"{batch:5}  {dtype:8}  {theirs[0]:21.0f} {ours[0]:9.0f} {ours[0] / theirs[0]:6.2f}  {theirs[1]:22.1f} {ours[1]:9.1f} {ours[1] / theirs[1]:6.2f}",
                      flush=True)


if __name__ == "__main__":
    main()
