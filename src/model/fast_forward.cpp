// The forward pass by the row-invariant kernels.
#include "pva/model/fast_forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <string>

#include "pva/core/error.h"
#include "pva/kernels/attention.h"
#include "pva/kernels/cpu.h"
#include "pva/kernels/elementwise.h"
#include "pva/kernels/linear.h"
#include "pva/kernels/norms.h"
#include "pva/kernels/packed_matrix.h"
#include "pva/kernels/thread_pool.h"
#include "pva/model/reference_ops.h"

namespace pva::model {

namespace {

using kernels::ConstRows;
using kernels::PackedMatrix;
using kernels::Rows;

std::vector<float> to_floats(const at::Tensor& values) {
    if (!values.defined()) return {};
    const at::Tensor plain = values.to(at::kFloat).contiguous();
    return {plain.const_data_ptr<float>(), plain.const_data_ptr<float>() + plain.numel()};
}

const float* or_null(const std::vector<float>& values) {
    return values.empty() ? nullptr : values.data();
}

/// Matrices of the same depth as one product; matrix i begins at output offset[i] of it.
struct Product {
    PackedMatrix packed;
    std::vector<float> bias;  // of all outputs, empty without
    std::vector<std::int64_t> offset;
    std::int64_t outputs = 0;  // with the gaps between the matrices

    std::int64_t bytes() const {
        const kernels::PackedView view = packed.view();
        return static_cast<std::int64_t>(kernels::packed_bytes(view.outputs, view.depth, view.type));
    }
};

kernels::WeightType weight_type(const at::Tensor& weight) {
    if (weight.scalar_type() == at::kFloat) return kernels::WeightType::float32;
    if (weight.scalar_type() == at::kBFloat16) return kernels::WeightType::bfloat16;
    throw InternalError("the fast forward pass packs float32 and bfloat16 weights only");
}

/// Packs and lets go of the matrices.
Product pack(const kernels::ThreadPool& pool, std::vector<Affine*> parts) {
    Product product;
    bool any_bias = false;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        product.offset.push_back(product.outputs);
        const std::int64_t outputs = parts[i]->weight.size(0);
        product.outputs += i + 1 < parts.size() ? kernels::padded_outputs(outputs) : outputs;
        any_bias = any_bias || parts[i]->bias.defined();
    }
    const std::int64_t depth = parts.front()->weight.size(1);
    const kernels::WeightType type = weight_type(parts.front()->weight);
    product.packed = PackedMatrix(product.outputs, depth, type);
    if (any_bias) product.bias.assign(static_cast<std::size_t>(product.outputs), 0.0F);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const at::Tensor weight = parts[i]->weight.contiguous();
        kernels::pack(pool, weight.const_data_ptr(), weight.size(0), depth, depth, type, product.packed.data(),
                      product.offset[i]);
        const std::vector<float> bias = to_floats(parts[i]->bias);
        std::copy(bias.begin(), bias.end(), product.bias.begin() + product.offset[i]);
        *parts[i] = Affine{};
    }
    return product;
}

struct FastNorm {
    NormKind kind = NormKind::llama_rms;
    std::vector<float> weight;
    std::vector<float> bias;
};

FastNorm fast_norm(const Norm& norm) {
    return {norm.kind, to_floats(norm.weight), to_floats(norm.bias)};
}

struct FastLayer {
    FastNorm attention_norm;
    Product qkv;
    Product o;
    std::optional<FastNorm> after_attention;
    FastNorm mlp_norm;
    Product gate_up;  // up alone without a gate
    bool gated = false;
    Product down;
    std::optional<FastNorm> after_mlp;
};

kernels::Function function_of(ActivationKind kind) {
    switch (kind) {
        case ActivationKind::gelu:
            return kernels::Function::gelu_erf;
        case ActivationKind::gelu_tanh:
            return kernels::Function::gelu_tanh;
        case ActivationKind::silu:
            return kernels::Function::silu;
        case ActivationKind::relu:
            return kernels::Function::relu;
    }
    throw InternalError("unknown activation");
}

/// Numbers [rows, width] of one pass, reused for all layers.
struct Buffer {
    at::Tensor memory;
    std::int64_t width = 0;

    Buffer(std::int64_t rows, std::int64_t columns) : memory(at::empty({rows, columns}, at::kFloat)), width(columns) {}
    float* data() const { return memory.data_ptr<float>(); }
    float* row(std::int64_t index) const { return data() + index * width; }
};

}  // namespace

