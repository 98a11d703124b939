// exp, tanh, erf and what is made of them; the rotary embedding.
#include "pva/kernels/elementwise.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "numbers.h"

using namespace pva::kernels;
using kernels_test::different_bits;
using kernels_test::numbers;

namespace {

constexpr Function functions[] = {Function::exp,      Function::tanh, Function::erf, Function::gelu_tanh,
                                  Function::gelu_erf, Function::silu, Function::relu};

std::vector<float> applied(const ThreadPool& pool, Function function, const std::vector<float>& x) {
    std::vector<float> y(x.size(), -77.0F);
    const std::int64_t count = static_cast<std::int64_t>(x.size());
    apply(pool, function, 1, count, {x.data(), count}, {y.data(), count});
    return y;
}

double exact(Function function, double x) {
    switch (function) {
        case Function::exp:
            return std::exp(x);
        case Function::tanh:
            return std::tanh(x);
        case Function::erf:
            return std::erf(x);
        case Function::gelu_tanh:
            return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
        case Function::gelu_erf:
            return 0.5 * x * (1 + std::erf(x * M_SQRT1_2));
        case Function::silu:
            return x / (1 + std::exp(-x));
        case Function::relu:
            return x > 0 ? x : 0;
    }
    return 0;
}

// Distance in units of the last place of the exact value's float32 neighbourhood.
double ulps(float value, double wanted) {
    const float nearest = static_cast<float>(wanted);
    if (std::isinf(nearest) || std::isinf(value)) return value == nearest ? 0 : std::numeric_limits<double>::infinity();
    const int exponent = std::max(std::ilogb(wanted == 0 ? 1e-300 : wanted), -126);
    return std::abs(static_cast<double>(value) - wanted) / std::ldexp(1.0, exponent - 23);
}

// Every `step`-th float32 of both signs.
std::vector<float> sweep(std::uint32_t step) {
    std::vector<float> values;
    for (std::uint64_t bits = 0; bits < 0x7F800000U; bits += step) {
        values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
        values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits) | 0x80000000U));
    }
    return values;
}

const std::vector<float> special = {
    0.0F,   -0.0F,       INFINITY, -INFINITY, 1e-45F,  -1e-45F,       1.1754944e-38F, 88.72283F,   88.72284F,
    89.0F,  -87.33655F,  -103.9F,  -103.97F,  -104.0F, -150.0F,       0.625F,         0.62499994F, -0.625F,
    0.925F, 0.92499995F, 3.92F,    4.0F,      9.1F,    3.4028235e38F, -3.4028235e38F};

}  // namespace

BOOST_AUTO_TEST_SUITE(elementwise)

BOOST_AUTO_TEST_CASE(exp_tanh_and_erf_within_two_ulp_over_the_whole_range) {
    const ThreadPool pool(1);
    std::vector<float> x = sweep(1499);
    x.insert(x.end(), special.begin(), special.end());
    // Densely where the result is neither 0 nor 1.
    for (float value = -110.0F; value < 95.0F; value += 1.37e-3F)
        x.push_back(value);
    for (float value = -4.5F; value < 4.5F; value += 2.1e-5F)
        x.push_back(value);
    for (const auto& [function, name] :
         {std::pair{Function::exp, "exp"}, {Function::tanh, "tanh"}, {Function::erf, "erf"}}) {
        const std::vector<float> y = applied(pool, function, x);
        double worst = 0;
        float where = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double error = ulps(y[i], exact(function, x[i]));
            if (error > worst) {
                worst = error;
                where = x[i];
            }
        }
        BOOST_TEST_MESSAGE(name << ": at most " << worst << " ulp (at " << where << ") over " << x.size() << " values");
        BOOST_TEST(worst <= 2.0, name << " at " << where);
    }
}

