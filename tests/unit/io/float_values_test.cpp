// Rounding to 16 bits: every number of both types comes back, and what lies between two goes to the nearer, ties to even.
#include "pva/io/float_values.h"

#include <array>
#include <bit>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "pva/core/error.h"

namespace {

std::uint16_t stored(const std::string& dtype, float value) {
    std::array<std::byte, 2> bytes{};
    pva::io::from_floats(dtype, std::span(&value, 1), bytes);
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes.data(), sizeof bits);
    return bits;
}

float widened(const std::string& dtype, std::uint16_t bits) {
    float value = 0;
    pva::io::to_floats(dtype, &bits, std::span(&value, 1));
    return value;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_number_of_16_bits) {
    for (const std::string dtype : {"F16", "BF16"}) {
        int wrong = 0;
        int numbers = 0;
        for (std::uint32_t bits = 0; bits < 65536; ++bits) {
            const auto number = static_cast<std::uint16_t>(bits);
            const float value = widened(dtype, number);
            if (std::isnan(value)) {
                wrong += std::isnan(widened(dtype, stored(dtype, value))) ? 0 : 1;
                continue;
            }
            ++numbers;
            wrong += stored(dtype, value) == number ? 0 : 1;
            const float next = widened(dtype, static_cast<std::uint16_t>(bits + 1));
            if (!std::isfinite(value) || !std::isfinite(next) || std::signbit(value) != std::signbit(next)) continue;
            // Halfway, and the float32 numbers on both sides of it.
            const float middle = static_cast<float>((static_cast<double>(value) + static_cast<double>(next)) / 2);
            const auto even = static_cast<std::uint16_t>(bits % 2 == 0 ? bits : bits + 1);
            wrong += stored(dtype, middle) == even ? 0 : 1;
            wrong += stored(dtype, std::nextafter(middle, value)) == number ? 0 : 1;
            wrong += stored(dtype, std::nextafter(middle, next)) == bits + 1 ? 0 : 1;
        }
        BOOST_TEST(wrong == 0, dtype);
        BOOST_TEST(numbers == (dtype == "F16" ? 63490 : 65282), dtype);
    }
}

BOOST_AUTO_TEST_CASE(beyond_the_largest) {
    BOOST_TEST(stored("F16", 65519.996F) == 0x7BFF);
    BOOST_TEST(stored("F16", 65520.0F) == 0x7C00);
    BOOST_TEST(stored("F16", -1e30F) == 0xFC00);
    BOOST_TEST(stored("F16", 0x1p-25F) == 0);
    BOOST_TEST(stored("F16", std::nextafter(0x1p-25F, 1.0F)) == 1);
    BOOST_TEST(stored("BF16", std::numeric_limits<float>::max()) == 0x7F80);
    BOOST_TEST(stored("BF16", 1.0F + 0x1p-8F) == 0x3F80);      // halfway, to even
    BOOST_TEST(stored("BF16", 1.0F + 3 * 0x1p-8F) == 0x3F82);  // halfway, to even
}

BOOST_AUTO_TEST_CASE(refused) {
    const std::vector<float> values(3);
    std::vector<std::byte> bytes(6);
    pva::io::from_floats("F16", values, bytes);
    BOOST_CHECK_THROW(pva::io::from_floats("F32", values, bytes), pva::InternalError);
    BOOST_CHECK_THROW(pva::io::from_floats("F64", values, bytes), pva::InternalError);
    pva::io::from_floats("BF16", {}, {});
}
