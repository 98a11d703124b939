// The frame of a forward pass: batches, cache, sites of the residual stream.
#include "pva/model/model.h"

#include <algorithm>
#include <numeric>
#include <string>

#include <ATen/ATen.h>

#include "pva/core/error.h"
#include "pva/model/architecture.h"
#include "pva/model/device_forward.h"
#include "pva/model/fast_forward.h"
#include "pva/model/out_of_memory.h"

namespace pva::model {

namespace {

at::Tensor to_tensor(const std::vector<std::int64_t>& values, at::Device device) {
    return at::from_blob(const_cast<std::int64_t*>(values.data()), {static_cast<std::int64_t>(values.size())},
                         at::kLong)
        .clone()
        .to(device);
}

TokenBatch right_padded(std::span<const std::vector<std::int32_t>> rows, const ModelConfig& config,
                        at::Device device) {
    if (rows.empty()) throw InternalError("a forward pass needs at least one row");
    std::size_t longest = 0;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        check_tokens(rows[row], config, "row " + std::to_string(row));
        longest = std::max(longest, rows[row].size());
    }
    TokenBatch batch;
    const auto slots = static_cast<std::int64_t>(rows.size());
    // Padding holds token 0: any valid id will do, because no real token sees a later position.
    at::Tensor padded = at::zeros({slots, static_cast<std::int64_t>(longest)}, at::kLong);
    auto* tokens = padded.data_ptr<std::int64_t>();
    for (std::size_t row = 0; row < rows.size(); ++row) {
        for (std::size_t i = 0; i < rows[row].size(); ++i) {
            tokens[row * longest + i] = rows[row][i];
        }
        batch.rows.push_back(static_cast<std::int64_t>(row));
        batch.first_position.push_back(0);
        batch.valid_tokens.push_back(static_cast<std::int64_t>(rows[row].size()));
    }
    batch.tokens = padded.to(device);
    batch.positions = at::arange(static_cast<std::int64_t>(longest), batch.tokens.options()).unsqueeze(0);
    return batch;
}

}  // namespace

void check_tokens(std::span<const std::int32_t> tokens, const ModelConfig& config, const std::string& which,
                  std::int64_t room) {
    if (tokens.empty()) throw InputError(which + " has no tokens; at least one is needed.");
    const auto length = static_cast<std::int64_t>(tokens.size());
    if (length > config.max_position_embeddings - room) {
        throw InputError(which + " has " + std::to_string(length) + " tokens" +
                         (room > 0 ? " and " + std::to_string(room) + " more to come" : "") +
                         "; the model takes at most " + std::to_string(config.max_position_embeddings) +
                         ". Shorten the text.");
    }
    for (const std::int32_t token : tokens) {
        if (token < 0 || token >= config.vocab_size) {
            throw InputError(which + " holds the token id " + std::to_string(token) + ", but the model has ids 0 to " +
                             std::to_string(config.vocab_size - 1) +
                             ". Take the tokenizer that belongs to the model.");
        }
    }
}

namespace {

FlatBatch flat_batch(std::span<const std::vector<std::int32_t>> rows, const ModelConfig& config) {
    if (rows.empty()) throw InternalError("a forward pass needs at least one row");
    FlatBatch batch;
    batch.first.push_back(0);
    for (std::size_t row = 0; row < rows.size(); ++row) {
        check_tokens(rows[row], config, "row " + std::to_string(row));
        batch.tokens.insert(batch.tokens.end(), rows[row].begin(), rows[row].end());
        batch.first.push_back(static_cast<std::int64_t>(batch.tokens.size()));
        batch.start.push_back(0);
        batch.cache_rows.push_back(static_cast<std::int64_t>(row));
    }
    return batch;
}

}  // namespace

struct Model::Impl {
    ModelConfig config;
    Placement placement;
    std::unique_ptr<Architecture> architecture;
    std::int64_t parameters = 0;
    std::int64_t weight_bytes = 0;

    // Instead of the architecture:
    std::unique_ptr<FastForward> fast;
    std::unique_ptr<DeviceForward> device_pass;

    at::Device device() const { return tensor_options(placement).device(); }

