// The arithmetic of Gemma-2 in plain, differentiable ATen operations, in the order of Hugging Face's eager code
// (transformers, models/gemma2/modeling_gemma2.py). Every faster path is tested against these. For the sources of this
// room.
#pragma once

#include <ATen/ATen.h>

#include "pva/model/config.h"

namespace pva::model {

/// x * rsqrt(mean(x^2) + eps) * (1 + weight) over the last dimension. x: [..., n], weight: [n], float32.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// cos and sin of the rotary angles, frequencies repeated twice: each [positions..., head_dim], float32.
struct RotaryTables {
    at::Tensor cos;
    at::Tensor sin;
};
/// Angles position * theta^(-2i / head_dim), i < head_dim / 2. positions: int64 of any shape.
RotaryTables rotary_tables(const at::Tensor& positions, std::int64_t head_dim, double theta);

/// x * cos + [-x2, x1] * sin with the halves x1, x2 of the last dimension. x: [B, heads, T, head_dim]; the tables
/// [B or 1, 1, T, head_dim].
at::Tensor apply_rotary(const at::Tensor& x, const RotaryTables& tables);

/// What is added to the scores: 0 where key j is visible to a query at position p (j <= p, and j > p - window on
/// sliding layers), the lowest float elsewhere, so that a row without visible keys stays finite. query_positions: int64
/// [B, T]; result [B, 1, T, keys].
at::Tensor attention_mask(const at::Tensor& query_positions, std::int64_t keys, AttentionKind kind,
                          std::int64_t window);

/// softmax(cap(q k^T * query_pre_attn_scalar^-1/2) + mask) v with grouped heads: key-value head g serves the query
/// heads g r to g r + r - 1, r = heads / kv_heads. q: [B, heads, T, head_dim]; k, v: [B, kv_heads, L, head_dim]; mask:
/// [B or 1, 1, T, L]. Result [B, T, heads * head_dim].
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask,
                     const Gemma2Config& config);

/// cap * tanh(x / cap), or x itself without a cap.
at::Tensor soft_cap(const at::Tensor& x, const std::optional<double>& cap);

}  // namespace pva::model
