"""Makes the odd-shaped random models of tests/golden/models and their golden values, by Hugging Face transformers.

    python tests/reference/model/make_models.py [--into FOLDER] [NAME ...]      # all, from the root of the checkout

One folder a model: config.json, model.safetensors (or shards with model.safetensors.index.json), golden.safetensors. config.json is
written first, in the spelling it is to show, and the model is then loaded from the folder, so that the golden values are what
transformers makes of that very file. Eager attention, float32, no cache; every sequence S = 0, 1, ... alone, without padding:
    tokens.S      I32 [T]                token ids
    positions.S   I32 [P]                the positions kept in the arrays below
    logits.S      F32 [P, vocab]
    embedding.S, final_norm.S            F32 [P, d]
    resid_pre.S, resid_mid.S (not gpt_neox), resid_post.S, attn_out.S, mlp_out.S   F32 [layers, P, d]
    z.S           F32 [layers, P, heads * head_dim]
    greedy.S      I32 [12], greedy_gap.S F32 [12]   greedy continuation, not stopped at EOS; best minus second best logit of each step
    bf16_logits.S F32 [P, vocab], bf16_resid_post.S F32 [layers, P, d]   the model loaded as bfloat16 (sequences 0 and last)
The sites are those of hugging_face.py. Metadata: versions, family, `shows` (the traps of this model), SHA-256 of the weight files.

The weights are drawn so that attention is peaked, caps bend, norm weights and all biases matter. That a trap is really there is
checked: each model is loaded again with one value of its config changed, and the logits must move by more than 2e-4, four times the
bound that pva is held to. The script prints those differences, and those of transformers' own float32 from its float64 (norms,
softmax and rotary angles in float64 too): the floor that rounding sets.

Floor seen (torch 2.11.0, CPU, sequences of at most 50 tokens; pva's bounds are 5e-5 for logits, 2e-5 for sites): logits 2.7e-6
(neox_tied_sharded) to 1.4e-5 (gemma2_defaults), sites 5.9e-7 (neox_truncated_v5) to 3.8e-6 (gemma2_real_window). transformers'
bfloat16 differs from its float32 by 0.07 to 0.31 in logits and 0.008 to 0.044 at resid_post (norm over norm), and by 2.0 and 0.43 in
gemma2_real_window's sequence of 4200 tokens.
The bytes of the golden files depend on the CPU (the order of sums in its matrix products); a second run on one machine gives the same.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import platform

import numpy
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

import hugging_face as hf

ROOT = pathlib.Path(__file__).resolve().parents[3]
GREEDY_TOKENS = 12
DETECTABLE = 2e-4
FLOOR_LOGITS, FLOOR_SITES = 1.5e-5, 5e-6


@dataclasses.dataclass
class Model:
    name: str
    shows: str
    config: dict
    dtype: torch.dtype = torch.float32
    shards: int = 1
    stored_lm_head: bool = False        # lm_head.weight in the file though it is tied
    buffers: torch.dtype | None = None  # old GPT-NeoX files: the causal mask (of this dtype) and other buffers
    transformers5: bool = False         # config.json as transformers 5 saves it, not `config` itself
    query_key: float = 1.3              # spread of the query and key weights, times 1/sqrt(fan in)
    lengths: tuple[int, ...] = ()       # of the sequences; default: around the window
    draw: int = 0                       # another draw of the weights
    changes: dict = dataclasses.field(default_factory=dict)  # changes to the config that must be seen in the logits


def gemma2(**fields) -> dict:
    return {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "attention_bias": False, "bos_token_id": 2,
            "eos_token_id": 1, "pad_token_id": 0, "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 128,
            "rms_norm_eps": 1e-6, **fields}


def gpt_neox(**fields) -> dict:
    return {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "bos_token_id": 0, "eos_token_id": 0,
            "max_position_embeddings": 64, **fields}


def llama(**fields) -> dict:
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "silu", "max_position_embeddings": 256, **fields}


def mistral(**fields) -> dict:
    return {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "silu", "max_position_embeddings": 256, **fields}


def qwen2(**fields) -> dict:
    return {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "bos_token_id": 3, "eos_token_id": 3,
            "hidden_act": "silu", "max_position_embeddings": 256, **fields}


def shape(vocab: int, d: int, layers: int, heads: int, ff: int, **more) -> dict:
    return {"vocab_size": vocab, "hidden_size": d, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": ff, **more}


OLD_GEMMA = {"attention_dropout": 0.0, "cache_implementation": "hybrid", "initializer_range": 0.02, "use_cache": True,
             "transformers_version": "4.42.0.dev0"}
LLAMA3 = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64}
NO_SCALING = {"rope_type": "default", "rope_theta": 10000.0}

MODELS = [
    # --- Gemma-2 -----------------------------------------------------------------------------------------------------------------
    Model("gemma2_gqa_v5",
          "GQA 4/2, head_dim 14 (d/heads 8), transformers 5 spelling with rope_parameters of theta 2000, caps 7 and 11, window 6",
          gemma2(**shape(101, 32, 3, 4, 44, num_key_value_heads=2, head_dim=14), query_pre_attn_scalar=14, sliding_window=6,
                 attn_logit_softcapping=7.0, final_logit_softcapping=11.0, tie_word_embeddings=True,
                 rope_parameters={"rope_type": "default", "rope_theta": 2000.0}),
          transformers5=True,
          changes={"window": {"sliding_window": 100}, "attention cap": {"attn_logit_softcapping": None},
                   "final cap": {"final_logit_softcapping": None}, "theta": {"rope_parameters": NO_SCALING},
                   "window on odd layers": {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}}),
    Model("gemma2_mqa_v4",
          "MQA 3/1, head_dim 20 (d/heads 10), transformers 4 spelling: rope_theta, torch_dtype, hidden_act that hidden_activation"
          " overrules, stray keys, eos list, no layer_types; caps 50 and 30, window 8 on even layers",
          gemma2(**shape(83, 30, 3, 3, 40, num_key_value_heads=1, head_dim=20), **OLD_GEMMA, query_pre_attn_scalar=20,
                 sliding_window=8, sliding_window_size=8, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
                 rope_theta=10000.0, hidden_act="gelu", torch_dtype="float32") | {"eos_token_id": [1, 70]},
          query_key=1.5,
          changes={"window": {"sliding_window": 100}, "attention cap": {"attn_logit_softcapping": None},
                   "final cap": {"final_logit_softcapping": None}, "exact gelu": {"hidden_activation": "gelu"},
                   "full on even layers": {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}}),
    Model("gemma2_mha_uncapped",
          "MHA 2/2, head_dim 24 (d/heads 16), caps null, bfloat16 weights, lm_head.weight stored though tied, sqrt(d) inexact,"
          " rope_theta 500, query_pre_attn_scalar 30, window 5",
          gemma2(**shape(97, 32, 3, 2, 80, num_key_value_heads=2, head_dim=24), **OLD_GEMMA, query_pre_attn_scalar=30,
                 sliding_window=5, attn_logit_softcapping=None, final_logit_softcapping=None, rope_theta=500.0,
                 torch_dtype="bfloat16", tie_word_embeddings=True),
          dtype=torch.bfloat16, stored_lm_head=True,
          changes={"window": {"sliding_window": 6}, "attention cap": {"attn_logit_softcapping": 50.0},
                   "final cap": {"final_logit_softcapping": 30.0}, "scale": {"query_pre_attn_scalar": 24},
                   "theta": {"rope_parameters": NO_SCALING}}),
    Model("gemma2_attention_cap_sharded",
          "only the attention cap (2.5), float16 in three shards, four layers with layer_types full, sliding, sliding, full,"
          " window 5, head_dim 6 (d/heads 10)",
          gemma2(**shape(89, 40, 4, 4, 48, num_key_value_heads=2, head_dim=6), query_pre_attn_scalar=6, sliding_window=5,
                 attn_logit_softcapping=2.5, final_logit_softcapping=None, rope_theta=10000.0, torch_dtype="float16",
                 layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"]),
          dtype=torch.float16, shards=3,
          changes={"attention cap": {"attn_logit_softcapping": None}, "window": {"sliding_window": 4},
                   "window on even layers": {"layer_types": ["sliding_attention", "full_attention"] * 2}}),
    Model("gemma2_final_cap",
          "only the final cap (4.0), head_dim 10 (d/heads 14), query_pre_attn_scalar 33, rope_theta 1e6, rms_norm_eps 0.05,"
          " one full layer before two sliding ones, window 7, vocabulary 151",
          gemma2(**shape(151, 28, 3, 2, 56, num_key_value_heads=1, head_dim=10), query_pre_attn_scalar=33, sliding_window=7,
                 attn_logit_softcapping=None, final_logit_softcapping=4.0, dtype="float32", tie_word_embeddings=True,
                 rope_parameters={"rope_type": "default", "rope_theta": 1e6},
                 layer_types=["full_attention", "sliding_attention", "sliding_attention"]) | {"rms_norm_eps": 0.05},
          changes={"final cap": {"final_logit_softcapping": None}, "scale": {"query_pre_attn_scalar": 10},
                   "eps": {"rms_norm_eps": 1e-6}, "window": {"sliding_window": 8}, "theta": {"rope_parameters": NO_SCALING}}),
    Model("gemma2_defaults",
          "fields left out: caps (50, 30), query_pre_attn_scalar (256), window (4096), rope_theta (10000), eps, tying,"
          " hidden_activation, token ids",
          {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2",
           **shape(71, 24, 2, 4, 100, num_key_value_heads=2, head_dim=16)},
          dtype=torch.bfloat16, query_key=4.0,
          changes={"attention cap": {"attn_logit_softcapping": None}, "final cap": {"final_logit_softcapping": None},
                   "scale": {"query_pre_attn_scalar": 16}, "exact gelu": {"hidden_activation": "gelu"},
                   "theta": {"rope_parameters": NO_SCALING | {"rope_theta": 20000.0}}}),
    Model("gemma2_real_window",
          "the real window of 4096, a sequence of 4200 tokens; float32 angles of far positions",
          gemma2(**shape(61, 24, 2, 2, 40, num_key_value_heads=1, head_dim=8), query_pre_attn_scalar=8, sliding_window=4096,
                 attn_logit_softcapping=50.0, final_logit_softcapping=30.0, rope_theta=10000.0, torch_dtype="float32",
                 layer_types=["sliding_attention", "full_attention"]) | {"max_position_embeddings": 8192},
          query_key=1.7, lengths=(4200, 1, 40),
          changes={"window": {"sliding_window": 8192}, "window 4095": {"sliding_window": 4095}}),
    # --- GPT-NeoX ----------------------------------------------------------------------------------------------------------------
    Model("neox_pythia",
          "parallel residual, attention_bias absent, rotary_pct 0.25 of head_dim 16, config as Pythia's (transformers 4), float16,"
          " buffers of old files (mask as BOOL, masked_bias, inv_freq in float16)",
          gpt_neox(**shape(103, 32, 3, 2, 64), hidden_act="gelu", layer_norm_eps=1e-5, rotary_pct=0.25, rotary_emb_base=10000,
                   use_parallel_residual=True, tie_word_embeddings=False, torch_dtype="float16", initializer_range=0.02,
                   transformers_version="4.24.0", use_cache=True, classifier_dropout=0.1, hidden_dropout=0.0,
                   attention_dropout=0.0, rope_scaling=None),
          dtype=torch.float16, buffers=torch.bool,
          changes={"serial": {"use_parallel_residual": False}, "tanh gelu": {"hidden_act": "gelu_new"}}),
    Model("neox_serial",
          "serial residual, attention_bias true, gelu_fast, rotary_pct 1.0, rotary_emb_base 500, layer_norm_eps 0.02, MHA of 3",
          gpt_neox(**shape(79, 36, 3, 3, 40), hidden_act="gelu_fast", layer_norm_eps=0.02, rotary_pct=1.0, rotary_emb_base=500,
                   use_parallel_residual=False, attention_bias=True, tie_word_embeddings=False, torch_dtype="float32"),
          changes={"parallel": {"use_parallel_residual": True}, "exact gelu": {"hidden_act": "gelu"},
                   "eps": {"layer_norm_eps": 1e-5},
                   "theta": {"rope_parameters": NO_SCALING | {"partial_rotary_factor": 1.0}},
                   "share": {"rope_parameters": {"rope_type": "default", "rope_theta": 500, "partial_rotary_factor": 0.5}}}),
    Model("neox_no_attention_bias",
          "attention_bias false, parallel residual, rotary share 0.5 and theta 5000 in all four names transformers 4.46 writes"
          " (rotary_pct, rotary_emb_base, partial_rotary_factor, rope_theta), bfloat16",
          gpt_neox(**shape(67, 40, 2, 4, 90), hidden_act="gelu", layer_norm_eps=1e-5, rotary_pct=0.5, rotary_emb_base=5000,
                   partial_rotary_factor=0.5, rope_theta=5000, use_parallel_residual=True, attention_bias=False,
                   tie_word_embeddings=False, torch_dtype="bfloat16"),
          dtype=torch.bfloat16, query_key=2.0,
          changes={"share": {"rope_parameters": {"rope_type": "default", "rope_theta": 5000, "partial_rotary_factor": 0.25}},
                   "theta": {"rope_parameters": NO_SCALING | {"partial_rotary_factor": 0.5}}}),
    Model("neox_truncated_v5",
          "rotary dims truncated: int(20 * 0.33) = 6; transformers 5 spelling with rope_parameters, relu",
          gpt_neox(**shape(73, 40, 3, 2, 30), hidden_act="relu", layer_norm_eps=1e-5, use_parallel_residual=True,
                   tie_word_embeddings=False,
                   rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.33}),
          transformers5=True,
          changes={"share": {"rope_parameters": NO_SCALING | {"partial_rotary_factor": 0.4}}, "gelu": {"hidden_act": "gelu"}}),
    Model("neox_tied_sharded",
          "tied embeddings, float16 in three shards, serial residual without attention bias, gelu_new, one head, buffers of old"
          " files (mask as U8)",
          gpt_neox(**shape(109, 24, 3, 1, 100), hidden_act="gelu_new", layer_norm_eps=1e-5, rotary_pct=0.5, rotary_emb_base=10000,
                   use_parallel_residual=False, attention_bias=False, tie_word_embeddings=True, torch_dtype="float16"),
          dtype=torch.float16, shards=3, buffers=torch.uint8,
          changes={"parallel": {"use_parallel_residual": True}, "exact gelu": {"hidden_act": "gelu"}}),
    Model("neox_inexact_share",
          "rotary dims by float64 truncation: 50 * 0.58 is 28.999999999999996, so 28 dims (29 in float32); float16",
          gpt_neox(**shape(61, 50, 2, 1, 44), hidden_act="gelu", layer_norm_eps=1e-5, rotary_pct=0.58, rotary_emb_base=10000,
                   use_parallel_residual=True, attention_bias=True, tie_word_embeddings=False, torch_dtype="float16"),
          dtype=torch.float16,
          changes={"share": {"rope_parameters": NO_SCALING | {"partial_rotary_factor": 0.6}}}),
    Model("neox_defaults",
          "fields left out: hidden_act (gelu), rotary share (0.25) and base (10000), eps, residual form (parallel), tying (untied)",
          {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", **shape(127, 32, 2, 4, 56)},
          changes={"serial": {"use_parallel_residual": False}, "tanh gelu": {"hidden_act": "gelu_new"},
                   "share": {"rope_parameters": NO_SCALING | {"partial_rotary_factor": 0.5}}}),
    # --- Llama family ------------------------------------------------------------------------------------------------------------
    Model("llama2_mha",
          "MHA 3, head_dim and num_key_value_heads absent, untied, rope_scaling null, pretraining_tp, rms_norm_eps 1e-5",
          llama(**shape(107, 30, 3, 3, 40), rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=None, pretraining_tp=1,
                tie_word_embeddings=False, torch_dtype="float32", initializer_range=0.02, use_cache=True,
                transformers_version="4.31.0"),
          changes={"theta": {"rope_parameters": NO_SCALING | {"rope_theta": 500000.0}}}),
    Model("llama3_gqa_v4",
          "Llama 3 rope scaling in transformers 4 spelling (rope_scaling, rope_type), theta 50000, GQA 4/2, bfloat16 in three"
          " shards, eos list, untied",
          llama(**shape(113, 48, 2, 4, 72, num_key_value_heads=2), rms_norm_eps=1e-5, rope_theta=50000.0, attention_bias=False,
                mlp_bias=False, rope_scaling={**LLAMA3, "rope_type": "llama3"}, pretraining_tp=1, tie_word_embeddings=False,
                torch_dtype="bfloat16") | {"eos_token_id": [2, 50, 51]},
          dtype=torch.bfloat16, shards=3, query_key=1.0, lengths=(50, 1, 2, 9),
          changes={"no scaling": {"rope_parameters": {"rope_type": "default", "rope_theta": 50000.0}},
                   "theta": {"rope_parameters": {**LLAMA3, "rope_type": "llama3", "rope_theta": 10000.0}},
                   "factor": {"rope_parameters": {**LLAMA3, "factor": 4.0, "rope_type": "llama3", "rope_theta": 50000.0}},
                   "high": {"rope_parameters": {**LLAMA3, "high_freq_factor": 3.0, "rope_type": "llama3", "rope_theta": 50000.0}},
                   "low": {"rope_parameters": {**LLAMA3, "low_freq_factor": 2.0, "rope_type": "llama3", "rope_theta": 50000.0}}}),
    Model("llama3_tied_v5",
          "Llama 3 rope scaling in transformers 5 spelling (rope_parameters), tied, head_dim 18 (d/heads 9), MQA 4/1, eos list",
          llama(**shape(91, 36, 3, 4, 44, num_key_value_heads=1, head_dim=18), rms_norm_eps=1e-5, tie_word_embeddings=True,
                rope_parameters={**LLAMA3, "factor": 32.0, "rope_type": "llama3", "rope_theta": 10000.0})
          | {"eos_token_id": [2, 7]},
          transformers5=True, lengths=(50, 1, 2, 7),
          changes={"no scaling": {"rope_parameters": NO_SCALING},
                   "high": {"rope_parameters": {**LLAMA3, "factor": 32.0, "high_freq_factor": 3.0, "rope_type": "llama3",
                                                "rope_theta": 10000.0}}}),
    Model("llama_biases",
          "attention_bias and mlp_bias true, rope scaling with the oldest key (`type`), head_dim 10 (d/heads 16), GQA 3/1,"
          " lm_head.weight of its own, rms_norm_eps 0.01",
          llama(**shape(77, 48, 2, 3, 50, num_key_value_heads=1, head_dim=10), rms_norm_eps=0.01, rope_theta=10000.0,
                attention_bias=True, mlp_bias=True, rope_scaling={**LLAMA3, "type": "llama3"}, tie_word_embeddings=False,
                torch_dtype="float32"),
          lengths=(50, 1, 2, 8),
          changes={"no scaling": {"rope_parameters": NO_SCALING}, "eps": {"rms_norm_eps": 1e-6}}),
    Model("llama_smollm2",
          "config as SmolLM2's (stray keys, rope_interleaved false, theta 100000), 9/3 heads of 4, tied, bfloat16, lm_head absent",
          llama(**shape(131, 36, 4, 9, 48, num_key_value_heads=3), rms_norm_eps=1e-5, rope_theta=100000, rope_scaling=None,
                attention_bias=False, attention_dropout=0.0, mlp_bias=False, pretraining_tp=1, is_llama_config=True,
                rope_interleaved=False, pad_token_id=2, tie_word_embeddings=True, torch_dtype="bfloat16",
                transformers_version="4.42.3", **{"transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}}),
          dtype=torch.bfloat16,
          changes={"theta": {"rope_parameters": NO_SCALING}}),
    Model("llama_defaults",
          "fields left out: rope_theta (10000), eps (1e-6), tying (untied), biases (none), key/value heads, hidden_act (silu)",
          {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **shape(63, 32, 2, 2, 88)},
          dtype=torch.float16,
          changes={"theta": {"rope_parameters": NO_SCALING | {"rope_theta": 20000.0}}, "eps": {"rms_norm_eps": 1e-3},
                   "gelu": {"hidden_act": "gelu"}}),
    Model("mistral_window",
          "Mistral, window 6 on all layers, GQA 4/2, head_dim 6 (d/heads 8), transformers 4 spelling, untied, rope_theta 1e6",
          mistral(**shape(87, 32, 3, 4, 56, num_key_value_heads=2, head_dim=6), sliding_window=6, rms_norm_eps=1e-5,
                  rope_theta=1000000.0, tie_word_embeddings=False, torch_dtype="float32", attention_dropout=0.0),
          changes={"window": {"sliding_window": 7}, "no window": {"sliding_window": None},
                   "theta": {"rope_parameters": NO_SCALING}}),
    Model("mistral_no_window_v5",
          "Mistral with sliding_window null and head_dim null, rope_parameters, float16, tied, MQA 2/1",
          mistral(**shape(99, 28, 2, 2, 64, num_key_value_heads=1, head_dim=None), sliding_window=None, rms_norm_eps=1e-5,
                  tie_word_embeddings=True, dtype="float16", rope_parameters={"rope_type": "default", "rope_theta": 30000.0}),
          dtype=torch.float16,
          changes={"window": {"sliding_window": 6}, "theta": {"rope_parameters": NO_SCALING}}),
    Model("qwen2_unused_window",
          "Qwen2, bias on q, k, v, GQA 4/2, use_sliding_window false though sliding_window is 4 and max_window_layers 1, tied,"
          " bfloat16, rope_theta 1e6",
          qwen2(**shape(117, 32, 3, 4, 68, num_key_value_heads=2), use_sliding_window=False, sliding_window=4, max_window_layers=1,
                rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True, torch_dtype="bfloat16", attention_dropout=0.0,
                use_mrope=False),
          dtype=torch.bfloat16,
          changes={"window": {"use_sliding_window": True}, "theta": {"rope_parameters": NO_SCALING}}),
    Model("qwen2_windowed",
          "Qwen2, use_sliding_window true, window 5 from layer max_window_layers = 2 on, four layers, untied, MHA 2, transformers 4",
          qwen2(**shape(81, 32, 4, 2, 32, num_key_value_heads=2), use_sliding_window=True, sliding_window=5, max_window_layers=2,
                rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False, torch_dtype="float32"),
          changes={"no window": {"use_sliding_window": False}, "one layer more": {"max_window_layers": 1},
                   "first layers": {"layer_types": ["sliding_attention"] * 2 + ["full_attention"] * 2},
                   "window": {"sliding_window": 6}}),
    Model("qwen2_layer_types_v5",
          "Qwen2 as transformers 5 saves it, layer_types sliding, full, sliding against max_window_layers, window 7,"
          " head_dim 10 (d/heads 12), MQA 3/1",
          qwen2(**shape(95, 36, 3, 3, 52, num_key_value_heads=1), head_dim=10, use_sliding_window=True, sliding_window=7,
                max_window_layers=3, layer_types=["sliding_attention", "full_attention", "sliding_attention"], rms_norm_eps=1e-4,
                tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 20000.0}),
          transformers5=True,
          changes={"by max_window_layers": {"layer_types": ["full_attention"] * 3}, "window": {"sliding_window": 6},
                   "eps": {"rms_norm_eps": 1e-6}, "theta": {"rope_parameters": NO_SCALING}}),
]


def randomise(model: transformers.PreTrainedModel, seed: int, query_key: float) -> None:
    """Weights large enough that attention is peaked, the caps bend, and norm weights and biases matter."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    gemma, tied = config.model_type == "gemma2", config.tie_word_embeddings
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif "norm" in name:
                # Gemma multiplies by 1 + weight; its blocks must outweigh the tied embedding, or the last token is repeated.
                final = tied and name in ("model.norm.weight", "gpt_neox.final_layer_norm.weight")
                mean = 3.0 if final else 2.0 if gemma and "post_" in name else 1.0
                parameter.copy_(0.3 * noise + (0.0 if name.endswith("bias") else mean - 1.0 if gemma else mean))
            elif "embed" in name:
                parameter.copy_((0.15 if tied else 1.0) * noise)
            elif "lm_head" in name:
                parameter.copy_(3.0 * noise / parameter.shape[1] ** 0.5)
            elif "query_key_value" in name:
                parts = noise.view(config.num_attention_heads, 3, -1, parameter.shape[1])
                parts[:, :2] *= query_key
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                scale = query_key if "q_proj" in name or "k_proj" in name else 1.0
                parameter.copy_(scale * noise / parameter.shape[1] ** 0.5)


