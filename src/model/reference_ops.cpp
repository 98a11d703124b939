// Gemma-2's operations in plain ATen.
#include "pva/model/reference_ops.h"

#include <cmath>
#include <limits>

namespace pva::model {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
    const at::Tensor scale = at::rsqrt(at::mean(at::pow(x, 2), at::IntArrayRef{-1}, /*keepdim=*/true) + eps);
    return x * scale * (1.0 + weight);
}

RotaryTables rotary_tables(const at::Tensor& positions, std::int64_t head_dim, double theta) {
    const at::Tensor exponents = at::arange(0, head_dim, 2, at::kFloat) / static_cast<double>(head_dim);
    const at::Tensor inverse_frequencies = 1.0 / at::pow(at::Scalar(theta), exponents);
    const at::Tensor angles = positions.to(at::kFloat).unsqueeze(-1) * inverse_frequencies;
    const at::Tensor both_halves = at::cat({angles, angles}, -1);
    return {at::cos(both_halves), at::sin(both_halves)};
}

at::Tensor apply_rotary(const at::Tensor& x, const RotaryTables& tables) {
    const auto halves = x.chunk(2, -1);
    const at::Tensor rotated = at::cat({-halves[1], halves[0]}, -1);
    return x * tables.cos + rotated * tables.sin;
}

at::Tensor attention_mask(const at::Tensor& query_positions, std::int64_t keys, AttentionKind kind,
                          std::int64_t window) {
    const at::Tensor query = query_positions.unsqueeze(1).unsqueeze(-1);  // [B, 1, T, 1]
    const at::Tensor key = at::arange(keys, at::kLong);
    at::Tensor hidden = key.gt(query);
    if (kind == AttentionKind::sliding) hidden = hidden.logical_or(key.le(query - window));
    return at::zeros(hidden.sizes(), at::kFloat).masked_fill(hidden, std::numeric_limits<float>::lowest());
}

at::Tensor soft_cap(const at::Tensor& x, const std::optional<double>& cap) {
    if (!cap) return x;
    return at::tanh(x / *cap) * *cap;
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask,
                     const Gemma2Config& config) {
    const std::int64_t batch = q.size(0);
    const std::int64_t heads = q.size(1);
    const std::int64_t tokens = q.size(2);
    const std::int64_t head_dim = q.size(3);
    const std::int64_t kv_heads = k.size(1);
    const std::int64_t group = heads / kv_heads;
    const std::int64_t keys = k.size(2);
    // The query heads of one group stand one below the other against their common keys, which need no copies then.
    const at::Tensor grouped = q.reshape({batch, kv_heads, group * tokens, head_dim});
    at::Tensor scores = at::matmul(grouped, k.transpose(-2, -1)) * std::pow(config.query_pre_attn_scalar, -0.5);
    scores = soft_cap(scores, config.attn_logit_softcapping);
    scores = scores.view({batch, kv_heads, group, tokens, keys}) + mask.unsqueeze(1);
    const at::Tensor weights = at::softmax(scores, -1).view({batch, kv_heads, group * tokens, keys});
    const at::Tensor mixed = at::matmul(weights, v).view({batch, heads, tokens, head_dim});
    return mixed.transpose(1, 2).reshape({batch, tokens, heads * head_dim});
}

}  // namespace pva::model
