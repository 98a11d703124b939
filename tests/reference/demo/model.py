"""Gemma-2 forward pass for training the demo model: the parameter names of Hugging Face's Gemma2ForCausalLM, float32.

The order of operations follows transformers' eager Gemma-2 (models/gemma2/modeling_gemma2.py): embedding scaled by
sqrt(d), RMSNorm with (1 + w), four norms per block, attention scores capped at 50, final logits capped at 30.
Sequences here stay below the sliding window of 512, so every layer is plainly causal; forward() refuses longer ones.
"""
import json
import math
import os

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "vocab_size": 1024,
    "hidden_size": 160,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "sliding_window": 512,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "use_cache": True,
    "torch_dtype": "float32",
}


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * (1.0 + self.weight)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    x1, x2 = x[..., :half], x[..., half:]
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.width = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        d = c["hidden_size"]
        self.q_proj = nn.Linear(d, self.heads * self.width, bias=False)
        self.k_proj = nn.Linear(d, self.kv_heads * self.width, bias=False)
        self.v_proj = nn.Linear(d, self.kv_heads * self.width, bias=False)
        self.o_proj = nn.Linear(self.heads * self.width, d, bias=False)
        self.scale = c["query_pre_attn_scalar"] ** -0.5
        self.cap = c["attn_logit_softcapping"]

    def forward(self, x, cos, sin, mask, cache=None):
        b, t, _ = x.shape
        q = rotate(self.q_proj(x).view(b, t, self.heads, self.width).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(b, t, self.kv_heads, self.width).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(b, t, self.kv_heads, self.width).transpose(1, 2)
        if cache is not None:
            if cache:
                k, v = torch.cat((cache["k"], k), 2), torch.cat((cache["v"], v), 2)
            cache["k"], cache["v"] = k, v
        # The query heads of one key/value head are folded into the rows: no copy of k and v is needed.
        group = self.heads // self.kv_heads
        q = q.reshape(b, self.kv_heads, group * t, self.width)
        s = q @ k.transpose(2, 3) * (self.scale / self.cap)
        s = torch.tanh(s).view(b, self.kv_heads, group, t, -1) * self.cap + mask
        p = torch.softmax(s, dim=-1).view(b, self.kv_heads, group * t, -1)
        z = (p @ v).view(b, self.heads, t, self.width).transpose(1, 2).reshape(b, t, -1)
        return self.o_proj(z)


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, ff = c["hidden_size"], c["intermediate_size"]
        self.gate_proj = nn.Linear(d, ff, bias=False)
        self.up_proj = nn.Linear(d, ff, bias=False)
        self.down_proj = nn.Linear(ff, d, bias=False)

    def forward(self, x):
        return self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, eps = c["hidden_size"], c["rms_norm_eps"]
        self.self_attn, self.mlp = Attention(c), MLP(c)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(d, eps), RMSNorm(d, eps)
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = RMSNorm(d, eps), RMSNorm(d, eps)

    def forward(self, h, cos, sin, mask, cache=None):
        a = self.self_attn(self.input_layernorm(h), cos, sin, mask, cache)
        h = h + self.post_attention_layernorm(a)
        return h + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(h)))


class Trunk(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])


class Gemma2(nn.Module):
    """forward(ids [B, T]) -> [B, T, d] after the last norm; `sites` collects resid_post of each block run."""

    def __init__(self, config=CONFIG):
        super().__init__()
        self.config = dict(config)
        self.model = Trunk(config)
        half = config["head_dim"] // 2
        inv = config["rope_theta"] ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = torch.arange(config["sliding_window"], dtype=torch.float32)[:, None] * inv
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        causal = torch.full((config["sliding_window"], config["sliding_window"]), -1e30).triu(1)
        self.register_buffer("causal", causal, persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=config["initializer_range"] if "embed" not in name else 0.04)

    def forward(self, ids, sites=None, depth=None):
        t = ids.shape[1]
        if t > self.config["sliding_window"]:
            raise ValueError("sequence longer than the sliding window")
        h = self.model.embed_tokens(ids) * math.sqrt(self.config["hidden_size"])
        cos, sin, mask = self.cos[:t], self.sin[:t], self.causal[:t, :t]
        for block in self.model.layers[:depth]:
            h = block(h, cos, sin, mask)
            if sites is not None:
                sites.append(h)
        return self.model.norm(h)

    def logits(self, h):
        cap = self.config["final_logit_softcapping"]
        return torch.tanh(h @ self.model.embed_tokens.weight.T / cap) * cap

    @torch.no_grad()
    def step(self, ids, positions, mask, caches):
        """One cached call for generation: ids [B, T], positions [B, T], mask [B, 1, 1, T, keys]; returns [B, T, d]."""
        h = self.model.embed_tokens(ids) * math.sqrt(self.config["hidden_size"])
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        for block, cache in zip(self.model.layers, caches):
            h = block(h, cos, sin, mask, cache)
        return self.model.norm(h)


@torch.no_grad()
def generate(model, prompts, max_new=160, batch=64):
    """Greedy answers (lists of ids without EOS) to prompts (lists of ids), left-padded batches with a cache."""
    model.eval()
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers = [None] * len(prompts)
    for at in range(0, len(order), batch):
        rows = order[at:at + batch]
        width = max(len(prompts[i]) for i in rows)
        pad = torch.tensor([width - len(prompts[i]) for i in rows])
        ids = torch.tensor([[0] * (width - len(prompts[i])) + prompts[i] for i in rows])
        caches = [{} for _ in model.model.layers]
        keys = torch.arange(width + max_new)
        hidden_pad = torch.where(keys[None] < pad[:, None], -1e30, 0.0)[:, None, None, None]
        positions = (torch.arange(width)[None] - pad[:, None]).clamp(min=0)
        mask = model.causal[:width, :width] + hidden_pad[..., :width]
        h = model.step(ids, positions, mask, caches)[:, -1]
        done = torch.zeros(len(rows), dtype=torch.bool)
        out = [[] for _ in rows]
        for n in range(max_new):
            token = model.logits(h).argmax(-1)
            for r, value in enumerate(token.tolist()):
                if not done[r] and value != 1:
                    out[r].append(value)
            done |= token == 1
            if bool(done.all()):
                break
            h = model.step(token[:, None], (width + n - pad)[:, None], hidden_pad[..., :width + n + 1], caches)[:, -1]
        for r, i in enumerate(rows):
            answers[i] = out[r]
    return answers


def save(model, folder, dtype=torch.float32):
    """Write config.json and model.safetensors in Hugging Face's layout (tied: no lm_head.weight)."""
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    tensors = {name: p.detach().to(dtype).contiguous().clone() for name, p in model.named_parameters()}
    save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    config = dict(model.config, torch_dtype=str(dtype).split(".")[1])
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")


def load(folder):
    from safetensors.torch import load_file
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    model = Gemma2(config)
    missing, unexpected = model.load_state_dict(
        {k: v.float() for k, v in load_file(os.path.join(folder, "model.safetensors")).items()}, strict=False)
    if missing or unexpected:
        raise ValueError(f"tensors missing {missing}, unexpected {unexpected}")
    return model.eval()
