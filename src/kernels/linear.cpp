// Linear layers as fixed chains of fused multiply-adds.
#include "pva/kernels/linear.h"

#include <algorithm>
#include <cmath>

#include "kernels/linear_block.h"
#include "kernels/vector_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/linear.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pva::kernels::HWY_NAMESPACE {

// Each needs those before it.
// clang-format off
#include "kernels/vector.inc"
#include "kernels/tile.inc"
// clang-format on

// Up to these, weights are read strip by strip, in the order in which they lie in memory. With more rows, strips share
// the part of x that one chain needs.
inline constexpr std::int64_t most_streaming_rows = 32;

// Weights of one chain as float32, for rows enough to use them several times.
HWY_INLINE void widen(const std::uint16_t* w, std::int64_t count, float* wide) {
    for (std::int64_t i = 0; i < count; i += lanes)
        hn::Store(load_weights(w + i), FloatTag(), wide + i);
}

template <typename Weight>
void block_of(const LinearBlock& block, const Weight* weights) {
    constexpr std::int64_t most_widened = chain_length * strip_width;
    alignas(64) float widened[sizeof(Weight) == 2 ? most_widened : 1];
    const std::int64_t rows = block.last_row - block.first_row;
    const std::int64_t depth = block.w.depth;
    const float* x = block.x + block.first_row * block.x_stride;
    const auto panel = [&](std::int64_t strip, std::int64_t k)
                           HWY_ATTR { return weights + strip * strip_width * depth + k * strip_width; };
    const auto one_chain = [&](std::int64_t strip, std::int64_t k, const Weight* next) HWY_ATTR {
        const std::int64_t count = std::min(chain_length, depth - k);
        const std::int64_t output = strip * strip_width;
        const Weight* w = panel(strip, k);
        const float* bias = k + count == depth && block.bias != nullptr ? block.bias + output : nullptr;
        float* y = block.y + block.first_row * block.y_stride + output;
        const Sums sums = k > 0 ? Sums::add : Sums::store;
        const std::int64_t bytes = count * strip_width * static_cast<std::int64_t>(sizeof(Weight));
        if constexpr (sizeof(Weight) == 2) {
            if (rows > 4 * most_rows) {
                widen(w, count * strip_width, widened);
                strip_chain<float>(
                    {x + k, block.x_stride, rows, widened, count, y, block.y_stride, sums, bias, next, bytes});
                return;
            }
        }
        strip_chain<Weight>({x + k, block.x_stride, rows, w, count, y, block.y_stride, sums, bias, next, bytes});
    };
    if (rows <= most_streaming_rows) {
        for (std::int64_t strip = block.first_strip; strip < block.last_strip; ++strip) {
            // Strips lie one behind the other, so what is fetched always runs one whole chain ahead, however short the last
            // chain of a strip is.
            for (std::int64_t k = 0; k < depth; k += chain_length)
                one_chain(strip, k, panel(strip, k) + chain_length * strip_width);
        }
    } else {
        for (std::int64_t k = 0; k < depth; k += chain_length) {
            for (std::int64_t strip = block.first_strip; strip < block.last_strip; ++strip)
                one_chain(strip, k,
                          strip + 1 < block.last_strip ? panel(strip + 1, k)
                          : k + chain_length < depth   ? panel(block.first_strip, k + chain_length)
                                                       : panel(block.last_strip, 0));
        }
    }
}

void linear_block(const LinearBlock& block) {
    if (block.w.type == WeightType::bfloat16) {
        block_of(block, static_cast<const std::uint16_t*>(block.w.data));
    } else {
        block_of(block, static_cast<const float*>(block.w.data));
    }
}

}  // namespace pva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace pva::kernels {

namespace {

HWY_EXPORT(linear_block);

// A strip of which only some outputs exist is computed in memory of its own.
void partial_strip(LinearBlock block) {
    constexpr std::int64_t most_rows = 64;
    float y[most_rows * strip_width];
    float bias[strip_width] = {};
    const std::int64_t first_output = block.first_strip * strip_width;
    const std::int64_t present = block.w.outputs - first_output;
    const float* whole_bias = block.bias;
    float* whole_y = block.y;
    if (whole_bias != nullptr) std::copy_n(whole_bias + first_output, present, bias);
    const std::int64_t last_row = block.last_row;
    for (std::int64_t row = block.first_row; row < last_row; row += most_rows) {
        LinearBlock part = block;
        part.first_row = 0;
        part.last_row = std::min(most_rows, last_row - row);
        part.x = block.x + row * block.x_stride;
        part.w.data = static_cast<const char*>(block.w.data) + packed_bytes(first_output, block.w.depth, block.w.type);
        part.first_strip = 0;
        part.last_strip = 1;
        part.bias = whole_bias == nullptr ? nullptr : bias;
        part.y = y;
        part.y_stride = strip_width;
        HWY_DYNAMIC_DISPATCH(linear_block)(part);
        for (std::int64_t r = 0; r < part.last_row; ++r)
            std::copy_n(y + r * strip_width, present, whole_y + (row + r) * block.y_stride + first_output);
    }
}

}  // namespace

void linear(const ThreadPool& pool, const float* x, std::int64_t rows, std::int64_t x_stride, const PackedView& w,
            const float* bias, float* y, std::int64_t y_stride) {
    if (rows <= 0 || w.outputs <= 0) return;
    const std::int64_t strips = padded_outputs(w.outputs) / strip_width;
    const std::int64_t whole_strips = w.outputs / strip_width;
    if (w.depth <= 0) {
        for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t n = 0; n < w.outputs; ++n)
                y[r * y_stride + n] = bias == nullptr ? 0.0F : bias[n];
        }
        return;
    }
    // A task's rows with one chain of x, its y, and one chain of its strips fit the second-level cache together.
    constexpr std::int64_t most_block_rows = 192;
    const std::int64_t row_blocks = (rows + most_block_rows - 1) / most_block_rows;
    // A few tasks for each thread, none so small that handing it out costs more than computing it.
    const std::int64_t products_of_strip = std::max<std::int64_t>(rows / row_blocks, 1) * w.depth * strip_width;
    const std::int64_t smallest = std::max<std::int64_t>(1, 100'000 / products_of_strip);
    const std::int64_t fair = strips * row_blocks / (std::int64_t{4} * pool.threads());
    const std::int64_t strips_of_task = pool.threads() == 1 && row_blocks == 1 && rows <= 32
                                            ? strips
                                            : std::min<std::int64_t>(std::max(smallest, fair), 4);
    const std::int64_t strip_groups = (strips + strips_of_task - 1) / strips_of_task;
    pool.run(row_blocks * strip_groups, [&](std::int64_t task) {
        const std::int64_t row_block = task % row_blocks;
        const std::int64_t group = task / row_blocks;
        LinearBlock block{x, x_stride, w, bias, y, y_stride, 0, 0, 0, 0};
        block.first_row = rows * row_block / row_blocks;
        block.last_row = rows * (row_block + 1) / row_blocks;
        block.first_strip = group * strips_of_task;
        block.last_strip = std::min(block.first_strip + strips_of_task, strips);
        const bool partial = block.last_strip > whole_strips;
        if (partial) --block.last_strip;
        if (block.first_strip < block.last_strip) HWY_DYNAMIC_DISPATCH(linear_block)(block);
        if (partial) {
            block.first_strip = whole_strips;
            block.last_strip = strips;
            partial_strip(block);
        }
    });
}

}  // namespace pva::kernels

#endif
