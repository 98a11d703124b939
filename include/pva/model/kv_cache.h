// Keys and values of the tokens seen so far, for generation. For the sources of this room and of `generate`.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/ATen.h>

namespace pva::model {

struct DeviceSteps;

/// One preallocated slot per row of a batch. Slot entries from lengths[row] on hold nothing that is read.
struct KvCache {
    at::Tensor slots;                   ///< [layers, 2 (keys, values), rows, kv_heads, max_length, head_dim]; not the fast pass. The device pass
                                        ///< has more positions than max_length (DeviceForward::room)
    at::Tensor keys;                    ///< [layers, rows, numbers] in the layout of kernels::attention; fast pass only
    at::Tensor values;                  ///< the same
    std::shared_ptr<DeviceSteps> steps; ///< what decoding steps of the device pass share; null in the others
    std::int64_t capacity = 0;          ///< max_length
    std::vector<std::int64_t> lengths;  ///< tokens stored, per row
};

}  // namespace pva::model