    // For the passes over padded batches. The stream after the first `blocks` blocks, [slots, T, hidden_size].
    at::Tensor run(const TokenBatch& batch, std::int64_t blocks, KvCache* cache, std::int64_t keys,
                   const SiteHook& hook) const;
    at::Tensor forward(std::span<const std::vector<std::int32_t>> rows, const SiteHook& hook) const;
    // Rows after the final norm, shown to the hook with the context of the pass they belong to.
    at::Tensor normed(const at::Tensor& stream, const TokenBatch& batch, const SiteHook& hook) const;
    at::Tensor unembed(const at::Tensor& normed) const {
        return device_pass ? device_pass->unembed(normed) : architecture->unembed(normed);
    }
};

at::Tensor Model::Impl::run(const TokenBatch& batch, std::int64_t blocks, KvCache* cache, std::int64_t keys,
                            const SiteHook& hook) const {
    if (device_pass) return device_pass->run(batch, blocks, cache, hook);
    ForwardPass pass(config, batch, scalar_type(placement.dtype), cache, keys, hook);
    at::Tensor stream = architecture->embed(batch.tokens);
    pass.visit(Site::embedding, 0, stream);
    for (int layer = 0; layer < blocks; ++layer) {
        pass.visit(Site::resid_pre, layer, stream);
        stream = architecture->block(layer, stream, pass);
        pass.visit(Site::resid_post, layer, stream);
    }
    return stream;
}

at::Tensor Model::Impl::normed(const at::Tensor& stream, const TokenBatch& batch, const SiteHook& hook) const {
    at::Tensor rows = device_pass ? device_pass->final_norm(stream) : architecture->final_norm(stream);
    if (hook) show_to_hook(hook, {Site::final_norm, 0, batch.rows, batch.first_position, batch.valid_tokens}, rows);
    return rows;
}

Model::Model(ModelConfig config, Placement placement, std::unique_ptr<Architecture> architecture,
             std::int64_t parameters, std::int64_t weight_bytes)
    : impl_(std::make_unique<Impl>(
          Impl{std::move(config), placement, std::move(architecture), parameters, weight_bytes, nullptr, nullptr})) {}
Model::Model(ModelConfig config, Placement placement, std::unique_ptr<FastForward> fast, std::int64_t parameters)
    : impl_(std::make_unique<Impl>(Impl{std::move(config), placement, nullptr, parameters, fast->weight_bytes(), nullptr, nullptr})) {
    impl_->fast = std::move(fast);
}
Model::Model(ModelConfig config, Placement placement, std::unique_ptr<DeviceForward> device_pass, std::int64_t parameters,
             std::int64_t weight_bytes)
    : impl_(std::make_unique<Impl>(
          Impl{std::move(config), placement, nullptr, parameters, weight_bytes, nullptr, std::move(device_pass)})) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

const ModelConfig& Model::config() const {
    return impl_->config;
}
const Placement& Model::placement() const {
    return impl_->placement;
}
std::int64_t Model::parameters() const {
    return impl_->parameters;
}
std::int64_t Model::weight_bytes() const {
    return impl_->weight_bytes;
}

namespace {

std::string pass_of(std::span<const std::vector<std::int32_t>> rows) {
    std::size_t tokens = 0;
    for (const auto& row : rows) tokens += row.size();
    return "reading " + std::to_string(tokens) + " tokens in " + std::to_string(rows.size()) + (rows.size() == 1 ? " row" : " rows");
}

}  // namespace

at::Tensor Model::forward(std::span<const std::vector<std::int32_t>> rows, const SiteHook& hook) const {
    return within_memory(pass_of(rows), [&] { return impl_->forward(rows, hook); });
}

at::Tensor Model::Impl::forward(std::span<const std::vector<std::int32_t>> rows, const SiteHook& hook) const {
    if (fast) {
        const FlatBatch batch = flat_batch(rows, config);
        const at::Tensor logits = fast->unembed(fast->run(batch, config.num_hidden_layers, true, nullptr, hook));
        if (batch.rows() == 1) return logits.unsqueeze(0);
        at::Tensor padded = at::zeros({batch.rows(), batch.longest(), logits.size(1)}, logits.options());
        for (std::int64_t row = 0; row < batch.rows(); ++row) {
            padded.select(0, row).narrow(0, 0, batch.length(row)).copy_(logits.narrow(0, batch.first[static_cast<std::size_t>(row)], batch.length(row)));
        }
        return padded;
    }
    const TokenBatch batch = right_padded(rows, config, device());
    const at::Tensor stream =
        run(batch, config.num_hidden_layers, nullptr, batch.tokens.size(1), hook);
    return unembed(normed(stream, batch, hook));
}

