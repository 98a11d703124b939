// The forward pass for GPUs, in tensor operations: projections that read the same rows are one product, and a decoding step reads all its
// indices from device memory, in shapes that depend on a number of rows and a rounded cache length alone. So a step needs one copy of tokens
// and positions to the device and no answer from it, and can be recorded. Runs wherever the tensor library does. For the sources of this room.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <ATen/ATen.h>

#include "pva/model/architecture.h"
#include "pva/model/config.h"
#include "pva/model/decoder.h"
#include "pva/model/kv_cache.h"
#include "pva/model/recording.h"
#include "pva/model/sites.h"
#include "pva/model/weights.h"

namespace pva::model {

/// Weights in the placement's data type and on its device, matrices over the same input one below the other. The same arithmetic as the
/// reference pass but for the order of sums, and fewer roundings in half precision: norms are rounded once, and so are scores. All members
/// work in inference mode.
class DeviceForward {
  public:
    /// Reads all weights; little besides them is held. With `recorders`, decoding steps without a hook are recorded, one recording
    /// for each number of rows and each rounded length that comes up. Errors: InputError as WeightReader has it.
    DeviceForward(const ModelConfig& config, const DecoderDescription& description, WeightReader& weights, RecorderFactory recorders = {});
    ~DeviceForward();

    /// An empty cache, zeros.
    KvCache make_cache(std::int64_t rows, std::int64_t max_length) const;

    /// The stream after the first `blocks` blocks of whole rows, [slots, T, hidden_size]. With a cache, keys and values go into its rows
    /// batch.rows.
    at::Tensor run(const TokenBatch& batch, std::int64_t blocks, KvCache* cache, const SiteHook& hook) const;

    /// Appends tokens[i] to cache row batch.rows[i] at position batch.first_position[i]; of the batch, `rows`, `first_position` and
    /// `valid_tokens` are read. Logits [rows of the batch, vocab_size], in memory of their own. Errors: InternalError when the step cannot
    /// be recorded.
    at::Tensor step(std::span<const std::int64_t> tokens, const TokenBatch& batch, KvCache& cache, const SiteHook& hook) const;

    /// Copies the first positions of one cache row to another.
    void copy_prefix(KvCache& cache, std::int64_t from, std::int64_t to, std::int64_t length) const;

    at::Tensor final_norm(const at::Tensor& stream) const;
    /// Rows after the final norm [..., hidden_size] to logits [..., vocab_size].
    at::Tensor unembed(const at::Tensor& normed) const;

    /// Positions that a step looks at where the longest row has `length`: the next of 64, 128, ... 512, 640, ..., at most a quarter more
    /// than `length` from 256 on.
    static std::int64_t rounded_length(std::int64_t length);
    /// Rows that a step computes where the last busy one is row `rows` - 1: the next power of two, or all of the cache.
    static std::int64_t rounded_rows(std::int64_t rows, std::int64_t cache_rows);
    /// Positions of a cache row in memory: a rounded length with at least one position that no token takes, where rows that have nothing
    /// to do in a step write.
    static std::int64_t room(std::int64_t max_length) { return rounded_length(max_length + 1); }

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace pva::model