std::int64_t FlatBatch::longest() const {
    std::int64_t most = 0;
    for (std::int64_t row = 0; row < rows(); ++row)
        most = std::max(most, length(row));
    return most;
}

struct FastForward::Impl {
    ModelConfig config;
    kernels::ThreadPool pool;
    bool parallel_residual = false;
    kernels::Function activation = kernels::Function::silu;
    float embedding_scale = 1.0F;
    at::Tensor embedding;  // undefined where it is read from the packed unembedding
    Product unembedding;
    std::vector<FastLayer> layers;
    FastNorm final_norm;
    std::vector<float> frequencies;  // of the rotary embedding
    std::int64_t turned = 0;
    std::int64_t weight_bytes = 0;
    // One pass at a time: the pool is one. cosine and sine grow with the longest position seen, [positions, turned / 2].
    std::mutex busy;
    std::vector<float> cosine;
    std::vector<float> sine;

    Impl(const ModelConfig& model_config, int threads) : config(model_config), pool(threads) {}

    void norm(const FastNorm& norm, std::int64_t rows, const float* x, float* y) const;
    void linear(const Product& product, std::int64_t rows, const float* x, std::int64_t x_stride, float* y,
                std::int64_t y_stride) const;
    void embed(const FlatBatch& batch, float* stream) const;
    void extend_rotary(std::int64_t positions);
    kernels::AttentionShape shape_of(std::int64_t layer, std::int64_t capacity) const;
};

void FastForward::Impl::norm(const FastNorm& norm, std::int64_t rows, const float* x, float* y) const {
    const std::int64_t d = config.hidden_size;
    const ConstRows from{x, d};
    const Rows to{y, d};
    const auto eps = static_cast<float>(config.norm_eps);
    switch (norm.kind) {
        case NormKind::gemma_rms:
            kernels::rms_norm_gemma(pool, rows, d, from, norm.weight.data(), eps, to);
            return;
        case NormKind::llama_rms:
            kernels::rms_norm_llama(pool, rows, d, from, norm.weight.data(), eps, to);
            return;
        case NormKind::layer:
            kernels::layer_norm(pool, rows, d, from, norm.weight.data(), or_null(norm.bias), eps, to);
            return;
    }
}

void FastForward::Impl::linear(const Product& product, std::int64_t rows, const float* x, std::int64_t x_stride,
                               float* y, std::int64_t y_stride) const {
    kernels::linear(pool, x, rows, x_stride, product.packed.view(), or_null(product.bias), y, y_stride);
}

void FastForward::Impl::embed(const FlatBatch& batch, float* stream) const {
    const std::int64_t d = config.hidden_size;
    const kernels::PackedView packed = unembedding.packed.view();
    for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
        const std::int64_t token = batch.tokens[i];
        float* row = stream + static_cast<std::int64_t>(i) * d;
        if (embedding.defined()) {
            const at::Tensor values = embedding.select(0, token).to(at::kFloat).contiguous();
            std::copy_n(values.const_data_ptr<float>(), d, row);
        } else {
            const std::int64_t begin = token / kernels::strip_width * d * kernels::strip_width + token % kernels::strip_width;
            for (std::int64_t k = 0; k < d; ++k) {
                const std::int64_t at = begin + k * kernels::strip_width;
                if (packed.type == kernels::WeightType::float32) {
                    row[k] = static_cast<const float*>(packed.data)[at];
                } else {
                    const std::uint32_t bits = static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(packed.data)[at]) << 16;
                    std::memcpy(&row[k], &bits, sizeof bits);
                }
            }
        }
        for (std::int64_t k = 0; k < d; ++k)
            row[k] *= embedding_scale;
    }
}

void FastForward::Impl::extend_rotary(std::int64_t positions) {
    const auto half = static_cast<std::int64_t>(frequencies.size());
    const auto have = half > 0 ? static_cast<std::int64_t>(cosine.size()) / half : positions;
    // Angles in float32 as the reference has them; cos and sin in double and rounded once, so that they do not depend on how
    // many are computed together.
    for (std::int64_t position = have; position < positions; ++position) {
        for (const float frequency : frequencies) {
            const float angle = static_cast<float>(position) * frequency;
            cosine.push_back(static_cast<float>(std::cos(static_cast<double>(angle))));
            sine.push_back(static_cast<float>(std::sin(static_cast<double>(angle))));
        }
    }
}

