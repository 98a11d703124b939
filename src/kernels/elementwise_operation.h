// A piece of one row of an elementwise operation, as its vector code sees it.
#pragma once

#include <cstdint>

#include "pva/kernels/elementwise.h"

namespace pva::kernels {

enum class Operation : std::uint8_t { apply, gated, soft_cap, scale, add, add_scaled };

struct ElementwisePiece {
    Operation operation;
    Function function;
    float number;  // cap or factor
    std::int64_t width;
    const float* a;
    const float* b;  // the second operand; unused ones repeat the first
    float* y;
};

struct RotaryHead {
    std::int64_t half;
    const float* cosine;
    const float* sine;
    float* x;
};

}  // namespace pva::kernels
