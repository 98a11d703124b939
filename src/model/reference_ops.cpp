// The operations of the reference forward in plain ATen.
#include "pva/model/reference_ops.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace pva::model {

namespace {

// The type of what the eager code computes in float32 in every model; wider only where the model is.
at::ScalarType island_type(at::ScalarType dtype) {
    return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor normalised(const at::Tensor& wide, double eps) {
    return wide * at::rsqrt(at::mean(at::pow(wide, 2), at::IntArrayRef{-1}, /*keepdim=*/true) + eps);
}

double lowest(at::ScalarType dtype) {
    switch (dtype) {
        case at::kHalf:
            return std::numeric_limits<c10::Half>::lowest();
        case at::kBFloat16:
            return std::numeric_limits<c10::BFloat16>::lowest();
        case at::kDouble:
            return std::numeric_limits<double>::lowest();
        default:
            return std::numeric_limits<float>::lowest();
    }
}

}  // namespace

at::Tensor gemma_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
    const at::ScalarType island = island_type(x.scalar_type());
    return (normalised(x.to(island), eps) * (1.0 + weight.to(island))).to(x.scalar_type());
}

at::Tensor llama_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
    return weight * normalised(x.to(island_type(x.scalar_type())), eps).to(x.scalar_type());
}

at::Tensor rotary_frequencies(const RotaryConfig& rotary, const at::TensorOptions& options) {
    const at::Tensor exponents = at::arange(0, rotary.dims, 2, options) / static_cast<double>(rotary.dims);
    at::Tensor frequencies = 1.0 / at::pow(at::Scalar(rotary.theta), exponents);
    if (rotary.scaling) {
        const Llama3RopeScaling& scaling = *rotary.scaling;
        const double original = scaling.original_max_position_embeddings;
        const at::Tensor wavelengths = 2.0 * std::numbers::pi / frequencies;
        const double longest_kept = original / scaling.high_freq_factor;
        const double shortest_stretched = original / scaling.low_freq_factor;
        const at::Tensor blend = (original / wavelengths - scaling.low_freq_factor) /
                                 (scaling.high_freq_factor - scaling.low_freq_factor);
        const at::Tensor blended = (1.0 - blend) * frequencies / scaling.factor + blend * frequencies;
        frequencies = at::where(wavelengths.gt(shortest_stretched), frequencies / scaling.factor,
                                at::where(wavelengths.lt(longest_kept), frequencies, blended));
    }
    return frequencies;
}

RotaryTables rotary_tables(const at::Tensor& positions, const RotaryConfig& rotary, at::ScalarType dtype) {
    const at::ScalarType island = island_type(dtype);
    const at::Tensor frequencies = rotary_frequencies(rotary, positions.options().dtype(island));
    const at::Tensor angles = positions.to(island).unsqueeze(-1) * frequencies;
    const at::Tensor both_halves = at::cat({angles, angles}, -1);
    return {at::cos(both_halves).to(dtype), at::sin(both_halves).to(dtype)};
}

at::Tensor apply_rotary(const at::Tensor& x, const RotaryTables& tables) {
    const std::int64_t channels = tables.cos.size(-1);
    const bool whole = channels == x.size(-1);
    const at::Tensor turned = whole ? x : x.narrow(-1, 0, channels);
    const auto halves = turned.chunk(2, -1);
    const at::Tensor result = turned * tables.cos + at::cat({-halves[1], halves[0]}, -1) * tables.sin;
    if (whole) return result;
    return at::cat({result, x.narrow(-1, channels, x.size(-1) - channels)}, -1);
}

at::Tensor attention_mask(const at::Tensor& query_positions, std::int64_t keys, std::int64_t window,
                          at::ScalarType dtype) {
    const at::Tensor query = query_positions.unsqueeze(1).unsqueeze(-1);  // [B, 1, T, 1]
    const at::Tensor key = at::arange(keys, query_positions.options());
    at::Tensor hidden = key.gt(query);
    if (window > 0) hidden = hidden.logical_or(key.le(query - window));
    return at::zeros(hidden.sizes(), query_positions.options().dtype(dtype)).masked_fill(hidden, lowest(dtype));
}

at::Tensor soft_cap(const at::Tensor& x, const std::optional<double>& cap) {
    if (!cap) return x;
    return at::tanh(x / *cap) * *cap;
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask,
                     const ModelConfig& config) {
    const std::int64_t batch = q.size(0);
    const std::int64_t heads = q.size(1);
    const std::int64_t tokens = q.size(2);
    const std::int64_t head_dim = q.size(3);
    const std::int64_t kv_heads = k.size(1);
    const std::int64_t group = heads / kv_heads;
    const std::int64_t keys = k.size(2);
    // The query heads of one group stand one below the other against their common keys, which need no copies then.
    const at::Tensor grouped = q.reshape({batch, kv_heads, group * tokens, head_dim});
    at::Tensor scores = at::matmul(grouped, k.transpose(-2, -1)) * config.attention_scale;
    scores = soft_cap(scores, config.attn_logit_softcapping);
    scores = scores.view({batch, kv_heads, group, tokens, keys}) + mask.unsqueeze(1);
    const at::Tensor weights = at::softmax(scores, -1, island_type(q.scalar_type()))
                                   .to(q.scalar_type())
                                   .view({batch, kv_heads, group * tokens, keys});
    const at::Tensor mixed = at::matmul(weights, v).view({batch, heads, tokens, head_dim});
    return mixed.transpose(1, 2).reshape({batch, tokens, heads * head_dim});
}

}  // namespace pva::model
