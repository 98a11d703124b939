// The forward pass by fused tensor operations, and decoding steps of fixed shapes.
#include "pva/model/device_forward.h"

#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <c10/core/InferenceMode.h>

#include "pva/core/error.h"
#include "pva/model/out_of_memory.h"
#include "pva/model/reference_ops.h"

namespace pva::model {

namespace {

struct DeviceNorm {
    NormKind kind = NormKind::llama_rms;
    at::Tensor weight;  // what the normalised row is multiplied by; of the root mean square norms in float32, or float64
    at::Tensor bias;
};

struct DeviceLayer {
    DeviceNorm attention_norm;
    Affine qkv;  // [(heads + 2 kv_heads) * head_dim, hidden_size]
    Affine o;
    std::optional<DeviceNorm> after_attention;
    DeviceNorm mlp_norm;
    Affine gate_up;  // [2 intermediate_size, hidden_size], or up alone
    bool gated = false;
    Affine down;
    std::optional<DeviceNorm> after_mlp;
};

at::ScalarType wide_type(at::ScalarType dtype) {
    return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

DeviceNorm prepared(const Norm& norm) {
    if (norm.kind == NormKind::layer) return {norm.kind, norm.weight, norm.bias};
    const at::Tensor weight = norm.weight.to(wide_type(norm.weight.scalar_type()));
    return {norm.kind, norm.kind == NormKind::gemma_rms ? 1.0 + weight : weight, {}};
}

/// One product for several: the matrices one below the other. A part without a bias gets one of zeros where others have one.
Affine joined(const std::vector<const Affine*>& parts) {
    std::vector<at::Tensor> weights;
    std::vector<at::Tensor> biases;
    bool any_bias = false;
    for (const Affine* part : parts) {
        weights.push_back(part->weight);
        any_bias = any_bias || part->bias.defined();
        biases.push_back(part->bias.defined() ? part->bias : at::zeros({part->weight.size(0)}, part->weight.options()));
    }
    return {at::cat(weights), any_bias ? at::cat(biases) : at::Tensor()};
}

at::Tensor linear(const at::Tensor& x, const Affine& affine) {
    return at::linear(x, affine.weight, affine.bias);
}

DeviceLayer prepared(const DecoderLayer& layer) {
    DeviceLayer result;
    result.attention_norm = prepared(layer.attention_norm);
    result.qkv = joined({&layer.q, &layer.k, &layer.v});
    result.o = layer.o;
    if (layer.after_attention) result.after_attention = prepared(*layer.after_attention);
    result.mlp_norm = prepared(layer.mlp_norm);
    result.gated = layer.gate.weight.defined();
    result.gate_up = result.gated ? joined({&layer.gate, &layer.up}) : layer.up;
    result.down = layer.down;
    if (layer.after_mlp) result.after_mlp = prepared(*layer.after_mlp);
    return result;
}

/// What all layers of a pass share.
struct Pass {
    at::Tensor cos;    // [slots or 1, T, 1, turned channels]
    at::Tensor sin;    // the same, negative in the first half: x cos + [x2, x1] sin turns the halves x1, x2
    at::Tensor cache;  // KvCache::slots, undefined without one
    at::Tensor store;  // int64 [slots, T, kv_heads]: which of the head_dim-wide rows of a layer's keys and values in the cache
    bool from_cache = false;                               // keys and values are read back from cache rows 0 to slots - 1
    std::vector<std::pair<std::int64_t, at::Tensor>> masks;  // by window, [slots or 1, 1, T, keys]

    const at::Tensor& mask_of(std::int64_t window) const {
        return std::find_if(masks.begin(), masks.end(), [&](const auto& one) { return one.first == window; })->second;
    }
};

/// Shows values of a pass to the caller's hook.
struct Visitor {
    const SiteHook& hook;
    const TokenBatch& batch;
    at::Tensor chosen;  // int64: slots of the pass that belong to batch.rows, in their order; undefined: all

    void operator()(Site site, int layer, at::Tensor& values) const {
        if (!hook) return;
        at::Tensor shown = chosen.defined() ? values.index_select(0, chosen) : values;
        const at::Tensor before = shown;
        show_to_hook(hook, {site, layer, batch.rows, batch.first_position, batch.valid_tokens}, shown);
        if (!shown.is_same(before)) values = chosen.defined() ? values.index_copy(0, chosen, shown) : shown;
    }
};

struct Recorded {
    at::Tensor logits;  // [slots, vocab_size], written by the latest replay
    std::unique_ptr<Recording> recording;
};

}  // namespace

/// What decoding steps with one cache share. The tensors stay where they are, so that recordings find them.
struct DeviceSteps {
    at::Tensor given;        // int64 [3, rows] on the host: tokens and positions of all rows, and the numbers of those that have something to do
    at::Tensor inputs;       // the same on the device
    at::Tensor cos;          // [room, turned channels]
    at::Tensor sin;          // as in Pass
    at::Tensor first_store;  // int64 [rows, 1, kv_heads]: Pass::store of position 0
    Recorder recorder;
    std::map<std::pair<std::int64_t, std::int64_t>, Recorded> recorded;  // by slots and keys
};

struct DeviceForward::Impl {
    ModelConfig config;
    bool parallel_residual = false;
    ActivationKind activation = ActivationKind::silu;
    double embedding_scale = 1.0;
    at::Tensor embedding;    // [vocab_size, hidden_size]
    at::Tensor unembedding;  // [vocab_size, hidden_size]
    DeviceNorm last_norm;
    std::vector<DeviceLayer> layers;
    RecorderFactory recorders;

