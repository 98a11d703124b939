// RMSNorm and LayerNorm.
#include "pva/kernels/norms.h"

#include <algorithm>
#include <cmath>

#include "kernels/norm_row.h"
#include "kernels/vector_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norms.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pva::kernels::HWY_NAMESPACE {

// Each needs those before it.
// clang-format off
#include "kernels/vector.inc"
#include "kernels/math.inc"
#include "kernels/partial_sums.inc"
// clang-format on

struct Sum {
    HWY_INLINE FloatVector operator()(FloatVector x, FloatVector sum) const { return hn::Add(sum, x); }
};

struct SquareSum {
    HWY_INLINE FloatVector operator()(FloatVector x, FloatVector sum) const { return fused(x, x, sum); }
};

struct CentredSquareSum {
    FloatVector mean;
    HWY_INLINE FloatVector operator()(FloatVector x, FloatVector sum) const {
        const FloatVector centred = hn::Sub(x, mean);
        return fused(centred, centred, sum);
    }
};

HWY_INLINE FloatVector scaled(const NormRow& row, FloatVector x, FloatVector mean, FloatVector r, FloatVector weight,
                              FloatVector bias) {
    switch (row.norm) {
        case Norm::rms_gemma:
            return hn::Mul(hn::Mul(x, r), hn::Add(constant(1.0F), weight));
        case Norm::rms_llama:
            return hn::Mul(weight, hn::Mul(x, r));
        default:
            return hn::Add(hn::Mul(hn::Mul(hn::Sub(x, mean), r), weight), bias);
    }
}

void norm_row(const NormRow& row) {
    const FloatTag tag;
    const float width = static_cast<float>(row.width);
    float mean = 0.0F;
    float squares = 0.0F;
    if (row.norm == Norm::layer) {
        mean = sum_over(row.x, row.width, Sum()) / width;
        squares = sum_over(row.x, row.width, CentredSquareSum{constant(mean)});
    } else {
        squares = sum_over(row.x, row.width, SquareSum());
    }
    const FloatVector r = constant(1.0F / std::sqrt(squares / width + row.eps));
    std::int64_t i = 0;
    for (; i + lanes <= row.width; i += lanes) {
        const FloatVector bias = row.bias == nullptr ? hn::Zero(tag) : hn::LoadU(tag, row.bias + i);
        hn::StoreU(scaled(row, hn::LoadU(tag, row.x + i), constant(mean), r, hn::LoadU(tag, row.weight + i), bias), tag,
                   row.y + i);
    }
    if (const std::int64_t left = row.width - i; left > 0) {
        const FloatVector bias = row.bias == nullptr ? hn::Zero(tag) : load_first(row.bias + i, left);
        store_first(scaled(row, load_first(row.x + i, left), constant(mean), r, load_first(row.weight + i, left), bias),
                    row.y + i, left);
    }
}

}  // namespace pva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace pva::kernels {

namespace {

HWY_EXPORT(norm_row);

void norm_rows(const ThreadPool& pool, std::int64_t rows, ConstRows x, Rows y, const NormRow& common) {
    if (rows <= 0 || common.width <= 0) return;
    // Rows of one task: enough numbers to be worth handing out.
    const std::int64_t group = std::max<std::int64_t>(1, 8192 / common.width);
    pool.run((rows + group - 1) / group, [&](std::int64_t task) {
        NormRow row = common;
        for (std::int64_t r = task * group; r < std::min(rows, (task + 1) * group); ++r) {
            row.x = x.data + r * x.stride;
            row.y = y.data + r * y.stride;
            HWY_DYNAMIC_DISPATCH(norm_row)(row);
        }
    });
}

}  // namespace

void rms_norm_gemma(const ThreadPool& pool, std::int64_t rows, std::int64_t width, ConstRows x, const float* weight,
                    float eps, Rows y) {
    norm_rows(pool, rows, x, y, {Norm::rms_gemma, width, nullptr, weight, nullptr, eps, nullptr});
}

void rms_norm_llama(const ThreadPool& pool, std::int64_t rows, std::int64_t width, ConstRows x, const float* weight,
                    float eps, Rows y) {
    norm_rows(pool, rows, x, y, {Norm::rms_llama, width, nullptr, weight, nullptr, eps, nullptr});
}

void layer_norm(const ThreadPool& pool, std::int64_t rows, std::int64_t width, ConstRows x, const float* weight,
                const float* bias, float eps, Rows y) {
    norm_rows(pool, rows, x, y, {Norm::layer, width, nullptr, weight, bias, eps, nullptr});
}

}  // namespace pva::kernels

#endif
