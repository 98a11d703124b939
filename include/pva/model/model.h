// A language model: whole sequences, prefill of a ragged batch, and single decoding steps.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pva/model/config.h"
#include "pva/model/placement.h"
#include "pva/model/sites.h"

namespace pva::model {

class Architecture;
class DeviceForward;
class FastForward;
struct KvCache;

/// Errors: InputError for no tokens, an id that is not below vocab_size, or more than max_position_embeddings - `room`
/// tokens; `which` ("sequence 3") begins the message.
void check_tokens(std::span<const std::int32_t> tokens, const ModelConfig& config, const std::string& which,
                  std::int64_t room = 0);

/// A loaded model. Immutable; const members may be called from several threads. The arithmetic follows Hugging Face's
/// eager code. With the reference and the device engine the last bits of a row may depend on the shape of the batch it is in; with the
/// fast one they depend on the row alone. Only the reference engine is differentiable. All passes throw InputError for an empty row, a token id that is not below
/// vocab_size, and a row longer than max_position_embeddings, naming the row; forward and run throw OutOfMemory. Tensors that come out have the placement's
/// data type and device; with the fast engine they are float32.
class Model {
  public:
    Model(ModelConfig config, Placement placement, std::unique_ptr<Architecture> architecture, std::int64_t parameters,
          std::int64_t weight_bytes);
    /// The same with the fast forward pass in place of the architecture.
    Model(ModelConfig config, Placement placement, std::unique_ptr<FastForward> fast, std::int64_t parameters);
    /// The same with the forward pass for GPUs.
    Model(ModelConfig config, Placement placement, std::unique_ptr<DeviceForward> device_pass, std::int64_t parameters,
          std::int64_t weight_bytes);
    Model(Model&&) noexcept;
    Model& operator=(Model&&) noexcept;
    ~Model();

    const ModelConfig& config() const;
    const Placement& placement() const;
    std::int64_t parameters() const;    ///< numbers in the weights, tied matrices once
    std::int64_t weight_bytes() const;  ///< bytes of the weights in memory

    /// Logits at every position, [rows, T, vocab_size] with T the longest row (entries beyond a row's length are
    /// without meaning). Differentiable with respect to a stream that `hook` puts in.
    at::Tensor forward(std::span<const std::vector<std::int32_t>> rows, const SiteHook& hook = {}) const;

    /// The embedding, the first `depth.blocks` blocks and, if asked for, the final norm, without logits: what `hook`
    /// sees is the result. Errors: UsageError for more blocks than there are.
    void run(std::span<const std::vector<std::int32_t>> rows, const Depth& depth, const SiteHook& hook) const;

    /// An empty cache: rows * max_length * cache_bytes_per_token bytes (float32 with the fast engine; some more positions with the
    /// device engine).
    KvCache make_cache(std::int64_t rows, std::int64_t max_length) const;

    /// Fills an empty cache with as many rows as given and returns the logits at each row's last token, [rows,
    /// vocab_size].
    at::Tensor prefill(std::span<const std::vector<std::int32_t>> rows, KvCache& cache,
                       const SiteHook& hook = {}) const;

    /// The same for some rows of a cache, whatever stood in them before; `cache_rows` are distinct, one for each row.
    at::Tensor prefill(std::span<const std::vector<std::int32_t>> rows, std::span<const std::int64_t> cache_rows,
                       KvCache& cache, const SiteHook& hook = {}) const;

    /// Makes cache row `to` a copy of the first `length` positions of row `from`, which holds at least as many: texts with
    /// the same beginning share its prefill.
    void copy_prefix(KvCache& cache, std::int64_t from, std::int64_t to, std::int64_t length) const;

    /// Takes tokens off the end of a cache row, so that `length` are left.
    static void shorten(KvCache& cache, std::int64_t row, std::int64_t length);

    /// Appends one token to each of the active rows and returns the logits after it, [active, vocab_size].
    /// `active_rows` are distinct row indices of the cache, `tokens` one token for each.
    at::Tensor decode_step(std::span<const std::int32_t> tokens, std::span<const std::int64_t> active_rows,
                           KvCache& cache, const SiteHook& hook = {}) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace pva::model