BOOST_AUTO_TEST_CASE(limits_and_special_values) {
    const ThreadPool pool(1);
    const std::vector<float> x = {0.0F, -0.0F, INFINITY, -INFINITY, NAN, 1e-40F, -1e-40F};
    const std::vector<float> e = applied(pool, Function::exp, x);
    BOOST_TEST(e[0] == 1.0F);
    BOOST_TEST(e[1] == 1.0F);
    BOOST_TEST(std::isinf(e[2]));
    BOOST_TEST(e[3] == 0.0F);
    BOOST_TEST(std::isnan(e[4]));
    for (const Function function : {Function::tanh, Function::erf}) {
        const std::vector<float> t = applied(pool, function, x);
        BOOST_TEST(std::signbit(t[1]));
        BOOST_TEST(t[1] == 0.0F);
        BOOST_TEST(t[2] == 1.0F);
        BOOST_TEST(t[3] == -1.0F);
        BOOST_TEST(std::isnan(t[4]));
        BOOST_TEST(t[5] ==
                   (function == Function::tanh ? x[5] : static_cast<float>(std::erf(static_cast<double>(x[5])))));
        BOOST_TEST(t[6] == -t[5]);
    }
    const std::vector<float> below = applied(pool, Function::exp, {-103.0F, -100.0F, -88.0F});
    for (std::size_t i = 0; i < 3; ++i)
        BOOST_TEST(std::fpclassify(below[i]) == FP_SUBNORMAL);
    BOOST_TEST(std::isnan(applied(pool, Function::relu, {NAN})[0]));
}

BOOST_AUTO_TEST_CASE(activations_are_close_to_float64) {
    const ThreadPool pool(1);
    std::vector<float> x;
    for (float value = -12.0F; value < 12.0F; value += 1.7e-3F)
        x.push_back(value);
    for (const Function function : {Function::gelu_tanh, Function::gelu_erf, Function::silu, Function::relu}) {
        const std::vector<float> y = applied(pool, function, x);
        double worst = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double wanted = exact(function, x[i]);
            worst = std::max(worst, std::abs(y[i] - wanted) / std::max(1.0, std::abs(static_cast<double>(x[i]))));
        }
        BOOST_TEST(worst < 2.5e-7, static_cast<int>(function) << ": " << worst);
    }
}

BOOST_AUTO_TEST_CASE(place_threads_and_instruction_sets_change_nothing) {
    std::vector<float> x = sweep(60013);
    x.insert(x.end(), special.begin(), special.end());
    x.push_back(NAN);
    x.push_back(-NAN);
    for (const Function function : functions) {
        const std::vector<float> whole = applied(ThreadPool(1), function, x);
        for (const auto& [name, y] :
             kernels_test::with_all_instruction_sets([&] { return applied(ThreadPool(1), function, x); }))
            BOOST_TEST(different_bits(whole, y) == 0U, static_cast<int>(function) << " " << name);
        BOOST_TEST(different_bits(whole, applied(ThreadPool(3), function, x)) == 0U);
        std::vector<float> alone;
        for (std::size_t i = 0; i < 200; ++i)
            alone.push_back(applied(ThreadPool(1), function, {x[x.size() - 200 + i]})[0]);
        BOOST_TEST(different_bits({whole.end() - 200, whole.end()}, alone) == 0U);
    }
}