    at::TensorOptions options() const { return unembedding.options(); }
    at::ScalarType dtype() const { return unembedding.scalar_type(); }

    RotaryTables rotary(const at::Tensor& positions) const;
    void add_masks(Pass& pass, const at::Tensor& positions, std::int64_t keys) const;
    at::Tensor embed(const at::Tensor& tokens) const;
    at::Tensor norm(const at::Tensor& x, const DeviceNorm& norm) const;
    at::Tensor turned(const at::Tensor& x, const Pass& pass) const;
    at::Tensor mixed(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& mask) const;
    at::Tensor attend(const at::Tensor& qkv, std::int64_t layer, const Pass& pass) const;
    at::Tensor activated(const at::Tensor& x) const;
    at::Tensor mlp(const at::Tensor& x, const DeviceLayer& layer) const;
    at::Tensor run(const at::Tensor& tokens, std::int64_t blocks, const Pass& pass, const Visitor& visit) const;
    at::Tensor unembed(const at::Tensor& normed) const;
    at::Tensor step(std::int64_t slots, std::int64_t keys, const at::Tensor& cache, const DeviceSteps& steps, const Visitor& visit) const;
};

RotaryTables DeviceForward::Impl::rotary(const at::Tensor& positions) const {
    RotaryTables tables = rotary_tables(positions, config.rotary, dtype());
    const auto halves = tables.sin.chunk(2, -1);
    tables.sin = at::cat({-halves[0], halves[1]}, -1);
    return tables;
}

void DeviceForward::Impl::add_masks(Pass& pass, const at::Tensor& positions, std::int64_t keys) const {
    std::vector<std::int64_t> windows = config.windows;
    std::sort(windows.begin(), windows.end());
    windows.erase(std::unique(windows.begin(), windows.end()), windows.end());
    for (const std::int64_t window : windows)
        pass.masks.emplace_back(window, attention_mask(positions, keys, window, dtype()));
}

at::Tensor DeviceForward::Impl::embed(const at::Tensor& tokens) const {
    const at::Tensor rows = at::embedding(embedding, tokens);
    return embedding_scale == 1.0 ? rows : rows * embedding_scale;
}

at::Tensor DeviceForward::Impl::norm(const at::Tensor& x, const DeviceNorm& norm) const {
    if (norm.kind == NormKind::layer) return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, config.norm_eps);
    return at::rms_norm(x.to(norm.weight.scalar_type()), {x.size(-1)}, norm.weight, config.norm_eps).to(x.scalar_type());
}

// x: [slots, T, heads, head_dim]
at::Tensor DeviceForward::Impl::turned(const at::Tensor& x, const Pass& pass) const {
    const std::int64_t channels = pass.cos.size(-1);
    const bool whole = channels == x.size(-1);
    const at::Tensor part = whole ? x : x.narrow(-1, 0, channels);
    const auto halves = part.chunk(2, -1);
    const at::Tensor result = at::addcmul(part * pass.cos, at::cat({halves[1], halves[0]}, -1), pass.sin);
    return whole ? result : at::cat({result, x.narrow(-1, channels, x.size(-1) - channels)}, -1);
}

// Query heads of a group stand one below the other against their common keys. q: [slots * kv_heads, group * T, head_dim]; keys, values:
// [slots * kv_heads, L, head_dim]; mask [slots or 1, 1, T, L]. Result as q.
at::Tensor DeviceForward::Impl::mixed(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& mask) const {
    const std::int64_t kv_heads = config.num_key_value_heads;
    const std::int64_t tokens = mask.size(2);
    const auto& cap = config.attn_logit_softcapping;
    // beta 0: what it is added to is not read.
    at::Tensor scores = at::baddbmm(at::empty({1, 1, 1}, q.options()), q, keys.transpose(1, 2), 0, config.attention_scale / cap.value_or(1.0));
    if (cap) scores.tanh_();
    scores = scores.view({q.size(0) / kv_heads, kv_heads, q.size(1) / tokens, tokens, keys.size(1)});
    scores = at::add(mask.unsqueeze(1), scores, cap.value_or(1.0));
    const at::Tensor weights = at::softmax(scores, -1).view({q.size(0), q.size(1), keys.size(1)});
    return at::bmm(weights, values);
}

// qkv: [slots, T, (heads + 2 kv_heads) * head_dim]. Result: z, [slots, T, heads * head_dim].
at::Tensor DeviceForward::Impl::attend(const at::Tensor& qkv, std::int64_t layer, const Pass& pass) const {
    const std::int64_t slots = qkv.size(0);
    const std::int64_t tokens = qkv.size(1);
    const std::int64_t heads = config.num_attention_heads;
    const std::int64_t kv_heads = config.num_key_value_heads;
    const std::int64_t group = heads / kv_heads;
    const std::int64_t width = config.head_dim;
    const at::Tensor by_head = qkv.view({slots, tokens, heads + 2 * kv_heads, width});
    const at::Tensor query_key = turned(by_head.narrow(2, 0, heads + kv_heads), pass);
    const at::Tensor q = query_key.narrow(2, 0, heads).reshape({slots, tokens, kv_heads, group, width}).permute({0, 2, 3, 1, 4});
    const at::Tensor own[2] = {query_key.narrow(2, heads, kv_heads), by_head.narrow(2, heads + kv_heads, kv_heads)};
    at::Tensor used[2];
    for (int which = 0; which < 2; ++which) {
        at::Tensor stored;  // [cache rows, kv_heads, room, head_dim]
        if (pass.cache.defined()) {
            stored = pass.cache.select(0, layer).select(0, which);
            const c10::List<std::optional<at::Tensor>> where({pass.store});
            stored.view({-1, width}).index_put_(where, own[which]);
        }
        used[which] = pass.from_cache ? stored.narrow(0, 0, slots).narrow(2, 0, pass.mask_of(config.windows[static_cast<std::size_t>(layer)]).size(3))
                                      : own[which].transpose(1, 2);
        used[which] = used[which].reshape({slots * kv_heads, -1, width});
    }
    const at::Tensor z = mixed(q.reshape({slots * kv_heads, group * tokens, width}), used[0], used[1],
                               pass.mask_of(config.windows[static_cast<std::size_t>(layer)]));
    return z.view({slots, kv_heads, group, tokens, width}).permute({0, 3, 1, 2, 4}).reshape({slots, tokens, heads * width});
}

at::Tensor DeviceForward::Impl::activated(const at::Tensor& x) const {
    switch (activation) {
        case ActivationKind::gelu:
            return at::gelu(x);
        case ActivationKind::gelu_tanh:
            return at::gelu(x, "tanh");
        case ActivationKind::silu:
            return at::silu(x);
        case ActivationKind::relu:
            return at::relu(x);
    }
    throw InternalError("unknown activation");
}

at::Tensor DeviceForward::Impl::mlp(const at::Tensor& x, const DeviceLayer& layer) const {
    const at::Tensor inner = linear(x, layer.gate_up);
    if (!layer.gated) return linear(activated(inner), layer.down);
    const auto halves = inner.chunk(2, -1);
    return linear(activated(halves[0]) * halves[1], layer.down);
}

at::Tensor DeviceForward::Impl::run(const at::Tensor& tokens, std::int64_t blocks, const Pass& pass, const Visitor& visit) const {
    at::Tensor stream = embed(tokens);
    visit(Site::embedding, 0, stream);
    for (std::int64_t i = 0; i < blocks; ++i) {
        const DeviceLayer& layer = layers[static_cast<std::size_t>(i)];
        const int number = static_cast<int>(i);
        visit(Site::resid_pre, number, stream);

        at::Tensor z = attend(linear(norm(stream, layer.attention_norm), layer.qkv), i, pass);
        visit(Site::z, number, z);
        at::Tensor attn_out = linear(z, layer.o);
        if (layer.after_attention) attn_out = norm(attn_out, *layer.after_attention);
        visit(Site::attn_out, number, attn_out);
        at::Tensor middle = stream;
        if (!parallel_residual) {
            middle = stream + attn_out;
            if (config.has_resid_mid) visit(Site::resid_mid, number, middle);
        }

        at::Tensor mlp_out = mlp(norm(middle, layer.mlp_norm), layer);
        if (layer.after_mlp) mlp_out = norm(mlp_out, *layer.after_mlp);
        visit(Site::mlp_out, number, mlp_out);
        stream = parallel_residual ? mlp_out + attn_out + stream : middle + mlp_out;
        visit(Site::resid_post, number, stream);
    }
    return stream;
}

at::Tensor DeviceForward::Impl::unembed(const at::Tensor& normed) const {
    at::Tensor logits = at::linear(normed, unembedding);
    if (config.final_logit_softcapping) logits.div_(*config.final_logit_softcapping).tanh_().mul_(*config.final_logit_softcapping);
    return logits;
}

// Rows 0 to slots - 1 of the cache, whether they have something to do or not: so keys and values are read where they lie.
at::Tensor DeviceForward::Impl::step(std::int64_t slots, std::int64_t keys, const at::Tensor& cache, const DeviceSteps& steps, const Visitor& visit) const {
    const at::Tensor tokens = steps.inputs.select(0, 0).narrow(0, 0, slots);
    const at::Tensor positions = steps.inputs.select(0, 1).narrow(0, 0, slots);
    Pass pass;
    pass.cos = steps.cos.index_select(0, positions).view({slots, 1, 1, -1});
    pass.sin = steps.sin.index_select(0, positions).view({slots, 1, 1, -1});
    pass.cache = cache;
    pass.store = steps.first_store.narrow(0, 0, slots) + positions.view({slots, 1, 1});
    pass.from_cache = true;
    add_masks(pass, positions.unsqueeze(1), keys);
    const at::Tensor stream = run(tokens.unsqueeze(1), config.num_hidden_layers, pass, visit);
    at::Tensor normed = norm(stream, last_norm);
    visit(Site::final_norm, 0, normed);
    return unembed(normed.squeeze(1));
}

DeviceForward::DeviceForward(const ModelConfig& config, const DecoderDescription& description, WeightReader& weights, RecorderFactory recorders)
    : impl_(std::make_unique<Impl>()) {
    const c10::InferenceMode no_gradients;
    Impl& impl = *impl_;
    impl.config = config;
    impl.parallel_residual = description.parallel_residual;
    impl.activation = description.activation;
    impl.unembedding = description.unembedding(weights);
    impl.embedding = config.tie_word_embeddings ? impl.unembedding : description.embedding(weights);
    // As the reference pass has it: rounded to the weights' type.
    impl.embedding_scale = at::full({}, description.embedding_scale, impl.dtype()).to(at::kDouble).item<double>();
    impl.last_norm = prepared(description.final_norm(weights));
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i)
        impl.layers.push_back(prepared(description.layer(weights, i)));
    impl.recorders = std::move(recorders);
}