kernels::AttentionShape FastForward::Impl::shape_of(std::int64_t layer, std::int64_t capacity) const {
    kernels::AttentionShape shape;
    shape.heads = config.num_attention_heads;
    shape.kv_heads = config.num_key_value_heads;
    shape.head_dim = config.head_dim;
    shape.capacity = capacity;
    shape.window = config.windows[static_cast<std::size_t>(layer)];
    shape.scale = static_cast<float>(config.attention_scale);
    shape.soft_cap = static_cast<float>(config.attn_logit_softcapping.value_or(0.0));
    return shape;
}

FastForward::FastForward(const ModelConfig& config, DecoderDescription description, int threads)
    : impl_(std::make_unique<Impl>(config, threads)) {
    kernels::require_supported_cpu();
    Impl& impl = *impl_;
    impl.parallel_residual = description.parallel_residual;
    impl.activation = function_of(description.activation);
    impl.final_norm = fast_norm(description.final_norm);
    impl.turned = turned_channels(config.rotary);
    impl.frequencies = to_floats(rotary_frequencies(config.rotary, at::TensorOptions().dtype(at::kFloat)));
    const at::Tensor scale = at::full({}, description.embedding_scale, description.embedding.options());
    impl.embedding_scale = scale.to(at::kFloat).item<float>();

    const bool tied = description.unembedding.is_same(description.embedding);
    if (!tied) {
        impl.embedding = description.embedding;
        impl.weight_bytes += impl.embedding.numel() * static_cast<std::int64_t>(impl.embedding.element_size());
    }
    description.embedding.reset();
    Affine unembedding{std::move(description.unembedding), {}};
    impl.unembedding = pack(impl.pool, {&unembedding});
    impl.weight_bytes += impl.unembedding.bytes();
    for (DecoderLayer& layer : description.layers) {
        FastLayer fast;
        fast.attention_norm = fast_norm(layer.attention_norm);
        fast.qkv = pack(impl.pool, {&layer.q, &layer.k, &layer.v});
        fast.o = pack(impl.pool, {&layer.o});
        if (layer.after_attention) fast.after_attention = fast_norm(*layer.after_attention);
        fast.mlp_norm = fast_norm(layer.mlp_norm);
        fast.gated = layer.gate.weight.defined();
        fast.gate_up = fast.gated ? pack(impl.pool, {&layer.gate, &layer.up}) : pack(impl.pool, {&layer.up});
        fast.down = pack(impl.pool, {&layer.down});
        if (layer.after_mlp) fast.after_mlp = fast_norm(*layer.after_mlp);
        for (const Product* product : {&fast.qkv, &fast.o, &fast.gate_up, &fast.down})
            impl.weight_bytes += product->bytes();
        impl.layers.push_back(std::move(fast));
    }
}

FastForward::~FastForward() = default;

KvCache FastForward::make_cache(std::int64_t rows, std::int64_t max_length) const {
    const kernels::AttentionShape shape = impl_->shape_of(0, max_length);
    KvCache cache;
    cache.capacity = max_length;
    cache.keys = at::empty({impl_->config.num_hidden_layers, rows, static_cast<std::int64_t>(key_cache_size(shape))}, at::kFloat);
    cache.values = at::empty({impl_->config.num_hidden_layers, rows, static_cast<std::int64_t>(value_cache_size(shape))}, at::kFloat);
    cache.lengths.assign(static_cast<std::size_t>(rows), 0);
    return cache;
}

std::int64_t FastForward::weight_bytes() const {
    return impl_->weight_bytes;
}

namespace {

/// Shows sites to the hook as the padded tensors it expects, and takes replaced residual streams back.
class Visitor {
  public:
    Visitor(const FlatBatch& batch, const SiteHook& hook) : batch_(batch), hook_(hook) {
        for (std::int64_t row = 0; row < batch.rows(); ++row)
            lengths_.push_back(batch.length(row));
    }

