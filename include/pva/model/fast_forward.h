// The fast forward pass on CPU: packed weights, row-invariant kernels, ragged batches without padding. A token's bits depend
// on the tokens before it in its own row alone. For the sources of this room.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/ATen.h>

#include "pva/model/config.h"
#include "pva/model/decoder.h"
#include "pva/model/kv_cache.h"
#include "pva/model/sites.h"

namespace pva::model {

/// Tokens of one pass, row after row. Row r of the batch has tokens first[r] to first[r + 1] - 1 of `tokens`, at positions
/// start[r], start[r] + 1, ... of cache row cache_rows[r].
struct FlatBatch {
    std::vector<std::int32_t> tokens;
    std::vector<std::int64_t> first;
    std::vector<std::int64_t> start;
    std::vector<std::int64_t> cache_rows;

    std::int64_t rows() const { return static_cast<std::int64_t>(start.size()); }
    std::int64_t length(std::int64_t row) const {
        return first[static_cast<std::size_t>(row) + 1] - first[static_cast<std::size_t>(row)];
    }
    std::int64_t longest() const;
};

/// Weights packed for the kernels, float32 or bfloat16; activations are float32 in both.
class FastForward {
  public:
    /// Packs the weights layer by layer and lets go of each as it is packed. `threads`: of the pool that computes.
    FastForward(const ModelConfig& config, DecoderDescription description, int threads);
    ~FastForward();

    /// An empty cache of its own layout.
    KvCache make_cache(std::int64_t rows, std::int64_t max_length) const;

    /// Rows after the final norm, float32 [tokens, hidden_size]; without `final_norm` the stream after the first `blocks`
    /// blocks. With a cache, keys and values go into its rows, which must hold start[r] tokens.
    at::Tensor run(const FlatBatch& batch, std::int64_t blocks, bool final_norm, KvCache* cache,
                   const SiteHook& hook) const;

    /// Logits of rows after the final norm: float32 [n, hidden_size] to [n, vocab_size].
    at::Tensor unembed(const at::Tensor& normed) const;

    /// Bytes of the packed weights.
    std::int64_t weight_bytes() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace pva::model
