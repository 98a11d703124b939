// Linear layers.
#pragma once

#include <cstdint>

#include "pva/kernels/packed_matrix.h"
#include "pva/kernels/thread_pool.h"

namespace pva::kernels {

/// Products over k are summed in chains of this many.
inline constexpr std::int64_t chain_length = 256;

/// y[r, n] = sum over k of x[r, k] * w[n, k], plus bias[n] unless `bias` is null.
///
///   x: [rows, w.depth] float32, row r at x + r * x_stride
///   w: packed weights; bfloat16 is widened exactly
///   bias: [w.outputs] float32 or null
///   y: [rows, w.outputs] float32, row r at y + r * y_stride; must not overlap x
///
/// The order of the sum is fixed, so the bits of y[r, n] depend on row r of x, output n of w and bias[n] alone:
///
///     total = chain(0), then total + chain(1), total + chain(2), ..., then + bias,
///     chain(c): s = +0; for k in 256 c .. min(256 c + 256, depth) - 1, ascending: s = fma(x[r, k], w[n, k], s)
void linear(const ThreadPool& pool, const float* x, std::int64_t rows, std::int64_t x_stride, const PackedView& w,
            const float* bias, float* y, std::int64_t y_stride);

}  // namespace pva::kernels
