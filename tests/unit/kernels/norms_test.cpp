// RMSNorm and LayerNorm: right, in the documented order, row by row.
#include "pva/kernels/norms.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "numbers.h"

using namespace pva::kernels;
using kernels_test::different_bits;
using kernels_test::numbers;

namespace {

enum class Kind { gemma, llama, layer, layer_without_bias };
constexpr Kind kinds[] = {Kind::gemma, Kind::llama, Kind::layer, Kind::layer_without_bias};
constexpr float eps = 1e-5F;

std::vector<float> normed(const ThreadPool& pool, Kind kind, std::int64_t rows, std::int64_t width,
                          const std::vector<float>& x) {
    const std::vector<float> weight = numbers(static_cast<std::size_t>(width), 21);
    const std::vector<float> bias = numbers(static_cast<std::size_t>(width), 22);
    std::vector<float> y(static_cast<std::size_t>(rows * width), -77.0F);
    const ConstRows in{x.data(), width};
    const Rows out{y.data(), width};
    switch (kind) {
        case Kind::gemma:
            rms_norm_gemma(pool, rows, width, in, weight.data(), eps, out);
            break;
        case Kind::llama:
            rms_norm_llama(pool, rows, width, in, weight.data(), eps, out);
            break;
        case Kind::layer:
            layer_norm(pool, rows, width, in, weight.data(), bias.data(), eps, out);
            break;
        case Kind::layer_without_bias:
            layer_norm(pool, rows, width, in, weight.data(), nullptr, eps, out);
            break;
    }
    return y;
}

// Real is double for the reference, float for the model of the documented order.
template <typename Real, typename Add, typename AddSquare>
std::vector<Real> model(Kind kind, std::int64_t width, const float* x, Add add, AddSquare add_square) {
    const std::vector<float> weight = numbers(static_cast<std::size_t>(width), 21);
    const std::vector<float> bias = numbers(static_cast<std::size_t>(width), 22);
    const bool layer = kind == Kind::layer || kind == Kind::layer_without_bias;
    const Real mean = layer ? add() / static_cast<Real>(width) : Real{0};
    const Real r = Real{1} / std::sqrt(add_square(mean) / static_cast<Real>(width) + static_cast<Real>(eps));
    std::vector<Real> y;
    for (std::int64_t i = 0; i < width; ++i) {
        const Real w = weight[static_cast<std::size_t>(i)];
        if (kind == Kind::gemma) {
            y.push_back((x[i] * r) * (Real{1} + w));
        } else if (kind == Kind::llama) {
            y.push_back(w * (x[i] * r));
        } else {
            y.push_back(((x[i] - mean) * r) * w +
                        (kind == Kind::layer ? Real{bias[static_cast<std::size_t>(i)]} : Real{0}));
        }
    }
    return y;
}

std::vector<double> exact(Kind kind, std::int64_t width, const float* x) {
    return model<double>(
        kind, width, x,
        [&] {
            double sum = 0;
            for (std::int64_t i = 0; i < width; ++i)
                sum += x[i];
            return sum;
        },
        [&](double mean) {
            double sum = 0;
            for (std::int64_t i = 0; i < width; ++i)
                sum += (x[i] - mean) * (x[i] - mean);
            return sum;
        });
}

std::vector<float> documented(Kind kind, std::int64_t width, const float* x) {
    return model<float>(
        kind, width, x,
        [&] {
            std::vector<float> partial(32);
            for (std::int64_t i = 0; i < width; ++i)
                partial[static_cast<std::size_t>(i % 32)] += x[i];
            return kernels_test::pairwise(partial);
        },
        [&](float mean) {
            std::vector<float> partial(32);
            for (std::int64_t i = 0; i < width; ++i) {
                float& sum = partial[static_cast<std::size_t>(i % 32)];
                const float centred = x[i] - mean;
                sum = std::fma(centred, centred, sum);
            }
            return kernels_test::pairwise(partial);
        });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(norms)

BOOST_AUTO_TEST_CASE(the_documented_order_bit_for_bit_and_close_to_float64) {
    const ThreadPool pool(1);
    for (const Kind kind : kinds) {
        for (const std::int64_t width : {1, 2, 7, 8, 16, 31, 32, 33, 63, 65, 576, 1000, 2304}) {
            std::vector<float> x = numbers(static_cast<std::size_t>(width), 23);
            for (float& value : x)
                value = value * 3.0F + 2.0F;
            const std::vector<float> y = normed(pool, kind, 1, width, x);
            // Many rows: another order of a sum shows in the bits of some of them only.
            for (std::uint32_t seed = 100; seed < 140; ++seed) {
                std::vector<float> row = numbers(static_cast<std::size_t>(width), seed);
                for (float& value : row)
                    value = value * value * value * 10.0F;
                BOOST_TEST(different_bits(normed(pool, kind, 1, width, row), documented(kind, width, row.data())) == 0U,
                           "norm " << static_cast<int>(kind) << ", width " << width << ", row " << seed);
            }
            const std::vector<double> wanted = exact(kind, width, x.data());
            double worst = 0;
            for (std::size_t i = 0; i < y.size(); ++i)
                worst = std::max(worst, std::abs(y[i] - wanted[i]));
            BOOST_TEST(worst < (width < 3 ? 1e-4 : 4e-6),
                       "norm " << static_cast<int>(kind) << ", width " << width << ": " << worst);
        }
    }
}

BOOST_AUTO_TEST_CASE(rows_threads_and_instruction_sets_change_nothing) {
    const std::int64_t width = 217;
    const std::int64_t rows = 130;
    const std::vector<float> x = numbers(static_cast<std::size_t>(rows * width), 24);
    for (const Kind kind : kinds) {
        std::vector<float> alone;
        for (std::int64_t r = 0; r < rows; ++r) {
            const std::vector<float> y =
                normed(ThreadPool(1), kind, 1, width, {x.begin() + r * width, x.begin() + (r + 1) * width});
            alone.insert(alone.end(), y.begin(), y.end());
        }
        for (const int threads : {1, 2, 3, 4})
            BOOST_TEST(different_bits(alone, normed(ThreadPool(threads), kind, rows, width, x)) == 0U);
        for (const auto& [name, y] :
             kernels_test::with_all_instruction_sets([&] { return normed(ThreadPool(1), kind, rows, width, x); }))
            BOOST_TEST(different_bits(alone, y) == 0U, name);
    }
}

BOOST_AUTO_TEST_CASE(in_place_and_with_strides) {
    const ThreadPool pool(1);
    const std::vector<float> x = numbers(4 * 40, 25);
    const std::vector<float> weight = numbers(30, 26);
    std::vector<float> wanted(4 * 30);
    rms_norm_llama(pool, 4, 30, {x.data(), 40}, weight.data(), eps, {wanted.data(), 30});
    std::vector<float> place = x;
    rms_norm_llama(pool, 4, 30, {place.data(), 40}, weight.data(), eps, {place.data(), 40});
    std::int64_t wrong = 0;
    for (std::size_t r = 0; r < 4; ++r) {
        for (std::size_t i = 0; i < 40; ++i)
            wrong += place[r * 40 + i] != (i < 30 ? wanted[r * 30 + i] : x[r * 40 + i]) ? 1 : 0;
    }
    BOOST_TEST(wrong == 0);
    rms_norm_llama(pool, 0, 30, {nullptr, 0}, weight.data(), eps, {nullptr, 0});
}

BOOST_AUTO_TEST_SUITE_END()