DeviceForward::~DeviceForward() = default;

std::int64_t DeviceForward::rounded_length(std::int64_t length) {
    const std::int64_t step = std::max<std::int64_t>(64, static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(length))) / 4);
    return (length + step - 1) / step * step;
}

std::int64_t DeviceForward::rounded_rows(std::int64_t rows, std::int64_t cache_rows) {
    return std::min(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(rows))), cache_rows);
}

KvCache DeviceForward::make_cache(std::int64_t rows, std::int64_t max_length) const {
    const c10::InferenceMode no_gradients;
    const Impl& impl = *impl_;
    const ModelConfig& config = impl.config;
    const std::int64_t positions = room(max_length);
    const auto numbers = impl.options().dtype(at::kLong);
    KvCache cache;
    cache.capacity = max_length;
    // Zeros and not uninitialised memory: a masked entry counts 0 times its value, and 0 times NaN would be NaN.
    cache.slots = at::zeros({config.num_hidden_layers, 2, rows, config.num_key_value_heads, positions, config.head_dim}, impl.options());
    cache.lengths.assign(static_cast<std::size_t>(rows), 0);
    cache.steps = std::make_shared<DeviceSteps>();
    DeviceSteps& steps = *cache.steps;
    steps.given = at::zeros({3, rows}, at::kLong);
    steps.inputs = at::zeros({3, rows}, numbers);
    const RotaryTables tables = impl.rotary(at::arange(positions, numbers));
    steps.cos = tables.cos;
    steps.sin = tables.sin;
    steps.first_store = at::arange(rows * config.num_key_value_heads, numbers).view({rows, 1, config.num_key_value_heads}) * positions;
    if (impl.recorders) steps.recorder = impl.recorders();
    return cache;
}

