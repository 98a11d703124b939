// Linear layers: right, and the same bits whatever stands beside a row.
#include "pva/kernels/linear.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>

#include "numbers.h"

using namespace pva::kernels;
using kernels_test::different_bits;
using kernels_test::numbers;

namespace {

struct Layer {
    std::int64_t outputs;
    std::int64_t depth;
    WeightType type;
    std::vector<float> weights;  // widened
    std::vector<float> bias;
    PackedMatrix packed;
};

Layer layer_of(std::int64_t outputs, std::int64_t depth, WeightType type) {
    const ThreadPool pool(1);
    const std::size_t count = static_cast<std::size_t>(outputs * depth);
    Layer layer{outputs, depth, type, numbers(count, 3), numbers(static_cast<std::size_t>(outputs), 4), {}};
    if (type == WeightType::bfloat16) {
        std::vector<std::uint16_t> narrow(count);
        std::transform(layer.weights.begin(), layer.weights.end(), narrow.begin(), kernels_test::to_bfloat16);
        std::transform(narrow.begin(), narrow.end(), layer.weights.begin(), kernels_test::from_bfloat16);
        layer.packed = PackedMatrix(pool, narrow.data(), outputs, depth, type);
    } else {
        layer.packed = PackedMatrix(pool, layer.weights.data(), outputs, depth, type);
    }
    return layer;
}

std::vector<float> product(const ThreadPool& pool, const Layer& layer, const std::vector<float>& x, std::int64_t rows,
                           bool with_bias = true) {
    std::vector<float> y(static_cast<std::size_t>(rows * layer.outputs), -77.0F);
    linear(pool, x.data(), rows, layer.depth, layer.packed.view(), with_bias ? layer.bias.data() : nullptr, y.data(),
           layer.outputs);
    return y;
}

std::vector<float> rows_of(const std::vector<float>& values, std::int64_t width, std::int64_t first,
                           std::int64_t count) {
    return {values.begin() + first * width, values.begin() + (first + count) * width};
}

// The documented order, number by number.
float chain_model(const Layer& layer, const float* x, std::int64_t output, bool with_bias) {
    const float* w = layer.weights.data() + output * layer.depth;
    float total = 0.0F;
    for (std::int64_t start = 0; start < layer.depth; start += 256) {
        float sum = 0.0F;
        for (std::int64_t k = start; k < std::min(start + 256, layer.depth); ++k)
            sum = std::fma(x[k], w[k], sum);
        total = start == 0 ? sum : total + sum;
    }
    return with_bias ? total + layer.bias[static_cast<std::size_t>(output)] : total;
}

std::string what(const Layer& layer) {
    return std::to_string(layer.outputs) + " x " + std::to_string(layer.depth) +
           (layer.type == WeightType::bfloat16 ? " bfloat16" : " float32");
}

constexpr WeightType types[] = {WeightType::float32, WeightType::bfloat16};

}  // namespace

BOOST_AUTO_TEST_SUITE(linear_layers)

BOOST_AUTO_TEST_CASE(every_output_is_the_documented_chain_bit_for_bit) {
    const ThreadPool pool(2);
    std::size_t compared = 0;
    for (const WeightType type : types) {
        for (const auto& [outputs, depth] : {std::pair{1, 1},
                                             {5, 255},
                                             {31, 256},
                                             {32, 257},
                                             {33, 1000},
                                             {100, 7},
                                             {130, 513},
                                             {200, 64},
                                             {64, 2304}}) {
            const Layer layer = layer_of(outputs, depth, type);
            for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 19, 40}) {
                const std::vector<float> x = numbers(static_cast<std::size_t>(rows * depth), 5);
                const bool with_bias = rows % 2 == 0;
                const std::vector<float> y = product(pool, layer, x, rows, with_bias);
                std::vector<float> model;
                for (std::int64_t r = 0; r < rows; ++r) {
                    for (std::int64_t n = 0; n < outputs; ++n)
                        model.push_back(chain_model(layer, x.data() + r * depth, n, with_bias));
                }
                compared += model.size();
                BOOST_TEST(different_bits(y, model) == 0U, what(layer) << ", " << rows << " rows");
            }
        }
    }
    BOOST_TEST_MESSAGE(compared << " outputs equal the scalar model bit for bit");
}

