// One row of a norm, as its vector code sees it.
#pragma once

#include <cstdint>

namespace pva::kernels {

enum class Norm : std::uint8_t { rms_gemma, rms_llama, layer };

struct NormRow {
    Norm norm;
    std::int64_t width;
    const float* x;
    const float* weight;
    const float* bias;
    float eps;
    float* y;
};

}  // namespace pva::kernels