    void visit(Site site, int layer, float* data, std::int64_t width) const {
        if (!hook_) return;
        const std::int64_t longest = batch_.longest();
        at::Tensor padded = at::zeros({batch_.rows(), longest, width}, at::kFloat);
        for (std::int64_t row = 0; row < batch_.rows(); ++row) {
            std::copy_n(data + batch_.first[static_cast<std::size_t>(row)] * width, batch_.length(row) * width,
                        padded.data_ptr<float>() + row * longest * width);
        }
        at::Tensor shown = padded;
        hook_({site, layer, batch_.cache_rows, batch_.start, lengths_}, shown);
        if (shown.defined() && shown.is_same(padded)) return;
        if (!site_is_residual(site)) {
            throw InternalError("a hook replaced the values at " + std::string(site_name(site)) +
                                ", but only the residual stream can be changed");
        }
        if (!shown.defined() || shown.sizes() != padded.sizes() || shown.scalar_type() != at::kFloat) {
            throw InternalError("a hook replaced " + std::string(site_name(site)) + " of layer " +
                                std::to_string(layer) + " by a tensor of another shape or type");
        }
        const at::Tensor plain = shown.contiguous();
        for (std::int64_t row = 0; row < batch_.rows(); ++row) {
            std::copy_n(plain.const_data_ptr<float>() + row * longest * width, batch_.length(row) * width,
                        data + batch_.first[static_cast<std::size_t>(row)] * width);
        }
    }

  private:
    const FlatBatch& batch_;
    const SiteHook& hook_;
    std::vector<std::int64_t> lengths_;
};

}  // namespace

