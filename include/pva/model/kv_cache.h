// Keys and values of the tokens seen so far, for generation. For the sources of this room and of `generate`.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "pva/model/config.h"

namespace pva::model {

/// One preallocated slot per row of a batch. Slot entries from lengths[row] on hold nothing that is read.
struct KvCache {
    at::Tensor slots;                   ///< [layers, 2 (keys, values), rows, kv_heads, max_length, head_dim], float32
    std::vector<std::int64_t> lengths;  ///< tokens stored, per row
};

/// An empty cache: rows * max_length * layers * kv_heads * head_dim * 8 bytes.
KvCache make_kv_cache(const Gemma2Config& config, std::int64_t rows, std::int64_t max_length);

}  // namespace pva::model
