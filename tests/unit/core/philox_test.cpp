// Philox4x32-10 against the known-answer vectors that come with Random123 (examples/kat_vectors), and the stream on top.
#include "pva/core/philox.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

#include "pva/core/error.h"

using namespace pva;

namespace {
using Words = std::array<std::uint32_t, 4>;
void check(std::uint64_t key, const Words& counter, const Words& expected) {
    const Words found = philox_block(key, counter);
    BOOST_TEST(found == expected, boost::test_tools::per_element());
}
}  // namespace

BOOST_AUTO_TEST_SUITE(philox)

BOOST_AUTO_TEST_CASE(known_answers) {
    check(0, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    check(0xffffffffffffffff, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    // Digits of pi; the vector's key words are a4093822 299f31d0, the first of them the low half.
    check(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

BOOST_AUTO_TEST_CASE(a_stream_is_the_blocks_in_order) {
    PhiloxStream stream(0x1122334455667788, 0xaabbccdd00112233, 42);
    for (std::uint32_t block = 0; block < 3; ++block) {
        const Words expected = philox_block(0x1122334455667788, {0x00112233, 0xaabbccdd, 42, block});
        for (const std::uint32_t word : expected) BOOST_TEST(stream.next_u32() == word);
    }
    // Streams and items are apart.
    BOOST_TEST(PhiloxStream(1, 2, 3).next_u32() != PhiloxStream(1, 2, 4).next_u32());
    BOOST_TEST(PhiloxStream(1, 2, 3).next_u32() != PhiloxStream(1, 3, 3).next_u32());
    BOOST_TEST(PhiloxStream(1, 2, 3).next_u32() != PhiloxStream(2, 2, 3).next_u32());
}

BOOST_AUTO_TEST_CASE(below_is_in_range_and_even) {
    PhiloxStream stream(20240607, 1, 0);
    BOOST_CHECK_THROW(stream.below(0), InternalError);
    for (int i = 0; i < 100; ++i) BOOST_TEST(stream.below(1) == 0u);
    // Chi-square with n - 1 degrees of freedom; the bounds are the 0.05 % and 99.95 % quantiles. Seeds are fixed, so this is not flaky.
    struct Case {
        std::uint32_t n;
        double low;
        double high;
    };
    for (const Case& c : {Case{6, 0.158, 22.105}, Case{10, 0.972, 29.666}, Case{100, 57.77, 150.8}}) {
        const std::int64_t draws = 100000;
        std::vector<std::int64_t> counts(c.n);
        for (std::int64_t i = 0; i < draws; ++i) {
            const std::uint32_t value = stream.below(c.n);
            BOOST_REQUIRE(value < c.n);
            ++counts[value];
        }
        const double expected = static_cast<double>(draws) / c.n;
        double chi_square = 0;
        for (const std::int64_t count : counts) chi_square += (static_cast<double>(count) - expected) * (static_cast<double>(count) - expected) / expected;
        BOOST_TEST(chi_square > c.low);
        BOOST_TEST(chi_square < c.high);
    }
    // With n = 3 * 2^30 a plain remainder gives the lowest third twice as often as it should: 1/2 instead of 1/3.
    const std::uint32_t n = 3221225472u;
    const int draws = 30000;
    int low = 0;
    for (int i = 0; i < draws; ++i) low += stream.below(n) < n / 3 ? 1 : 0;
    BOOST_TEST(low > draws / 3 - 400);  // five standard deviations
    BOOST_TEST(low < draws / 3 + 400);
    // n = 2^31 and 2^32 - 1: the edges of the rejection.
    for (int i = 0; i < 100; ++i) BOOST_TEST(stream.below(0x80000000u) < 0x80000000u);
    for (int i = 0; i < 100; ++i) BOOST_TEST(stream.below(0xFFFFFFFFu) < 0xFFFFFFFFu);
}

BOOST_AUTO_TEST_CASE(uniform_numbers) {
    PhiloxStream stream(5, 6, 7);
    const int n = 100000;
    double sum = 0;
    double square = 0;
    double smallest = 1;
    double largest = 0;
    for (int i = 0; i < n; ++i) {
        const double u = stream.uniform();
        BOOST_REQUIRE(u >= 0.0);
        BOOST_REQUIRE(u < 1.0);
        sum += u;
        square += u * u;
        smallest = std::min(smallest, u);
        largest = std::max(largest, u);
    }
    BOOST_TEST(std::abs(sum / n - 0.5) < 5 * 0.2887 / std::sqrt(n));
    BOOST_TEST(std::abs(square / n - 1.0 / 3) < 5 * 0.2981 / std::sqrt(n));
    BOOST_TEST(smallest < 1e-3);
    BOOST_TEST(largest > 1 - 1e-3);
    // 53 bits made of two words: the upper 27 of the first, the upper 26 of the second.
    PhiloxStream words(5, 6, 7);
    const double first = words.next_u32() >> 5;
    const double second = words.next_u32() >> 6;
    BOOST_TEST(PhiloxStream(5, 6, 7).uniform() == (first * 67108864.0 + second) / 9007199254740992.0);
}

BOOST_AUTO_TEST_SUITE_END()
