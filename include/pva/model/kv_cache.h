// Keys and values of the tokens seen so far, for generation. For the sources of this room and of `generate`.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

namespace pva::model {

/// One preallocated slot per row of a batch. Slot entries from lengths[row] on hold nothing that is read.
struct KvCache {
    at::Tensor slots;                   ///< [layers, 2 (keys, values), rows, kv_heads, max_length, head_dim]
    std::vector<std::int64_t> lengths;  ///< tokens stored, per row
};

}  // namespace pva::model