def write_weights(model: transformers.PreTrainedModel, what: Model, folder: pathlib.Path) -> None:
    """The tensors under the names that real checkpoints use, in one file or in shards with an index."""
    config = model.config
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings and not what.stored_lm_head:
            continue
        if config.model_type == "gpt_neox":
            name = name.replace("lm_head.", "embed_out.")
        tensors[name] = tensor.detach().to(what.dtype).clone().contiguous()
    if what.buffers is not None:
        length = config.max_position_embeddings
        inv_freq = model.gpt_neox.rotary_emb.inv_freq.to(what.dtype)
        for i in range(config.num_hidden_layers):
            prefix = f"gpt_neox.layers.{i}.attention."
            tensors[prefix + "bias"] = torch.ones(length, length).tril().to(what.buffers).view(1, 1, length, length).contiguous()
            tensors[prefix + "masked_bias"] = torch.tensor(-1e9).to(what.dtype)
            tensors[prefix + "rotary_emb.inv_freq"] = inv_freq.clone()
    tensors = dict(sorted(tensors.items()))
    if what.shards == 1:
        safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    # Dealt out in turn, so that a layer's tensors lie in different files.
    weight_map = {name: f"model-{i % what.shards + 1:05}-of-{what.shards:05}.safetensors" for i, name in enumerate(tensors)}
    for file in sorted(set(weight_map.values())):
        safetensors.torch.save_file({n: t for n, t in tensors.items() if weight_map[n] == file}, folder / file, metadata={"format": "pt"})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_model(what: Model, folder: pathlib.Path, seed: int) -> None:
    if what.transformers5:
        fields = {key: value for key, value in what.config.items() if key != "model_type"}
        AutoConfig.for_model(what.config["model_type"], dtype=torch.float32, **fields).save_pretrained(folder)
    else:
        (folder / "config.json").write_text(json.dumps(what.config, indent=2) + "\n")
    config = AutoConfig.from_pretrained(folder)
    config.dtype = torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, seed, what.query_key)
    write_weights(model, what, folder)