void Model::run(std::span<const std::vector<std::int32_t>> rows, const Depth& depth, const SiteHook& hook) const {
    if (depth.blocks < 0 || depth.blocks > impl_->config.num_hidden_layers) {
        throw UsageError(std::to_string(depth.blocks) + " blocks are wanted; the model has " +
                         std::to_string(impl_->config.num_hidden_layers) + ".");
    }
    // The final norm reads what the last block leaves, however few blocks are asked for besides it.
    const std::int64_t blocks = depth.final_norm ? impl_->config.num_hidden_layers : depth.blocks;
    within_memory(pass_of(rows), [&] {
        if (impl_->fast) {
            impl_->fast->run(flat_batch(rows, impl_->config), blocks, depth.final_norm, nullptr, hook);
            return;
        }
        const TokenBatch batch = right_padded(rows, impl_->config, impl_->device());
        const at::Tensor stream = impl_->run(batch, blocks, nullptr, batch.tokens.size(1), hook);
        if (depth.final_norm) impl_->normed(stream, batch, hook);
    });
}

KvCache Model::make_cache(std::int64_t rows, std::int64_t max_length) const {
    if (impl_->fast) return impl_->fast->make_cache(rows, max_length);
    if (impl_->device_pass) return impl_->device_pass->make_cache(rows, max_length);
    const ModelConfig& config = impl_->config;
    KvCache cache;
    cache.capacity = max_length;
    // Zeros and not uninitialised memory: a masked entry counts 0 times its value, and 0 times NaN would be NaN.
    cache.slots = at::zeros(
        {config.num_hidden_layers, 2, rows, config.num_key_value_heads, max_length, config.head_dim},
        tensor_options(impl_->placement));
    cache.lengths.assign(static_cast<std::size_t>(rows), 0);
    return cache;
}

at::Tensor Model::prefill(std::span<const std::vector<std::int32_t>> rows, KvCache& cache,
                          const SiteHook& hook) const {
    if (cache.lengths.size() != rows.size() ||
        std::any_of(cache.lengths.begin(), cache.lengths.end(), [](std::int64_t length) { return length != 0; })) {
        throw InternalError("prefill needs an empty cache with as many rows as the batch");
    }
    std::vector<std::int64_t> all(rows.size());
    std::iota(all.begin(), all.end(), std::int64_t{0});
    return prefill(rows, all, cache, hook);
}

at::Tensor Model::prefill(std::span<const std::vector<std::int32_t>> rows, std::span<const std::int64_t> cache_rows,
                          KvCache& cache, const SiteHook& hook) const {
    if (rows.size() != cache_rows.size()) throw InternalError("prefill needs one cache row for each row");
    for (std::size_t row = 0; row < rows.size(); ++row) {
        const auto slot = static_cast<std::size_t>(cache_rows[row]);
        if (slot >= cache.lengths.size() || static_cast<std::int64_t>(rows[row].size()) > cache.capacity) {
            throw InternalError("prefill: row " + std::to_string(row) + " of " + std::to_string(rows[row].size()) +
                                " tokens does not fit cache row " + std::to_string(slot));
        }
    }
    const auto filled = [&] {
        for (std::size_t row = 0; row < rows.size(); ++row)
            cache.lengths[static_cast<std::size_t>(cache_rows[row])] = static_cast<std::int64_t>(rows[row].size());
    };
    if (impl_->fast) {
        FlatBatch batch = flat_batch(rows, impl_->config);
        batch.cache_rows.assign(cache_rows.begin(), cache_rows.end());
        const at::Tensor normed = impl_->fast->run(batch, impl_->config.num_hidden_layers, true, &cache, hook);
        filled();
        std::vector<std::int64_t> last;
        for (std::int64_t row = 0; row < batch.rows(); ++row)
            last.push_back(batch.first[static_cast<std::size_t>(row) + 1] - 1);
        return impl_->fast->unembed(normed.index_select(0, to_tensor(last, at::kCPU)));
    }
    TokenBatch batch = right_padded(rows, impl_->config, impl_->device());
    batch.rows.assign(cache_rows.begin(), cache_rows.end());
    const std::int64_t tokens = batch.tokens.size(1);
    const at::Tensor stream = impl_->run(batch, impl_->config.num_hidden_layers, &cache, tokens, hook);
    filled();
    // Only the last token of each row predicts something new, and the unembedding is the largest matrix.
    const at::Tensor last_tokens = to_tensor(batch.valid_tokens, stream.device()) - 1;
    const at::Tensor normed = impl_->normed(stream, batch, hook);
    const at::Tensor slots = at::arange(normed.size(0), last_tokens.options());
    return impl_->unembed(normed.index({slots, last_tokens}));
}