BOOST_AUTO_TEST_CASE(gated_forms_caps_sums) {
    const ThreadPool pool(2);
    const std::int64_t rows = 5;
    const std::int64_t width = 37;
    // Gate and up side by side, as a fused product leaves them.
    const std::vector<float> both = numbers(5 * 80, 31);
    std::vector<float> gated(5 * 37);
    apply_gated(pool, Function::gelu_tanh, rows, width, {both.data(), 80}, {both.data() + 40, 80}, {gated.data(), 37});
    std::vector<float> capped(5 * 37);
    soft_cap(pool, 0.5F, rows, width, {both.data(), 80}, {capped.data(), 37});
    std::vector<float> scaled(5 * 37);
    scale(pool, 3.0F, rows, width, {both.data(), 80}, {scaled.data(), 37});
    std::vector<float> sum(5 * 37);
    add(pool, rows, width, {both.data(), 80}, {both.data() + 40, 80}, {sum.data(), 37});
    std::vector<float> scaled_sum(5 * 37);
    add_scaled(pool, rows, width, {both.data(), 80}, 0.3F, {both.data() + 40, 80}, {scaled_sum.data(), 37});
    std::int64_t wrong = 0;
    for (std::size_t r = 0; r < 5; ++r) {
        for (std::size_t i = 0; i < 37; ++i) {
            const float a = both[r * 80 + i];
            const float b = both[r * 80 + 40 + i];
            const std::size_t at = r * 37 + i;
            wrong += gated[at] != applied(pool, Function::gelu_tanh, {a})[0] * b ? 1 : 0;
            wrong += std::abs(capped[at] - 0.5 * std::tanh(a / 0.5)) > 1e-7 ? 1 : 0;
            wrong += scaled[at] != 3.0F * a ? 1 : 0;
            wrong += sum[at] != a + b ? 1 : 0;
            wrong += scaled_sum[at] != std::fma(0.3F, b, a) ? 1 : 0;
        }
    }
    BOOST_TEST(wrong == 0);
    std::vector<float> place = both;
    add(pool, rows, width, {place.data(), 80}, {place.data() + 40, 80}, {place.data(), 80});
    BOOST_TEST(place[2 * 80 + 36] == sum[2 * 37 + 36]);
    BOOST_TEST(place[2 * 80 + 37] == both[2 * 80 + 37]);
}

BOOST_AUTO_TEST_CASE(long_rows_are_cut_into_pieces) {
    const ThreadPool pool(3);
    const std::int64_t width = 20'011;
    const std::vector<float> x = numbers(static_cast<std::size_t>(2 * width), 32);
    std::vector<float> y(x.size());
    scale(pool, 2.0F, 2, width, {x.data(), width}, {y.data(), width});
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
        wrong += y[i] != 2.0F * x[i] ? 1 : 0;
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(rotary_turns_halves) {
    for (const auto& [head_dim, turned] : {std::pair{256, 256}, {64, 16}, {20, 6}, {8, 2}, {80, 80}, {12, 0}}) {
        const std::int64_t rows = 7;
        const std::int64_t heads = 3;
        const std::size_t half = static_cast<std::size_t>(turned / 2);
        const std::vector<float> x = numbers(static_cast<std::size_t>(rows * heads * head_dim), 33);
        const std::vector<float> cosine = numbers(static_cast<std::size_t>(rows) * half, 34);
        const std::vector<float> sine = numbers(static_cast<std::size_t>(rows) * half, 35);
        std::vector<float> wanted = x;
        for (std::size_t r = 0; r < 7; ++r) {
            for (std::size_t head = 0; head < 3; ++head) {
                const std::size_t at = (r * 3 + head) * static_cast<std::size_t>(head_dim);
                for (std::size_t j = 0; j < half; ++j) {
                    const float c = cosine[r * half + j];
                    const float s = sine[r * half + j];
                    wanted[at + j] = x[at + j] * c - x[at + half + j] * s;
                    wanted[at + half + j] = x[at + half + j] * c + x[at + j] * s;
                }
            }
        }
        const auto turn = [&] {
            std::vector<float> y = x;
            rotary(ThreadPool(2), rows, heads, head_dim, turned, {cosine.data(), turned / 2}, {sine.data(), turned / 2},
                   {y.data(), heads * head_dim});
            return y;
        };
        for (const auto& [name, y] : kernels_test::with_all_instruction_sets(turn))
            BOOST_TEST(different_bits(wanted, y) == 0U,
                       name << ", " << head_dim << " channels, " << turned << " turned");
    }
}

BOOST_AUTO_TEST_SUITE_END()