def window_of(config: transformers.PreTrainedConfig) -> int | None:
    return getattr(config, "sliding_window", None)


def sequences_of(what: Model, config: transformers.PreTrainedConfig, seed: int) -> list[tuple[list[int], list[int]]]:
    """Token ids and the positions kept. The family's BOS first where it has one; never one elsewhere."""
    window = window_of(config)
    edge = window if window and window < 100 else 8
    lengths = what.lengths or (30, 1, 2, edge - 1, edge, edge + 1)
    bos = {"gemma2": 2, "llama": 1, "mistral": 1}.get(config.model_type)
    generator = numpy.random.Generator(numpy.random.Philox(seed))
    made = []
    for n in lengths:
        tokens = generator.integers(4, config.vocab_size, n).tolist()
        if bos is not None:
            tokens[0] = bos
        elif n == 2:
            tokens[0] = 0  # GPT-NeoX: <|endoftext|> given by hand
        if n > 4096:
            kept = [0, 1, 4094, 4095, 4096, 4097, n - 2, n - 1]
        elif n > 12:
            kept = sorted({0, 1, 2, edge - 2, edge - 1, edge, edge + 1, n // 2, n - 2, n - 1})
        elif n in (edge - 1, edge):
            kept = [n - 2, n - 1]
        else:
            kept = list(range(n))
        made.append((tokens, kept))
    return made


def effective(config: transformers.PreTrainedConfig) -> dict:
    names = ["rope_parameters", "layer_types", "sliding_window", "head_dim", "num_key_value_heads", "query_pre_attn_scalar",
             "attn_logit_softcapping", "final_logit_softcapping", "hidden_act", "hidden_activation", "rms_norm_eps", "layer_norm_eps",
             "use_parallel_residual", "attention_bias", "mlp_bias", "tie_word_embeddings", "eos_token_id"]
    return {name: getattr(config, name) for name in names if hasattr(config, name)}


def check_changes(what: Model, folder: pathlib.Path, sequences, logits: list[torch.Tensor]) -> None:
    """Each trap is one that the golden values would show: without it the kept logits move."""
    moves = []
    for label, change in what.changes.items():
        fields = json.loads((folder / "config.json").read_text()) | change
        if "rope_parameters" in change:
            fields.pop("rope_scaling", None)
        config = AutoConfig.for_model(**fields)
        other = hf.load(folder, torch.float32, config=config)
        moved = max(float((hf.run(other, tokens, sites=False)[0][kept] - theirs).abs().max())
                    for (tokens, kept), theirs in zip(sequences, logits))
        moves.append(f"{label} {moved:.2g}")
        assert moved > DETECTABLE, (what.name, label, moved)
    print(f"  logits move by, when changed: {'; '.join(moves)}")


def save_golden(tensors: dict[str, numpy.ndarray], path: pathlib.Path, metadata: dict[str, str]) -> None:
    """The same bytes each time: the safetensors package writes metadata in an order that changes from run to run."""
    data = safetensors.numpy.save(dict(sorted(tensors.items())), metadata=metadata)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items()))} | header
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    assert len(text) == length
    path.write_bytes(data[:8] + text + data[8 + length:])


