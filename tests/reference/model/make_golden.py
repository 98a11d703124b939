"""Makes the golden values that tests/golden/gemma2 compares with, by Hugging Face transformers (eager, float32, no cache).

    python tests/reference/model/make_golden.py           # all, from the root of the checkout
    python tests/reference/model/make_golden.py demo      # only the demo model's (after it was trained anew)

Per model one golden.safetensors (the demo's: demo.safetensors), every sequence run alone, without padding:
    tokens.S      I32 [T]            token ids
    positions.S   I32 [P]            the positions kept
    logits.S      F32 [P, vocab]
    resid_post.S  F32 [layers, P, d_model]   outputs of the blocks, by hooks on them (the last one before the final norm)
    greedy.S      I32 [N]            greedy continuation, each step a whole forward pass (only some sequences)
and in its metadata the versions and the SHA-256 of the weights. The two random models are written beside it:
    odd_heads       3 layers, 3 heads / 1 kv head, head_dim 20, window 8, both caps; config.json as transformers 5 writes it
    bf16_uncapped   2 layers, 4 heads / 2 kv heads, head_dim 12, no caps, query_pre_attn_scalar 30, bfloat16 weights,
                    window 5 on layer 1 (layer_types); config.json in transformers 4 spelling
"""

import hashlib
import json
import pathlib
import platform
import shutil
import sys

import numpy
import safetensors
import safetensors.numpy
import sentencepiece
import torch
import transformers
from transformers import Gemma2Config, Gemma2ForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "gemma2"
TINY_TOKENIZER = ROOT / "tests" / "golden" / "text" / "tiny_tokenizer.model"
DEMO = ROOT / "data" / "demo" / "model"

COMMON = dict(rms_norm_eps=1e-6, hidden_activation="gelu_pytorch_tanh", attention_bias=False, tie_word_embeddings=True,
              pad_token_id=0, eos_token_id=1, bos_token_id=2)


def randomise(model: Gemma2ForCausalLM, seed: int) -> None:
    """Weights large enough that attention is peaked, the caps bend and the norm weights matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "post_" in name:
                parameter.copy_(1.0 + 0.3 * noise)  # blocks outweigh the embedding: tied, it would repeat the last token
            elif name.endswith("norm.weight"):
                parameter.copy_(0.3 * noise)
            elif "embed_tokens" in name:
                parameter.copy_(0.15 * noise)
            else:
                scale = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
                parameter.copy_(scale * noise / parameter.shape[1] ** 0.5)


def write_odd_heads(folder: pathlib.Path) -> None:
    config = Gemma2Config(vocab_size=384, hidden_size=48, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1,
                          head_dim=20, intermediate_size=100, max_position_embeddings=128, sliding_window=8,
                          query_pre_attn_scalar=20, attn_logit_softcapping=7.0, final_logit_softcapping=11.0, **COMMON)
    model = Gemma2ForCausalLM(config).float()
    randomise(model, 1)
    model.save_pretrained(folder)
    shutil.copyfile(TINY_TOKENIZER, folder / "tokenizer.model")


def write_bf16_uncapped(folder: pathlib.Path) -> None:
    shape = dict(vocab_size=131, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 head_dim=12, intermediate_size=72, max_position_embeddings=96, sliding_window=5, query_pre_attn_scalar=30,
                 attn_logit_softcapping=None, final_logit_softcapping=None, layer_types=["full_attention", "sliding_attention"])
    model = Gemma2ForCausalLM(Gemma2Config(**shape, **COMMON)).float()
    randomise(model, 2)
    model.to(torch.bfloat16).save_pretrained(folder)
    old_spelling = {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", **shape, **COMMON, "rope_theta": 500.0,
                    "hidden_act": "gelu_pytorch_tanh", "torch_dtype": "bfloat16", "use_cache": True,
                    "cache_implementation": "hybrid", "eos_token_id": [1, 7]}
    (folder / "config.json").write_text(json.dumps(old_spelling, indent=2) + "\n")


def run(model: Gemma2ForCausalLM, tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [T, vocab] and the outputs of all blocks [layers, T, d_model] of one sequence."""
    outputs = []

    def keep(_module, _inputs, output):
        outputs.append((output[0] if isinstance(output, tuple) else output)[0].clone())

    hooks = [block.register_forward_hook(keep) for block in model.model.layers]
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return logits, torch.stack(outputs)


