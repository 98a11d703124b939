// The part of a linear layer that one task computes.
#pragma once

#include <cstdint>

#include "pva/kernels/packed_matrix.h"

namespace pva::kernels {

/// Rows first_row..last_row-1 of the strips first_strip..last_strip-1. The rest as in linear().
struct LinearBlock {
    const float* x;
    std::int64_t x_stride;
    PackedView w;
    const float* bias;
    float* y;
    std::int64_t y_stride;
    std::int64_t first_row;
    std::int64_t last_row;
    std::int64_t first_strip;
    std::int64_t last_strip;
};

}  // namespace pva::kernels