void Model::copy_prefix(KvCache& cache, std::int64_t from, std::int64_t to, std::int64_t length) const {
    if (from < 0 || to < 0 || std::max(from, to) >= static_cast<std::int64_t>(cache.lengths.size()) || length < 0 ||
        length > cache.lengths[static_cast<std::size_t>(from)]) {
        throw InternalError("copy_prefix: cache row " + std::to_string(from) + " does not hold " + std::to_string(length) +
                            " tokens, or there is no row " + std::to_string(to));
    }
    if (from != to) {
        if (impl_->fast) {
            impl_->fast->copy_prefix(cache, from, to, length);
        } else if (impl_->device_pass) {
            impl_->device_pass->copy_prefix(cache, from, to, length);
        } else {
            cache.slots.select(2, to).narrow(3, 0, length).copy_(cache.slots.select(2, from).narrow(3, 0, length));
        }
    }
    cache.lengths[static_cast<std::size_t>(to)] = length;
}

void Model::shorten(KvCache& cache, std::int64_t row, std::int64_t length) {
    std::int64_t& now = cache.lengths.at(static_cast<std::size_t>(row));
    if (length < 0 || length > now) throw InternalError("shorten: a cache row holds " + std::to_string(now) + " tokens");
    now = length;
}

at::Tensor Model::decode_step(std::span<const std::int32_t> tokens, std::span<const std::int64_t> active_rows,
                              KvCache& cache, const SiteHook& hook) const {
    const std::size_t slots = active_rows.size();
    if (slots == 0 || tokens.size() != slots)
        throw InternalError("decode_step needs one token for each of at least one active row");
    TokenBatch batch;
    batch.whole_rows = false;
    std::vector<std::int64_t> new_tokens;
    std::int64_t keys = 0;
    for (std::size_t slot = 0; slot < slots; ++slot) {
        const auto row = static_cast<std::size_t>(active_rows[slot]);
        if (row >= cache.lengths.size())
            throw InternalError("decode_step: row " + std::to_string(row) + " is not in the cache");
        const std::int64_t position = cache.lengths[row];
        if (position == 0) throw InternalError("decode_step: row " + std::to_string(row) + " has not been prefilled");
        if (position >= cache.capacity || position >= impl_->config.max_position_embeddings) {
            throw InternalError("decode_step: the cache of row " + std::to_string(row) + " is full");
        }
        check_tokens(tokens.subspan(slot, 1), impl_->config, "row " + std::to_string(row));
        new_tokens.push_back(tokens[slot]);
        batch.rows.push_back(active_rows[slot]);
        batch.first_position.push_back(position);
        batch.valid_tokens.push_back(1);
        keys = std::max(keys, position + 1);
    }
    if (impl_->fast) {
        FlatBatch flat;
        flat.tokens.assign(tokens.begin(), tokens.end());
        for (std::size_t slot = 0; slot <= slots; ++slot)
            flat.first.push_back(static_cast<std::int64_t>(slot));
        flat.start = batch.first_position;
        flat.cache_rows = batch.rows;
        const at::Tensor normed = impl_->fast->run(flat, impl_->config.num_hidden_layers, true, &cache, hook);
        for (const std::int64_t row : batch.rows)
            cache.lengths[static_cast<std::size_t>(row)] += 1;
        return impl_->fast->unembed(normed);
    }
    if (impl_->device_pass) {
        const at::Tensor logits = impl_->device_pass->step(new_tokens, batch, cache, hook);
        for (const std::int64_t row : batch.rows)
            cache.lengths[static_cast<std::size_t>(row)] += 1;
        return logits;
    }
    batch.tokens = to_tensor(new_tokens, impl_->device()).unsqueeze(1);
    batch.positions = to_tensor(batch.first_position, impl_->device()).unsqueeze(1);
    const at::Tensor stream = impl_->run(batch, impl_->config.num_hidden_layers, &cache, keys, hook);
    for (const std::int64_t row : batch.rows)
        cache.lengths[static_cast<std::size_t>(row)] += 1;
    return impl_->architecture->unembed(impl_->normed(stream, batch, hook).squeeze(1));
}

}  // namespace pva::model