at::Tensor DeviceForward::run(const TokenBatch& batch, std::int64_t blocks, KvCache* cache, const SiteHook& hook) const {
    const c10::InferenceMode no_gradients;
    const Impl& impl = *impl_;
    const std::int64_t tokens = batch.tokens.size(1);
    Pass pass;
    const RotaryTables tables = impl.rotary(batch.positions);
    pass.cos = tables.cos.unsqueeze(2);
    pass.sin = tables.sin.unsqueeze(2);
    if (cache != nullptr) {
        pass.cache = cache->slots;
        const at::Tensor rows = at::tensor(at::ArrayRef<std::int64_t>(batch.rows), at::kLong).to(impl.options().device());
        pass.store = cache->steps->first_store.index_select(0, rows) + batch.positions.view({1, tokens, 1});
    }
    impl.add_masks(pass, batch.positions, tokens);
    return impl.run(batch.tokens, blocks, pass, {hook, batch, {}});
}

namespace {

std::unique_ptr<Recording> record(const Recorder& recorder, const std::function<void()>& work) {
    try {
        return within_memory("recording a decoding step", [&] { return recorder(work); });
    } catch (const Error&) {
        throw;
    } catch (const std::exception& error) {
        const std::string reason = error.what();
        throw InternalError("a decoding step cannot be recorded: " + reason.substr(0, reason.find('\n')) + ". Run with --cuda-graphs off");
    }
}

}  // namespace

