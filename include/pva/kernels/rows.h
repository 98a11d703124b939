// Rows of float32 in memory: row r at data + r * stride.
#pragma once

#include <cstdint>

namespace pva::kernels {

struct ConstRows {
    const float* data = nullptr;
    std::int64_t stride = 0;
};

struct Rows {
    float* data = nullptr;
    std::int64_t stride = 0;
};

}  // namespace pva::kernels