def greedy(model: Gemma2ForCausalLM, tokens: list[int], count: int, eos: list[int]) -> list[int]:
    written: list[int] = []
    while len(written) < count:
        best = int(run(model, tokens + written)[0][-1].argmax())
        written.append(best)
        if best in eos:
            break
    return written


def write_golden(folder: pathlib.Path, path: pathlib.Path, sequences: list[list[int]], positions, greedy_tokens: int) -> None:
    model = Gemma2ForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    model.eval()
    assert model.config._attn_implementation == "eager"
    eos = model.config.eos_token_id
    eos = eos if isinstance(eos, list) else [eos]
    tensors = {}
    for s, tokens in enumerate(sequences):
        logits, resid_post = run(model, tokens)
        kept = positions(len(tokens))
        tensors[f"tokens.{s}"] = numpy.array(tokens, dtype=numpy.int32)
        tensors[f"positions.{s}"] = numpy.array(kept, dtype=numpy.int32)
        tensors[f"logits.{s}"] = logits[kept].numpy().copy()
        tensors[f"resid_post.{s}"] = resid_post[:, kept].numpy().copy()
        if greedy_tokens:
            tensors[f"greedy.{s}"] = numpy.array(greedy(model, tokens, greedy_tokens, eos), dtype=numpy.int32)
        print(f"  {s}: {len(tokens)} tokens, largest logit {logits.abs().max():.2f}, largest residual {resid_post.abs().max():.1f}")
    metadata = {
        "made_by": "tests/reference/model/make_golden.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }
    safetensors.numpy.save_file(tensors, path, metadata=metadata)
    print(f"  {path.relative_to(ROOT)}: {path.stat().st_size} bytes")


def random_sequences(vocab: int, lengths: list[int], seed: int) -> list[list[int]]:
    generator = numpy.random.Generator(numpy.random.Philox(seed))
    return [[2] + generator.integers(4, vocab, n - 1).tolist() for n in lengths]


def demo_sequences() -> list[list[int]]:
    """Prompts as phase 1 writes them, of the first problems and one from the middle and the end of the file."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(DEMO / "tokenizer.model"))
    problems = [json.loads(line) for line in (DEMO.parent / "problems.jsonl").read_text().splitlines()]
    chosen = [problems[0], problems[1], problems[len(problems) // 2], problems[-1]]
    texts = [p["text"] + "\n\n" + "\n".join(p["test_list"]) + "\n\n# Solution:" for p in chosen]
    return [[processor.bos_id()] + processor.encode(text) for text in texts]


def main() -> None:
    wanted = sys.argv[1:] or ["odd_heads", "bf16_uncapped", "demo"]
    torch.set_num_threads(2)
    for name in wanted:
        print(name)
        if name == "demo":
            if not (DEMO / "model.safetensors").exists():
                print("  data/demo/model is not there, left out")
                continue
            write_golden(DEMO, GOLDEN / "demo.safetensors", demo_sequences(), lambda n: [0, 1, n // 2, n - 3, n - 2, n - 1], 40)
            continue
        folder = GOLDEN / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "odd_heads":
            write_odd_heads(folder)
            sequences = random_sequences(384, [1, 2, 7, 8, 9, 30], 11)
        elif name == "bf16_uncapped":
            write_bf16_uncapped(folder)
            sequences = random_sequences(131, [13, 1, 5, 6, 24], 12)
        else:
            raise SystemExit(f"unknown model {name}")
        (folder / "generation_config.json").unlink(missing_ok=True)
        write_golden(folder, folder / "golden.safetensors", sequences, lambda n: list(range(n)), 12)


if __name__ == "__main__":
    main()