at::Tensor DeviceForward::step(std::span<const std::int64_t> tokens, const TokenBatch& batch, KvCache& cache, const SiteHook& hook) const {
    const c10::InferenceMode no_gradients;
    const Impl& impl = *impl_;
    DeviceSteps& steps = *cache.steps;
    const std::int64_t cache_rows = cache.slots.size(2);
    const std::int64_t slots = rounded_rows(*std::max_element(batch.rows.begin(), batch.rows.end()) + 1, cache_rows);
    const std::int64_t keys = rounded_length(*std::max_element(batch.first_position.begin(), batch.first_position.end()) + 1);
    // A row that has nothing to do reads some token and writes where no row ever looks.
    steps.given.select(0, 0).zero_();
    steps.given.select(0, 1).fill_(cache.slots.size(4) - 1);
    auto* given = steps.given.data_ptr<std::int64_t>();
    bool all = static_cast<std::int64_t>(batch.rows.size()) == slots;
    for (std::size_t i = 0; i < batch.rows.size(); ++i) {
        given[batch.rows[i]] = tokens[i];
        given[cache_rows + batch.rows[i]] = batch.first_position[i];
        given[2 * cache_rows + static_cast<std::int64_t>(i)] = batch.rows[i];
        all = all && batch.rows[i] == static_cast<std::int64_t>(i);
    }
    steps.inputs.copy_(steps.given, /*non_blocking=*/true);
    const at::Tensor chosen = all ? at::Tensor() : steps.inputs.select(0, 2).narrow(0, 0, static_cast<std::int64_t>(batch.rows.size()));
    if (hook || !steps.recorder) {
        const at::Tensor logits = impl.step(slots, keys, cache.slots, steps, {hook, batch, chosen});
        return all ? logits : logits.index_select(0, chosen);
    }
    Recorded& recorded = steps.recorded[{slots, keys}];
    if (recorded.recording == nullptr) {
        // What comes out is that of a replay also the first time, so that it never depends on what was recorded before.
        recorded.recording = record(steps.recorder, [&impl, &steps, &recorded, slots, keys, stored = cache.slots] {
            const SiteHook no_hook;
            const TokenBatch no_batch;
            recorded.logits = impl.step(slots, keys, stored, steps, {no_hook, no_batch, {}});
        });
    }
    recorded.recording->replay();
    return all ? recorded.logits.clone() : recorded.logits.index_select(0, chosen);
}

void DeviceForward::copy_prefix(KvCache& cache, std::int64_t from, std::int64_t to, std::int64_t length) const {
    const c10::InferenceMode no_gradients;
    cache.slots.select(2, to).narrow(3, 0, length).copy_(cache.slots.select(2, from).narrow(3, 0, length));
}

at::Tensor DeviceForward::final_norm(const at::Tensor& stream) const {
    const c10::InferenceMode no_gradients;
    return impl_->norm(stream, impl_->last_norm);
}

at::Tensor DeviceForward::unembed(const at::Tensor& normed) const {
    const c10::InferenceMode no_gradients;
    return impl_->unembed(normed);
}

}  // namespace pva::model
