// Packing of weights into strips.
#include <boost/test/unit_test.hpp>
#include <cstring>

#include "numbers.h"
#include "pva/core/error.h"
#include "pva/kernels/packed_matrix.h"

using namespace pva::kernels;
using kernels_test::numbers;

BOOST_AUTO_TEST_SUITE(packed_matrix)

BOOST_AUTO_TEST_CASE(strips_hold_32_outputs_and_end_with_zeros) {
    const ThreadPool pool(2);
    for (const std::int64_t outputs : {1, 31, 32, 33, 70}) {
        for (const std::int64_t depth : {1, 63, 64, 65, 130}) {
            const std::vector<float> weights = numbers(static_cast<std::size_t>(outputs * depth));
            const PackedMatrix packed(pool, weights.data(), outputs, depth, WeightType::float32);
            const PackedView view = packed.view();
            BOOST_TEST(packed_bytes(outputs, depth, WeightType::float32) ==
                       static_cast<std::size_t>((outputs + 31) / 32 * 32 * depth * 4));
            const float* data = static_cast<const float*>(view.data);
            std::int64_t wrong = 0;
            for (std::int64_t n = 0; n < padded_outputs(outputs); ++n) {
                for (std::int64_t k = 0; k < depth; ++k) {
                    const float wanted = n < outputs ? weights[static_cast<std::size_t>(n * depth + k)] : 0.0F;
                    wrong += data[n / 32 * 32 * depth + k * 32 + n % 32] != wanted ? 1 : 0;
                }
            }
            BOOST_TEST(wrong == 0);
        }
    }
}

BOOST_AUTO_TEST_CASE(matrices_side_by_side_are_one_product) {
    const ThreadPool pool(1);
    const std::int64_t depth = 40;
    const std::vector<float> first = numbers(64 * 40, 1);
    const std::vector<float> second = numbers(40 * 40, 2);
    std::vector<float> both = first;
    both.insert(both.end(), second.begin(), second.end());
    PackedMatrix fused(64 + 40, depth, WeightType::float32);
    pack(pool, first.data(), 64, depth, depth, WeightType::float32, fused.data(), 0);
    pack(pool, second.data(), 40, depth, depth, WeightType::float32, fused.data(), 64);
    const PackedMatrix whole(pool, both.data(), 64 + 40, depth, WeightType::float32);
    BOOST_TEST(std::memcmp(fused.view().data, whole.view().data, packed_bytes(104, depth, WeightType::float32)) == 0);
}

BOOST_AUTO_TEST_CASE(rows_with_a_stride) {
    const ThreadPool pool(1);
    const std::vector<float> wide = numbers(10 * 50);
    std::vector<float> narrow;
    for (std::size_t n = 0; n < 10; ++n)
        narrow.insert(narrow.end(), wide.begin() + static_cast<std::ptrdiff_t>(n * 50),
                      wide.begin() + static_cast<std::ptrdiff_t>(n * 50 + 20));
    PackedMatrix strided(10, 20, WeightType::float32);
    pack(pool, wide.data(), 10, 20, 50, WeightType::float32, strided.data());
    const PackedMatrix plain(pool, narrow.data(), 10, 20, WeightType::float32);
    BOOST_TEST(std::memcmp(strided.view().data, plain.view().data, packed_bytes(10, 20, WeightType::float32)) == 0);
}

BOOST_AUTO_TEST_CASE(other_offsets_and_alignments_are_refused) {
    const ThreadPool pool(1);
    const std::vector<float> weights(64);
    PackedMatrix packed(64, 8, WeightType::float32);
    for (const std::int64_t offset : {-32, 1, 16, 33})
        BOOST_CHECK_THROW(pack(pool, weights.data(), 1, 8, 8, WeightType::float32, packed.data(), offset),
                          pva::InternalError);
    BOOST_CHECK_THROW(pack(pool, weights.data(), 1, 8, 8, WeightType::float32, static_cast<char*>(packed.data()) + 4),
                      pva::InternalError);
}

BOOST_AUTO_TEST_SUITE_END()
