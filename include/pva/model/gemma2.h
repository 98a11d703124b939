// Gemma-2 forward pass in float32 on CPU: whole sequences, prefill of a ragged batch, and single decoding steps.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pva/model/config.h"
#include "pva/model/sites.h"

namespace pva::model {

struct Gemma2Weights;
struct KvCache;

/// A Gemma-2 model. Immutable; const members may be called from several threads. The arithmetic follows Hugging Face's
/// eager float32 code (Gemma Team 2024, arXiv 2408.00118). Rows of a batch are right-padded inside: padding never
/// reaches a real token, but the last bits of a row may depend on the shape of the batch it is in. All passes throw
/// InputError for an empty row, a token id that is not below vocab_size, and a row longer than max_position_embeddings,
/// naming the row.
class Gemma2 {
  public:
    Gemma2(Gemma2Config config, Gemma2Weights weights);
    Gemma2(Gemma2&&) noexcept;
    Gemma2& operator=(Gemma2&&) noexcept;
    ~Gemma2();

    const Gemma2Config& config() const;

    /// Logits at every position, [rows, T, vocab_size] with T the longest row (entries beyond a row's length are
    /// without meaning). Differentiable with respect to a stream that `hook` puts in.
    at::Tensor forward(std::span<const std::vector<std::int32_t>> rows, const SiteHook& hook = {}) const;

    /// Blocks 0 to last_layer only, without logits: what `hook` sees is the result.
    void run_blocks(std::span<const std::vector<std::int32_t>> rows, int last_layer, const SiteHook& hook) const;

    /// Fills an empty cache with as many rows as given and returns the logits at each row's last token, [rows,
    /// vocab_size].
    at::Tensor prefill(std::span<const std::vector<std::int32_t>> rows, KvCache& cache,
                       const SiteHook& hook = {}) const;

    /// Appends one token to each of the active rows and returns the logits after it, [active, vocab_size].
    /// `active_rows` are distinct row indices of the cache, `tokens` one token for each.
    at::Tensor decode_step(std::span<const std::int32_t> tokens, std::span<const std::int64_t> active_rows,
                           KvCache& cache, const SiteHook& hook = {}) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace pva::model