def write_golden(what: Model, folder: pathlib.Path, seed: int) -> None:
    model = hf.load(folder, torch.float32)
    print("  transformers reads:", json.dumps(effective(model.config)))
    sequences = sequences_of(what, model.config, seed)
    tensors: dict[str, numpy.ndarray] = {}
    all_logits, different = [], []
    floor_logits, floor_sites, spread, smallest_gap = 0.0, 0.0, 0.0, 1e9
    for s, (tokens, kept) in enumerate(sequences):
        logits, sites = hf.run(model, tokens)
        assert torch.isfinite(logits).all()
        all_logits.append(logits[kept])
        written, gaps = hf.greedy(model, tokens, GREEDY_TOKENS)
        different.append(len(set(written)))
        smallest_gap = min(smallest_gap, *gaps)
        tensors[f"tokens.{s}"] = numpy.array(tokens, dtype=numpy.int32)
        tensors[f"positions.{s}"] = numpy.array(kept, dtype=numpy.int32)
        tensors[f"logits.{s}"] = logits[kept].numpy().copy()
        for name, values in sites.items():
            values = values[:, kept]
            tensors[f"{name}.{s}"] = (values[0] if name in ("embedding", "final_norm") else values).numpy().copy()
        tensors[f"greedy.{s}"] = numpy.array(written, dtype=numpy.int32)
        tensors[f"greedy_gap.{s}"] = numpy.array(gaps, dtype=numpy.float32)
        if len(tokens) <= 100:
            true_logits, true_sites = hf.run_double(model, tokens)
            floor_logits = max(floor_logits, hf.logit_difference(logits, true_logits))
            floor_sites = max([floor_sites] + [hf.row_difference(sites[name], true_sites[name]) for name in sites])
        spread = max(spread, float(logits.abs().max()))
    assert max(different) >= 4, f"the continuations are dull: {different} different tokens; change `draw`"
    assert floor_logits < FLOOR_LOGITS and floor_sites < FLOOR_SITES, f"too touchy: {floor_logits:.1e} {floor_sites:.1e}"
    check_changes(what, folder, sequences, all_logits)
    half = hf.load(folder, torch.bfloat16)
    bf16_logits = bf16_sites = 0.0
    for s in (0, len(sequences) - 1):
        tokens, kept = sequences[s]
        logits, sites = hf.run(half, tokens)
        tensors[f"bf16_logits.{s}"] = logits[kept].numpy().copy()
        tensors[f"bf16_resid_post.{s}"] = sites["resid_post"][:, kept].numpy().copy()
        bf16_logits = max(bf16_logits, float((logits[kept] - all_logits[s]).abs().max()))
        bf16_sites = max(bf16_sites, hf.row_difference(sites["resid_post"][:, kept], torch.from_numpy(tensors[f"resid_post.{s}"])))
    weights = sorted(folder.glob("model*.safetensors"))
    metadata = {
        "made_by": "tests/reference/model/make_models.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "family": model.config.model_type,
        "shows": what.shows,
        "weights_sha256": " ".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in weights),
    }
    save_golden(tensors, folder / "golden.safetensors", metadata)
    golden = (folder / "golden.safetensors").stat().st_size
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"  {size} bytes, golden {golden}; largest logit {spread:.1f}, smallest gap {smallest_gap:.1e};"
          f" float32 from float64: logits {floor_logits:.1e}, sites {floor_sites:.1e};"
          f" bfloat16 from float32: logits {bf16_logits:.2f}, resid_post {bf16_sites:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=pathlib.Path, default=ROOT / "tests" / "golden" / "models")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {what.name for what in MODELS}
    if unknown:
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for number, what in enumerate(MODELS):
        if arguments.names and what.name not in arguments.names:
            continue
        print(f"{what.name}: {what.shows}", flush=True)
        folder = arguments.into / what.name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("model*"):
            old.unlink()
        write_model(what, folder, seed=100 + number + 1000 * what.draw)
        write_golden(what, folder, seed=200 + number)


if __name__ == "__main__":
    main()
