// The Gemma-2 forward pass.
#include "pva/model/gemma2.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <utility>

#include <ATen/ATen.h>

#include "pva/core/error.h"
#include "pva/model/kv_cache.h"
#include "pva/model/reference_ops.h"
#include "pva/model/weights.h"

namespace pva::model {

namespace {

// The tokens of one pass: a right-padded batch with, for every slot, its row, its first position and its number of
// tokens.
struct Batch {
    at::Tensor tokens;       // int64 [slots, T]
    at::Tensor positions;    // int64 [slots, T], or [1, T] for whole rows
    bool whole_rows = true;  // every slot begins at position 0; otherwise T is 1
    std::vector<std::int64_t> rows;
    std::vector<std::int64_t> first_position;
    std::vector<std::int64_t> valid_tokens;
};

at::Tensor to_tensor(const std::vector<std::int64_t>& values) {
    return at::from_blob(const_cast<std::int64_t*>(values.data()), {static_cast<std::int64_t>(values.size())},
                         at::kLong)
        .clone();
}

void check_token(std::int32_t token, std::size_t row, const Gemma2Config& config) {
    if (token < 0 || token >= config.vocab_size) {
        throw InputError("row " + std::to_string(row) + " holds the token id " + std::to_string(token) +
                         ", but the model has ids 0 to " + std::to_string(config.vocab_size - 1) +
                         ". Take the tokenizer that belongs to the model.");
    }
}

Batch right_padded(std::span<const std::vector<std::int32_t>> rows, const Gemma2Config& config) {
    if (rows.empty()) throw InternalError("a forward pass needs at least one row");
    std::size_t longest = 0;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        const std::size_t length = rows[row].size();
        if (length == 0)
            throw InputError("row " + std::to_string(row) + " has no tokens; a text with BOS has at least one.");
        if (static_cast<std::int64_t>(length) > config.max_position_embeddings) {
            throw InputError("row " + std::to_string(row) + " has " + std::to_string(length) +
                             " tokens, the model takes at most " + std::to_string(config.max_position_embeddings) +
                             ". Shorten the text.");
        }
        longest = std::max(longest, length);
    }
    Batch batch;
    const auto slots = static_cast<std::int64_t>(rows.size());
    // Padding holds token 0: any valid id will do, because no real token sees a later position.
    batch.tokens = at::zeros({slots, static_cast<std::int64_t>(longest)}, at::kLong);
    auto* tokens = batch.tokens.data_ptr<std::int64_t>();
    for (std::size_t row = 0; row < rows.size(); ++row) {
        for (std::size_t i = 0; i < rows[row].size(); ++i) {
            check_token(rows[row][i], row, config);
            tokens[row * longest + i] = rows[row][i];
        }
        batch.rows.push_back(static_cast<std::int64_t>(row));
        batch.first_position.push_back(0);
        batch.valid_tokens.push_back(static_cast<std::int64_t>(rows[row].size()));
    }
    batch.positions = at::arange(static_cast<std::int64_t>(longest), at::kLong).unsqueeze(0);
    return batch;
}

}  // namespace

struct Gemma2::Impl {
    Gemma2Config config;
    Gemma2Weights weights;

    // Residual stream after block last_layer, [slots, T, d_model]. With a cache, keys and values go into it and the
    // attention reads from it; `keys` is the number of positions it has to look at.
    at::Tensor run(const Batch& batch, int last_layer, KvCache* cache, std::int64_t keys, const SiteHook& hook) const;
    at::Tensor logits(const at::Tensor& stream) const;

  private:
    // What is the same for all blocks of one pass.
    struct PassTables {
        RotaryTables rotary;
        at::Tensor full_mask;
        at::Tensor sliding_mask;
    };
    at::Tensor block(int layer, const at::Tensor& stream, const Batch& batch, const PassTables& tables, KvCache* cache,
                     std::int64_t keys) const;
    std::pair<at::Tensor, at::Tensor> through_cache(int layer, const at::Tensor& k, const at::Tensor& v,
                                                    const Batch& batch, KvCache& cache, std::int64_t keys) const;
};

