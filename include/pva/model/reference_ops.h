// The arithmetic of decoder-only models in plain, differentiable ATen operations, in the order of Hugging Face's eager
// code (transformers, models/{gemma2,gpt_neox,llama}). Every faster path is tested against these. What that code
// computes in float32 whatever the model's data type is float32 here too (float64 in a float64 model). For the sources
// of this room.
#pragma once

#include <ATen/ATen.h>

#include "pva/model/config.h"

namespace pva::model {

/// Gemma's: x * rsqrt(mean(x^2) + eps) * (1 + weight) over the last dimension, cast once at the end.
/// x: [..., n], weight: [n].
at::Tensor gemma_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// Llama's: weight * cast(x * rsqrt(mean(x^2) + eps)), cast before the product.
at::Tensor llama_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// theta^(-2i / dims), rescaled where the configuration says so: [turned_channels / 2], of the options' type.
at::Tensor rotary_frequencies(const RotaryConfig& rotary, const at::TensorOptions& options);

/// cos and sin of the rotary angles, frequencies repeated twice: each [positions..., turned_channels].
struct RotaryTables {
    at::Tensor cos;
    at::Tensor sin;
};
/// Angles position * frequency, rounded to `dtype` after cos and sin. positions: int64 of any shape.
RotaryTables rotary_tables(const at::Tensor& positions, const RotaryConfig& rotary, at::ScalarType dtype);

/// x * cos + [-x2, x1] * sin on the first turned_channels channels of the last dimension, with their halves x1, x2; the other
/// channels as they are. x: [B, heads, T, head_dim]; the tables [B or 1, 1, T, turned_channels].
at::Tensor apply_rotary(const at::Tensor& x, const RotaryTables& tables);

/// What is added to the scores: 0 where key j is visible to a query at position p (j <= p, and j > p - window where
/// window > 0), the lowest number of `dtype` elsewhere, so that a row without visible keys stays finite.
/// query_positions: int64 [B, T]; result [B, 1, T, keys].
at::Tensor attention_mask(const at::Tensor& query_positions, std::int64_t keys, std::int64_t window,
                          at::ScalarType dtype);

/// softmax(cap(q k^T * attention_scale) + mask) v with grouped heads: key-value head g serves the query heads g r to
/// g r + r - 1, r = heads / kv_heads. q: [B, heads, T, head_dim]; k, v: [B, kv_heads, L, head_dim]; mask: [B or 1, 1, T,
/// L]. Result [B, T, heads * head_dim].
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask,
                     const ModelConfig& config);

/// cap * tanh(x / cap), or x itself without a cap.
at::Tensor soft_cap(const at::Tensor& x, const std::optional<double>& cap);

}  // namespace pva::model
