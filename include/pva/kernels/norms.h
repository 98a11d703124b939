// RMSNorm and LayerNorm.
#pragma once

#include <cstdint>

#include "pva/kernels/rows.h"
#include "pva/kernels/thread_pool.h"

namespace pva::kernels {

/// All norms: x and y [rows, width], y may be x; weight and bias [width] float32. Sums over a row go to 32 partial
/// sums, number i to sum i % 32 in ascending order, which are added pairwise at distances 16, 8, 4, 2, 1; so a row's
/// bits depend on that row alone. Reciprocal roots are 1 / sqrt, each rounded exactly.

/// Gemma's RMSNorm: y = (x * r) * (1 + weight), r = 1 / sqrt(mean(x^2) + eps); the squares are added by fused
/// multiply-add.
void rms_norm_gemma(const ThreadPool& pool, std::int64_t rows, std::int64_t width, ConstRows x, const float* weight,
                    float eps, Rows y);

/// Llama's RMSNorm: y = weight * (x * r), r as above.
void rms_norm_llama(const ThreadPool& pool, std::int64_t rows, std::int64_t width, ConstRows x, const float* weight,
                    float eps, Rows y);

/// LayerNorm: y = ((x - mean) * r) * weight + bias, r = 1 / sqrt(mean((x - mean)^2) + eps), the mean first, then the
/// squares. `bias` may be null.
void layer_norm(const ThreadPool& pool, std::int64_t rows, std::int64_t width, ConstRows x, const float* weight,
                const float* bias, float eps, Rows y);

}  // namespace pva::kernels
