// The part of an attention that one task computes.
#pragma once

#include <cstdint>
#include <span>

#include "pva/kernels/attention.h"

namespace pva::kernels {

/// Neighbouring rows of one sequence, and one key head with its query heads.
struct AttentionBlock {
    const AttentionShape* shape;
    std::span<const AttentionRow> rows;
    std::int64_t kv_head;
};

}  // namespace pva::kernels