std::pair<at::Tensor, at::Tensor> Gemma2::Impl::through_cache(int layer, const at::Tensor& k, const at::Tensor& v,
                                                              const Batch& batch, KvCache& cache,
                                                              std::int64_t keys) const {
    const at::Tensor stored_k = cache.slots.select(0, layer).select(0, 0);  // [rows, kv_heads, max_length, head_dim]
    const at::Tensor stored_v = cache.slots.select(0, layer).select(0, 1);
    if (batch.whole_rows) {
        stored_k.narrow(2, 0, keys).copy_(k);
        stored_v.narrow(2, 0, keys).copy_(v);
        return {k, v};
    }
    const at::Tensor rows = to_tensor(batch.rows);
    const at::Tensor at_position = to_tensor(batch.first_position);
    const c10::List<std::optional<at::Tensor>> where({rows, std::nullopt, at_position});
    stored_k.index_put_(where, k.squeeze(2));
    stored_v.index_put_(where, v.squeeze(2));
    return {stored_k.narrow(2, 0, keys).index_select(0, rows), stored_v.narrow(2, 0, keys).index_select(0, rows)};
}

at::Tensor Gemma2::Impl::block(int layer, const at::Tensor& stream, const Batch& batch, const PassTables& tables,
                               KvCache* cache, std::int64_t keys) const {
    const Gemma2LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
    const double eps = config.rms_norm_eps;
    const std::int64_t slots = stream.size(0);
    const std::int64_t tokens = stream.size(1);
    const auto by_head = [&](const at::Tensor& x, std::int64_t heads) {
        return x.view({slots, tokens, heads, config.head_dim}).transpose(1, 2);
    };

    const at::Tensor a = rms_norm(stream, w.input_layernorm, eps);
    const at::Tensor q = apply_rotary(by_head(at::linear(a, w.q_proj), config.num_attention_heads), tables.rotary);
    at::Tensor k = apply_rotary(by_head(at::linear(a, w.k_proj), config.num_key_value_heads), tables.rotary);
    at::Tensor v = by_head(at::linear(a, w.v_proj), config.num_key_value_heads);
    if (cache != nullptr) std::tie(k, v) = through_cache(layer, k, v, batch, *cache, keys);
    const bool sliding = config.layer_types[static_cast<std::size_t>(layer)] == AttentionKind::sliding;
    const at::Tensor mixed = attention(q, k, v, sliding ? tables.sliding_mask : tables.full_mask, config);
    const at::Tensor middle = stream + rms_norm(at::linear(mixed, w.o_proj), w.post_attention_layernorm, eps);

    const at::Tensor m = rms_norm(middle, w.pre_feedforward_layernorm, eps);
    const at::Tensor gated = at::gelu(at::linear(m, w.gate_proj), "tanh") * at::linear(m, w.up_proj);
    return middle + rms_norm(at::linear(gated, w.down_proj), w.post_feedforward_layernorm, eps);
}

at::Tensor Gemma2::Impl::run(const Batch& batch, int last_layer, KvCache* cache, std::int64_t keys,
                             const SiteHook& hook) const {
    const auto call_hook = [&](Site site, int layer, at::Tensor& stream) {
        if (hook) hook(SiteContext{site, layer, batch.rows, batch.first_position, batch.valid_tokens}, stream);
    };
    PassTables tables;
    tables.rotary = rotary_tables(batch.positions, config.head_dim, config.rope_theta);
    tables.rotary.cos = tables.rotary.cos.unsqueeze(1);  // one for all heads
    tables.rotary.sin = tables.rotary.sin.unsqueeze(1);
    tables.full_mask = attention_mask(batch.positions, keys, AttentionKind::full, config.sliding_window);
    tables.sliding_mask = attention_mask(batch.positions, keys, AttentionKind::sliding, config.sliding_window);

    const auto scale = static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)));
    at::Tensor stream = at::embedding(weights.embed_tokens, batch.tokens) * scale;
    for (int layer = 0; layer <= last_layer; ++layer) {
        call_hook(Site::resid_pre, layer, stream);
        stream = block(layer, stream, batch, tables, cache, keys);
        call_hook(Site::resid_post, layer, stream);
    }
    return stream;
}

at::Tensor Gemma2::Impl::logits(const at::Tensor& stream) const {
    const at::Tensor normed = rms_norm(stream, weights.norm, config.rms_norm_eps);
    return soft_cap(at::linear(normed, weights.embed_tokens), config.final_logit_softcapping);
}

