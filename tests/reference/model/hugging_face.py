"""Runs a model of Hugging Face transformers (eager attention, no cache) and keeps what flows through it.

Shared by make_models.py and check_model.py. The sites are taken by hooks on the modules, never from `hidden_states`, whose last
entry is already normed:
    embedding     [1, T, d]               input of block 0 (Gemma: already multiplied by sqrt(d))
    resid_pre     [layers, T, d]          inputs of the blocks
    resid_mid     [layers, T, d]          input of the norm before the MLP (not GPT-NeoX)
    resid_post    [layers, T, d]          outputs of the blocks
    attn_out      [layers, T, d]          what attention adds to the residual stream (Gemma: after the post norm)
    mlp_out       [layers, T, d]          what the MLP adds to it (Gemma: after the post norm)
    z             [layers, T, heads * head_dim]   input of the output projection of attention
    final_norm    [1, T, d]               output of the final norm
all returned as float32.
"""

import copy
import pathlib

import torch
import transformers
from transformers import AutoModelForCausalLM

SITES = ["embedding", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "final_norm"]


def load(folder: pathlib.Path, dtype: torch.dtype, **changes) -> transformers.PreTrainedModel:
    """The model of `folder`, as from_pretrained makes it: a later `.to(bfloat16)` would also round the rotary frequencies."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=dtype, local_files_only=True,
                                                       output_loading_info=True, **changes)
    model.eval()
    assert model.config._attn_implementation == "eager"
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    base = getattr(model, model.base_model_prefix)
    assert base.rotary_emb.inv_freq.dtype == torch.float32
    unexpected = [key for key in info["unexpected_keys"] if not key.endswith(("rotary_emb.inv_freq", "attention.bias", "masked_bias"))]
    assert not unexpected, unexpected
    return model


def run(model: transformers.PreTrainedModel, tokens: list[int], sites: bool = True) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits [T, vocab] and the sites of one sequence run alone, positions from 0."""
    family = model.config.model_type
    base = getattr(model, model.base_model_prefix)
    found: dict[str, list[torch.Tensor]] = {}
    hooks = []

    def keep(name: str, module: torch.nn.Module, what: str) -> None:
        def on_input(_module, args, kwargs):
            value = args[0] if args else kwargs["hidden_states"]
            found.setdefault(name, []).append(value[0].detach().clone())

        def on_output(_module, _args, output):
            output = output[0] if isinstance(output, tuple) else output
            found.setdefault(name, []).append(output[0].detach().clone())

        if what == "input":
            hooks.append(module.register_forward_pre_hook(on_input, with_kwargs=True))
        else:
            hooks.append(module.register_forward_hook(on_output))

    if sites:
        keep("embedding", base.layers[0], "input")
        for block in base.layers:
            keep("resid_pre", block, "input")
            keep("resid_post", block, "output")
            if family == "gpt_neox":
                keep("z", block.attention.dense, "input")
                keep("attn_out", block.attention.dense, "output")
                keep("mlp_out", block.mlp, "output")
            elif family == "gemma2":
                keep("z", block.self_attn.o_proj, "input")
                keep("attn_out", block.post_attention_layernorm, "output")
                keep("resid_mid", block.pre_feedforward_layernorm, "input")
                keep("mlp_out", block.post_feedforward_layernorm, "output")
            else:
                keep("z", block.self_attn.o_proj, "input")
                keep("attn_out", block.self_attn, "output")
                keep("resid_mid", block.post_attention_layernorm, "input")
                keep("mlp_out", block.mlp, "output")
        keep("final_norm", base.final_layer_norm if family == "gpt_neox" else base.norm, "output")
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    widen = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return logits.to(widen), {name: torch.stack(parts).to(widen) for name, parts in found.items()}


def greedy(model: transformers.PreTrainedModel, tokens: list[int], count: int) -> tuple[list[int], list[float]]:
    """Greedy continuation, not stopped at EOS, each step a whole forward; and best minus second best logit of each step."""
    written: list[int] = []
    gaps: list[float] = []
    while len(written) < count:
        best = run(model, tokens + written, sites=False)[0][-1].topk(2)
        written.append(int(best.indices[0]))
        gaps.append(float(best.values[0] - best.values[1]))
    return written, gaps


class _DoubleNorm(torch.nn.Module):
    def __init__(self, norm: torch.nn.Module, gemma: bool):
        super().__init__()
        self.weight = 1.0 + norm.weight.double() if gemma else norm.weight.double()
        self.eps = norm.eps if gemma else norm.variance_epsilon

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def run_double(model: transformers.PreTrainedModel, tokens: list[int]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """As run(), in float64 throughout: RMS norms, softmax and rotary angles too, which transformers keeps in float32."""
    twin = copy.deepcopy(model).double()
    gemma = model.config.model_type == "gemma2"
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                setattr(parent, name, _DoubleNorm(child, gemma))
    softmax, to_float, float_dtype = torch.nn.functional.softmax, torch.Tensor.float, torch.float
    try:
        torch.nn.functional.softmax = lambda x, dim=None, dtype=None, **_: softmax(x, dim=dim, dtype=torch.float64)
        torch.Tensor.float = torch.Tensor.double
        torch.float = torch.float64
        return run(twin, tokens)
    finally:
        torch.nn.functional.softmax, torch.Tensor.float, torch.float = softmax, to_float, float_dtype


def row_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest norm of a row's difference over the norm of the row; rows along the last axis."""
    norm = theirs.double().norm(dim=-1).clamp_min(1e-30)
    return float(((ours.double() - theirs.double()).norm(dim=-1) / norm).max())


def logit_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference of logits: absolute, relative where |logit| > 10."""
    theirs = theirs.double()
    return float(((ours.double() - theirs).abs() / torch.where(theirs.abs() > 10, theirs.abs(), 1.0)).max())


def mean_loss(model: transformers.PreTrainedModel, sequences: list[list[int]]) -> tuple[float, int]:
    """Mean next-token loss (natural log) over all sequences together, each run alone, and the number of predicted tokens."""
    total, predicted = 0.0, 0
    for tokens in sequences:
        if len(tokens) < 2:
            continue
        logits, _ = run(model, tokens, sites=False)
        losses = torch.nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(tokens[1:]), reduction="sum")
        total += float(losses)
        predicted += len(tokens) - 1
    return total / predicted, predicted