at::Tensor FastForward::run(const FlatBatch& batch, std::int64_t blocks, bool final_norm, KvCache* cache,
                            const SiteHook& hook) const {
    Impl& impl = *impl_;
    const std::scoped_lock one_pass(impl.busy);
    const ModelConfig& config = impl.config;
    const kernels::ThreadPool& pool = impl.pool;
    const auto n = static_cast<std::int64_t>(batch.tokens.size());
    const std::int64_t d = config.hidden_size;
    const std::int64_t z_width = config.num_attention_heads * config.head_dim;
    const Visitor visitor(batch, hook);

    std::int64_t positions = 0;
    std::vector<std::int64_t> row_of(static_cast<std::size_t>(n));
    std::vector<std::int64_t> position_of(static_cast<std::size_t>(n));
    for (std::int64_t row = 0; row < batch.rows(); ++row) {
        const auto r = static_cast<std::size_t>(row);
        positions = std::max(positions, batch.start[r] + batch.length(row));
        for (std::int64_t i = 0; i < batch.length(row); ++i) {
            row_of[static_cast<std::size_t>(batch.first[r] + i)] = row;
            position_of[static_cast<std::size_t>(batch.first[r] + i)] = batch.start[r] + i;
        }
    }
    impl.extend_rotary(positions);
    const std::int64_t half = impl.turned / 2;
    Buffer cosine(n, half);
    Buffer sine(n, half);
    for (std::int64_t i = 0; i < n; ++i) {
        std::copy_n(impl.cosine.data() + position_of[static_cast<std::size_t>(i)] * half, half, cosine.row(i));
        std::copy_n(impl.sine.data() + position_of[static_cast<std::size_t>(i)] * half, half, sine.row(i));
    }

    // Without a cache, keys and values of one layer at a time, in memory that all layers share.
    KvCache own;
    const bool cached = cache != nullptr;
    if (!cached) {
        own.capacity = batch.longest();
        const kernels::AttentionShape shape = impl.shape_of(0, own.capacity);
        own.keys = at::empty({1, batch.rows(), static_cast<std::int64_t>(key_cache_size(shape))}, at::kFloat);
        own.values = at::empty({1, batch.rows(), static_cast<std::int64_t>(value_cache_size(shape))}, at::kFloat);
    }
    const KvCache& used = cached ? *cache : own;

    Buffer stream(n, d);
    Buffer normed(n, d);
    Buffer added(n, d);
    Buffer z(n, z_width);
    const FastLayer* widest = impl.layers.empty() ? nullptr : &impl.layers.front();
    Buffer qkv(n, widest != nullptr ? widest->qkv.outputs : 1);
    Buffer inner(n, widest != nullptr ? widest->gate_up.outputs : 1);
    Buffer attention_part(impl.parallel_residual ? n : 0, d);
    std::vector<kernels::AttentionRow> attending(static_cast<std::size_t>(n));

    impl.embed(batch, stream.data());
    visitor.visit(Site::embedding, 0, stream.data(), d);
    for (std::int64_t layer = 0; layer < blocks; ++layer) {
        const FastLayer& w = impl.layers[static_cast<std::size_t>(layer)];
        const int number = static_cast<int>(layer);
        visitor.visit(Site::resid_pre, number, stream.data(), d);

        impl.norm(w.attention_norm, n, stream.data(), normed.data());
        impl.linear(w.qkv, n, normed.data(), d, qkv.data(), qkv.width);
        float* q = qkv.data() + w.qkv.offset[0];
        float* k = qkv.data() + w.qkv.offset[1];
        const float* v = qkv.data() + w.qkv.offset[2];
        kernels::rotary(pool, n, config.num_attention_heads, config.head_dim, impl.turned, {cosine.data(), half},
                        {sine.data(), half}, {q, qkv.width});
        kernels::rotary(pool, n, config.num_key_value_heads, config.head_dim, impl.turned, {cosine.data(), half},
                        {sine.data(), half}, {k, qkv.width});
        const kernels::AttentionShape shape = impl.shape_of(layer, used.capacity);
        const std::int64_t cache_layer = cached ? layer : 0;
        float* layer_keys = used.keys.select(0, cache_layer).data_ptr<float>();
        float* layer_values = used.values.select(0, cache_layer).data_ptr<float>();
        pool.run(n, [&](std::int64_t i) {
            const auto at = static_cast<std::size_t>(i);
            const std::int64_t row = row_of[at];
            const std::int64_t slot = cached ? batch.cache_rows[static_cast<std::size_t>(row)] : row;
            float* keys = layer_keys + slot * used.keys.size(2);
            float* values = layer_values + slot * used.values.size(2);
            kernels::store_key_value(shape, k + i * qkv.width, v + i * qkv.width, position_of[at], keys, values);
            attending[at] = {q + i * qkv.width, keys, values, position_of[at], z.row(i)};
        });
        kernels::attention(pool, shape, attending);
        visitor.visit(Site::z, number, z.data(), z_width);

        impl.linear(w.o, n, z.data(), z_width, added.data(), d);
        if (w.after_attention) impl.norm(*w.after_attention, n, added.data(), added.data());
        visitor.visit(Site::attn_out, number, added.data(), d);
        if (impl.parallel_residual) {
            std::copy_n(added.data(), n * d, attention_part.data());
        } else {
            kernels::add(pool, n, d, {stream.data(), d}, {added.data(), d}, {stream.data(), d});
            if (config.has_resid_mid) visitor.visit(Site::resid_mid, number, stream.data(), d);
        }

        impl.norm(w.mlp_norm, n, stream.data(), normed.data());
        impl.linear(w.gate_up, n, normed.data(), d, inner.data(), inner.width);
        const std::int64_t ff = config.intermediate_size;
        if (w.gated) {
            kernels::apply_gated(pool, impl.activation, n, ff, {inner.data(), inner.width},
                                 {inner.data() + w.gate_up.offset[1], inner.width}, {inner.data(), inner.width});
        } else {
            kernels::apply(pool, impl.activation, n, ff, {inner.data(), inner.width}, {inner.data(), inner.width});
        }
        impl.linear(w.down, n, inner.data(), inner.width, added.data(), d);
        if (w.after_mlp) impl.norm(*w.after_mlp, n, added.data(), added.data());
        visitor.visit(Site::mlp_out, number, added.data(), d);
        if (impl.parallel_residual)
            kernels::add(pool, n, d, {added.data(), d}, {attention_part.data(), d}, {added.data(), d});
        kernels::add(pool, n, d, {stream.data(), d}, {added.data(), d}, {stream.data(), d});
        visitor.visit(Site::resid_post, number, stream.data(), d);
    }
    if (!final_norm) return stream.memory;
    impl.norm(impl.final_norm, n, stream.data(), normed.data());
    visitor.visit(Site::final_norm, 0, normed.data(), d);
    return normed.memory;
}

at::Tensor FastForward::unembed(const at::Tensor& normed) const {
    const std::scoped_lock one_pass(impl_->busy);
    const at::Tensor rows = normed.contiguous();
    const std::int64_t n = rows.size(0);
    const std::int64_t vocab = impl_->config.vocab_size;
    at::Tensor logits = at::empty({n, vocab}, at::kFloat);
    float* data = logits.data_ptr<float>();
    impl_->linear(impl_->unembedding, n, rows.const_data_ptr<float>(), rows.size(1), data, vocab);
    if (impl_->config.final_logit_softcapping) {
        kernels::soft_cap(impl_->pool, static_cast<float>(*impl_->config.final_logit_softcapping), n, vocab, {data, vocab},
                          {data, vocab});
    }
    return logits;
}

}  // namespace pva::model