Gemma2::Gemma2(Gemma2Config config, Gemma2Weights weights)
    : impl_(std::make_unique<Impl>(Impl{std::move(config), std::move(weights)})) {}
Gemma2::Gemma2(Gemma2&&) noexcept = default;
Gemma2& Gemma2::operator=(Gemma2&&) noexcept = default;
Gemma2::~Gemma2() = default;

const Gemma2Config& Gemma2::config() const {
    return impl_->config;
}

at::Tensor Gemma2::forward(std::span<const std::vector<std::int32_t>> rows, const SiteHook& hook) const {
    const Batch batch = right_padded(rows, impl_->config);
    const int last = static_cast<int>(impl_->config.num_hidden_layers) - 1;
    return impl_->logits(impl_->run(batch, last, nullptr, batch.tokens.size(1), hook));
}

void Gemma2::run_blocks(std::span<const std::vector<std::int32_t>> rows, int last_layer, const SiteHook& hook) const {
    if (last_layer < 0 || last_layer >= impl_->config.num_hidden_layers) {
        throw UsageError("layer " + std::to_string(last_layer) + " does not exist; the model has " +
                         std::to_string(impl_->config.num_hidden_layers) + " layers, counted from 0.");
    }
    const Batch batch = right_padded(rows, impl_->config);
    impl_->run(batch, last_layer, nullptr, batch.tokens.size(1), hook);
}

at::Tensor Gemma2::prefill(std::span<const std::vector<std::int32_t>> rows, KvCache& cache,
                           const SiteHook& hook) const {
    const Batch batch = right_padded(rows, impl_->config);
    const std::int64_t tokens = batch.tokens.size(1);
    if (cache.lengths.size() != rows.size() || tokens > cache.slots.size(4) ||
        std::any_of(cache.lengths.begin(), cache.lengths.end(), [](std::int64_t length) { return length != 0; })) {
        throw InternalError("prefill needs an empty cache with as many rows as the batch and room for its longest row");
    }
    const int last = static_cast<int>(impl_->config.num_hidden_layers) - 1;
    const at::Tensor stream = impl_->run(batch, last, &cache, tokens, hook);
    cache.lengths = batch.valid_tokens;
    // Only the last token of each row predicts something new, and the unembedding is the largest matrix.
    const at::Tensor last_tokens = to_tensor(batch.valid_tokens) - 1;
    return impl_->logits(stream.index({to_tensor(batch.rows), last_tokens}));
}

at::Tensor Gemma2::decode_step(std::span<const std::int32_t> tokens, std::span<const std::int64_t> active_rows,
                               KvCache& cache, const SiteHook& hook) const {
    const std::size_t slots = active_rows.size();
    if (slots == 0 || tokens.size() != slots)
        throw InternalError("decode_step needs one token for each of at least one active row");
    Batch batch;
    batch.whole_rows = false;
    batch.tokens = at::empty({static_cast<std::int64_t>(slots), 1}, at::kLong);
    std::int64_t keys = 0;
    for (std::size_t slot = 0; slot < slots; ++slot) {
        const auto row = static_cast<std::size_t>(active_rows[slot]);
        if (row >= cache.lengths.size())
            throw InternalError("decode_step: row " + std::to_string(row) + " is not in the cache");
        const std::int64_t position = cache.lengths[row];
        if (position == 0) throw InternalError("decode_step: row " + std::to_string(row) + " has not been prefilled");
        if (position >= cache.slots.size(4) || position >= impl_->config.max_position_embeddings) {
            throw InternalError("decode_step: the cache of row " + std::to_string(row) + " is full");
        }
        check_token(tokens[slot], row, impl_->config);
        batch.tokens.data_ptr<std::int64_t>()[slot] = tokens[slot];
        batch.rows.push_back(active_rows[slot]);
        batch.first_position.push_back(position);
        batch.valid_tokens.push_back(1);
        keys = std::max(keys, position + 1);
    }
    batch.positions = to_tensor(batch.first_position).unsqueeze(1);
    const int last = static_cast<int>(impl_->config.num_hidden_layers) - 1;
    const at::Tensor stream = impl_->run(batch, last, &cache, keys, hook);
    for (const std::int64_t row : batch.rows)
        cache.lengths[static_cast<std::size_t>(row)] += 1;
    return impl_->logits(stream.squeeze(1));
}

}  // namespace pva::model