BOOST_AUTO_TEST_CASE(close_to_float64) {
    const ThreadPool pool(1);
    for (const WeightType type : types) {
        for (const std::int64_t outputs : {1, 7, 32, 45, 96, 200}) {
            for (const std::int64_t depth : {1, 255, 256, 257, 1000, 2304}) {
                const Layer layer = layer_of(outputs, depth, type);
                const std::int64_t rows = 5;
                const std::vector<float> x = numbers(static_cast<std::size_t>(rows * depth), 6);
                const std::vector<float> y = product(pool, layer, x, rows);
                double worst = 0;
                for (std::int64_t r = 0; r < rows; ++r) {
                    for (std::int64_t n = 0; n < outputs; ++n) {
                        double sum = layer.bias[static_cast<std::size_t>(n)];
                        double size = std::abs(sum);
                        for (std::int64_t k = 0; k < depth; ++k) {
                            const double term =
                                static_cast<double>(x[static_cast<std::size_t>(r * depth + k)]) *
                                static_cast<double>(layer.weights[static_cast<std::size_t>(n * depth + k)]);
                            sum += term;
                            size += std::abs(term);
                        }
                        worst = std::max(worst, std::abs(y[static_cast<std::size_t>(r * outputs + n)] - sum) / size);
                    }
                }
                BOOST_TEST(worst < 2e-6, what(layer) << ": " << worst);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(accuracy_figures) {
    const ThreadPool pool(1);
    for (const std::int64_t depth : {2304, 9216}) {
        const Layer layer = layer_of(64, depth, WeightType::float32);
        const std::int64_t rows = 8;
        const std::vector<float> x = numbers(static_cast<std::size_t>(rows * depth), 7);
        const std::vector<float> y = product(pool, layer, x, rows, false);
        double error = 0;
        double size = 0;
        for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t n = 0; n < layer.outputs; ++n) {
                double sum = 0;
                for (std::int64_t k = 0; k < depth; ++k)
                    sum += static_cast<double>(x[static_cast<std::size_t>(r * depth + k)]) *
                           static_cast<double>(layer.weights[static_cast<std::size_t>(n * depth + k)]);
                const double difference = y[static_cast<std::size_t>(r * layer.outputs + n)] - sum;
                error += difference * difference;
                size += sum * sum;
            }
        }
        const double relative = std::sqrt(error / size);
        BOOST_TEST_MESSAGE("relative error (2-norm) at depth " << depth << ": " << relative);
        BOOST_TEST(relative < 8e-7);
    }
}

BOOST_AUTO_TEST_CASE(a_row_has_the_same_bits_in_any_number_of_rows_and_any_slot) {
    const ThreadPool pool(2);
    for (const WeightType type : types) {
        for (const auto& [outputs, depth] : {std::pair{96, 300}, {75, 600}}) {
            const Layer layer = layer_of(outputs, depth, type);
            const std::int64_t most = 512;
            const std::vector<float> x = numbers(static_cast<std::size_t>(most * depth), 8);
            std::vector<float> alone;
            for (std::int64_t r = 0; r < most; ++r) {
                const std::vector<float> y = product(pool, layer, rows_of(x, depth, r, 1), 1);
                alone.insert(alone.end(), y.begin(), y.end());
            }
            for (const std::int64_t rows : {2, 3, 5, 6, 7, 12, 13, 24, 25, 31, 32, 33, 64, 191, 193, 385, 512}) {
                for (const std::int64_t first : {std::int64_t{0}, std::int64_t{1}, most - rows}) {
                    if (first + rows > most) continue;
                    const std::vector<float> y = product(pool, layer, rows_of(x, depth, first, rows), rows);
                    BOOST_TEST(different_bits(y, rows_of(alone, outputs, first, rows)) == 0U,
                               what(layer) << ", " << rows << " rows from " << first);
                }
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(infinities_and_nan_of_a_neighbour_stay_there) {
    const ThreadPool pool(1);
    const Layer layer = layer_of(50, 300, WeightType::float32);
    std::vector<float> x = numbers(7 * 300, 9);
    const std::vector<float> before = product(pool, layer, x, 7);
    for (std::size_t k = 0; k < 300; ++k)
        x[3 * 300 + k] = k % 2 == 0 ? INFINITY : NAN;
    std::vector<float> after = product(pool, layer, x, 7);
    BOOST_TEST(std::isnan(after[3 * 50]));
    std::copy_n(before.begin() + 3 * 50, 50, after.begin() + 3 * 50);
    BOOST_TEST(different_bits(before, after) == 0U);
}

BOOST_AUTO_TEST_CASE(any_number_of_threads_gives_the_same_bits) {
    for (const WeightType type : types) {
        const Layer layer = layer_of(333, 700, type);
        for (const std::int64_t rows : {1, 6, 33, 400}) {
            const std::vector<float> x = numbers(static_cast<std::size_t>(rows * layer.depth), 10);
            const std::vector<float> one = product(ThreadPool(1), layer, x, rows);
            for (const int threads : {2, 3, 4})
                BOOST_TEST(different_bits(one, product(ThreadPool(threads), layer, x, rows)) == 0U,
                           what(layer) << ", " << rows << " rows, " << threads << " threads");
        }
    }
}

BOOST_AUTO_TEST_CASE(all_instruction_sets_give_the_same_bits) {
    const ThreadPool pool(1);
    for (const WeightType type : types) {
        for (const auto& [outputs, depth] : {std::pair{64, 513}, {70, 256}, {33, 100}}) {
            const Layer layer = layer_of(outputs, depth, type);
            for (const std::int64_t rows : {1, 2, 4, 6, 8, 12, 13, 30}) {
                const std::vector<float> x = numbers(static_cast<std::size_t>(rows * depth), 11);
                const auto results =
                    kernels_test::with_all_instruction_sets([&] { return product(pool, layer, x, rows); });
                for (const auto& [name, y] : results)
                    BOOST_TEST(different_bits(results[0].second, y) == 0U,
                               what(layer) << ", " << rows << " rows, " << results[0].first << " against " << name);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(strides_leave_the_rest_alone) {
    const ThreadPool pool(1);
    const Layer layer = layer_of(45, 100, WeightType::float32);
    const std::vector<float> x = numbers(9 * 130, 12);
    std::vector<float> dense;
    for (std::int64_t r = 0; r < 9; ++r)
        dense.insert(dense.end(), x.begin() + r * 130, x.begin() + r * 130 + 100);
    const std::vector<float> wanted = product(pool, layer, dense, 9);
    std::vector<float> y(9 * 60, 5.0F);
    linear(pool, x.data(), 9, 130, layer.packed.view(), layer.bias.data(), y.data(), 60);
    std::int64_t wrong = 0;
    for (std::size_t r = 0; r < 9; ++r) {
        for (std::size_t n = 0; n < 60; ++n)
            wrong += y[r * 60 + n] != (n < 45 ? wanted[r * 45 + n] : 5.0F) ? 1 : 0;
    }
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(no_rows_no_outputs_no_depth) {
    const ThreadPool pool(2);
    const Layer layer = layer_of(40, 8, WeightType::float32);
    BOOST_TEST(product(pool, layer, {}, 0).empty());
    PackedView empty = layer.packed.view();
    empty.outputs = 0;
    linear(pool, nullptr, 3, 8, empty, nullptr, nullptr, 0);
    PackedView flat = layer.packed.view();
    flat.depth = 0;
    std::vector<float> y(80, -1.0F);
    linear(pool, nullptr, 2, 0, flat, layer.bias.data(), y.data(), 40);
    BOOST_TEST(y[41] == layer.bias[1]);
}

BOOST_AUTO_TEST_SUITE_END()
