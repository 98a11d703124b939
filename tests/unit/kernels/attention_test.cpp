// Attention over the cache: right, and the same bits whatever stands beside a row.
#include "pva/kernels/attention.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <string>

#include "numbers.h"
#include "pva/core/error.h"
#include "pva/kernels/elementwise.h"

using namespace pva::kernels;
using kernels_test::different_bits;
using kernels_test::numbers;

namespace {

// One sequence with queries, keys and values of all its positions, and its caches. Memory of the caches that nothing
// was written to is full of NaN.
struct Sequence {
    AttentionShape shape;
    std::int64_t length;
    std::vector<float> queries;  // [length, heads * head_dim]
    std::vector<float> keys;     // [length, kv_heads * head_dim]
    std::vector<float> values;
    std::vector<float> key_cache;
    std::vector<float> value_cache;
};

Sequence sequence_of(const AttentionShape& shape, std::int64_t length, std::uint32_t seed) {
    Sequence s{shape, length, {}, {}, {}, {}, {}};
    const std::size_t narrow = static_cast<std::size_t>(length * shape.kv_heads * shape.head_dim);
    s.queries = numbers(static_cast<std::size_t>(length * shape.heads * shape.head_dim), seed);
    s.keys = numbers(narrow, seed + 1);
    s.values = numbers(narrow, seed + 2);
    s.key_cache.assign(key_cache_size(shape), NAN);
    s.value_cache.assign(value_cache_size(shape), NAN);
    for (std::int64_t p = 0; p < length; ++p) {
        const std::int64_t at = p * shape.kv_heads * shape.head_dim;
        store_key_value(shape, s.keys.data() + at, s.values.data() + at, p, s.key_cache.data(), s.value_cache.data());
    }
    return s;
}

AttentionRow row_at(const Sequence& s, std::int64_t position, float* result) {
    return {s.queries.data() + position * s.shape.heads * s.shape.head_dim, s.key_cache.data(), s.value_cache.data(),
            position, result};
}

std::vector<float> attended(const ThreadPool& pool, const Sequence& s, const std::vector<std::int64_t>& positions) {
    const std::int64_t width = s.shape.heads * s.shape.head_dim;
    std::vector<float> result(positions.size() * static_cast<std::size_t>(width), -77.0F);
    std::vector<AttentionRow> rows;
    for (std::size_t i = 0; i < positions.size(); ++i)
        rows.push_back(row_at(s, positions[i], result.data() + static_cast<std::int64_t>(i) * width));
    attention(pool, s.shape, rows);
    return result;
}

std::vector<float> alone(const Sequence& s, const std::vector<std::int64_t>& positions) {
    std::vector<float> all;
    for (const std::int64_t position : positions) {
        const std::vector<float> one = attended(ThreadPool(1), s, {position});
        all.insert(all.end(), one.begin(), one.end());
    }
    return all;
}

std::vector<std::int64_t> all_positions(const Sequence& s) {
    std::vector<std::int64_t> positions;
    for (std::int64_t p = 0; p < s.length; ++p)
        positions.push_back(p);
    return positions;
}

// Largest difference from attention in float64, over one row.
double error_at(const Sequence& s, std::int64_t position, const float* result) {
    const AttentionShape& shape = s.shape;
    const std::int64_t first = shape.window > 0 ? std::max<std::int64_t>(0, position - shape.window + 1) : 0;
    double worst = 0;
    for (std::int64_t head = 0; head < shape.heads; ++head) {
        const std::int64_t kv_head = head / (shape.heads / shape.kv_heads);
        const float* q = s.queries.data() + (position * shape.heads + head) * shape.head_dim;
        std::vector<double> weights;
        double highest = -std::numeric_limits<double>::infinity();
        for (std::int64_t j = first; j <= position; ++j) {
            const float* k = s.keys.data() + (j * shape.kv_heads + kv_head) * shape.head_dim;
            double score = 0;
            for (std::int64_t c = 0; c < shape.head_dim; ++c)
                score += static_cast<double>(q[c]) * static_cast<double>(k[c]);
            score *= shape.scale;
            if (shape.soft_cap != 0.0F) score = shape.soft_cap * std::tanh(score / shape.soft_cap);
            weights.push_back(score);
            highest = std::max(highest, score);
        }
        double sum = 0;
        for (double& weight : weights) {
            weight = std::exp(weight - highest);
            sum += weight;
        }
        for (std::int64_t c = 0; c < shape.head_dim; ++c) {
            double wanted = 0;
            for (std::int64_t j = first; j <= position; ++j)
                wanted += weights[static_cast<std::size_t>(j - first)] *
                          static_cast<double>(
                              s.values[static_cast<std::size_t>((j * shape.kv_heads + kv_head) * shape.head_dim + c)]);
            worst = std::max(worst, std::abs(result[head * shape.head_dim + c] - wanted / sum));
        }
    }
    return worst;
}

// The documented order, number by number, for one row and head.
std::vector<float> documented(const Sequence& s, std::int64_t position, std::int64_t head) {
    const AttentionShape& shape = s.shape;
    const ThreadPool pool(1);
    const std::int64_t first = shape.window > 0 ? std::max<std::int64_t>(0, position - shape.window + 1) : 0;
    const std::int64_t kv_head = head / (shape.heads / shape.kv_heads);
    const float* q = s.queries.data() + (position * shape.heads + head) * shape.head_dim;
    const auto chains = [](std::int64_t begin, std::int64_t end, const auto& a, const auto& b) {
        float total = 0.0F;
        bool any = false;
        for (std::int64_t start = begin / 256 * 256; start < end; start += 256) {
            float sum = 0.0F;
            for (std::int64_t i = std::max(begin, start); i < std::min(end, start + 256); ++i)
                sum = std::fma(a(i), b(i), sum);
            total = any ? total + sum : sum;
            any = true;
        }
        return total;
    };
    std::vector<float> e;
    for (std::int64_t j = first; j <= position; ++j) {
        const float* k = s.keys.data() + (j * shape.kv_heads + kv_head) * shape.head_dim;
        e.push_back(chains(
                        0, shape.head_dim, [&](std::int64_t i) { return q[i]; }, [&](std::int64_t i) { return k[i]; }) *
                    shape.scale);
    }
    const std::int64_t count = static_cast<std::int64_t>(e.size());
    if (shape.soft_cap != 0.0F) soft_cap(pool, shape.soft_cap, 1, count, {e.data(), count}, {e.data(), count});
    const float highest = *std::max_element(e.begin(), e.end());
    for (float& score : e)
        score -= highest;
    apply(pool, Function::exp, 1, count, {e.data(), count}, {e.data(), count});
    std::vector<float> partial(32);
    for (std::int64_t j = first; j <= position; ++j)
        partial[static_cast<std::size_t>(j % 32)] += e[static_cast<std::size_t>(j - first)];
    const float sum = kernels_test::pairwise(partial);
    std::vector<float> result;
    for (std::int64_t c = 0; c < shape.head_dim; ++c) {
        const float mixed = chains(
            first, position + 1, [&](std::int64_t j) { return e[static_cast<std::size_t>(j - first)]; },
            [&](std::int64_t j) {
                return s.values[static_cast<std::size_t>((j * shape.kv_heads + kv_head) * shape.head_dim + c)];
            });
        result.push_back(mixed / sum);
    }
    return result;
}

// heads, kv_heads, head_dim, capacity, window, scale, soft cap.
const AttentionShape shapes[] = {
    {1, 1, 64, 40, 0, 0.125F, 0.0F},      // one head
    {8, 4, 256, 320, 0, 0.0625F, 50.0F},  // grouped heads, soft cap
    {4, 4, 80, 300, 7, 0.11F, 0.0F},      // every head its own keys, a window, channels beyond a strip
    {6, 1, 20, 301, 270, 0.2F, 5.0F},     // one key head; a window longer than a chain
    {9, 3, 64, 600, 0, 0.125F, 0.0F},     // groups of three
    {2, 1, 300, 50, 0, 0.06F, 0.0F},      // channels beyond a chain
    {14, 2, 8, 70, 1, 1.0F, 0.0F},        // every token sees itself only
};

std::string what(const AttentionShape& shape) {
    return std::to_string(shape.heads) + " heads, " + std::to_string(shape.kv_heads) + " key heads, " +
           std::to_string(shape.head_dim) + " channels, window " + std::to_string(shape.window);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(attention_rows)

BOOST_AUTO_TEST_CASE(close_to_float64) {
    double worst = 0;
    for (const AttentionShape& shape : shapes) {
        for (const std::int64_t length : {std::int64_t{1}, std::int64_t{2}, std::int64_t{33}, shape.capacity}) {
            const Sequence s = sequence_of(shape, std::min(length, shape.capacity), 41);
            const std::vector<float> result = attended(ThreadPool(2), s, all_positions(s));
            for (std::int64_t p = 0; p < s.length; p += 1 + p / 20) {
                const double error = error_at(s, p, result.data() + p * shape.heads * shape.head_dim);
                worst = std::max(worst, error);
                BOOST_TEST(error < 2e-6, what(shape) << ", position " << p << " of " << s.length << ": " << error);
            }
        }
    }
    BOOST_TEST_MESSAGE("largest difference from attention in float64: " << worst);
}

BOOST_AUTO_TEST_CASE(every_number_is_the_documented_one_bit_for_bit) {
    std::size_t compared = 0;
    for (const AttentionShape& shape : shapes) {
        const Sequence s = sequence_of(shape, shape.capacity, 42);
        const std::vector<float> result = attended(ThreadPool(1), s, all_positions(s));
        for (std::int64_t p = 0; p < s.length; p += 1 + p / 8) {
            for (std::int64_t head = 0; head < shape.heads; ++head) {
                const auto at = result.begin() + (p * shape.heads + head) * shape.head_dim;
                const std::vector<float> model = documented(s, p, head);
                compared += model.size();
                BOOST_TEST(different_bits({at, at + shape.head_dim}, model) == 0U,
                           what(shape) << ", position " << p << ", head " << head);
            }
        }
    }
    BOOST_TEST_MESSAGE(compared << " numbers equal the scalar model bit for bit");
}

BOOST_AUTO_TEST_CASE(a_row_has_the_same_bits_alone_in_a_prefill_and_in_any_order) {
    for (const AttentionShape& shape : shapes) {
        const Sequence s = sequence_of(shape, std::min<std::int64_t>(shape.capacity, 290), 43);
        const std::vector<std::int64_t> all = all_positions(s);
        const std::vector<float> wanted = alone(s, all);
        for (const int threads : {1, 2, 4})
            BOOST_TEST(different_bits(wanted, attended(ThreadPool(threads), s, all)) == 0U, what(shape));
        std::vector<std::int64_t> shuffled;
        for (std::int64_t i = 0; i < s.length; ++i)
            shuffled.push_back((i * 7919 + 13) % s.length);
        BOOST_TEST(different_bits(alone(s, shuffled), attended(ThreadPool(2), s, shuffled)) == 0U, what(shape));
    }
}

BOOST_AUTO_TEST_CASE(rows_of_other_sequences_and_later_positions_change_nothing) {
    const AttentionShape shape{8, 4, 64, 200, 0, 0.125F, 50.0F};
    const std::vector<Sequence> sequences = {sequence_of(shape, 1, 44), sequence_of(shape, 200, 45),
                                             sequence_of(shape, 37, 46), sequence_of(shape, 64, 47)};
    const std::size_t width = 8 * 64;
    std::vector<float> result(sequences.size() * width);
    std::vector<AttentionRow> rows;
    std::vector<float> wanted;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
        const Sequence& s = sequences[i];
        rows.push_back(row_at(s, s.length - 1, result.data() + i * width));
        const std::vector<float> one = alone(s, {s.length - 1});
        wanted.insert(wanted.end(), one.begin(), one.end());
    }
    attention(ThreadPool(3), shape, rows);
    BOOST_TEST(different_bits(wanted, result) == 0U);
    // What stands in the cache behind a position, here that of a longer sequence, is not seen.
    Sequence shortened = sequences[1];
    shortened.key_cache.assign(shortened.key_cache.size(), NAN);
    shortened.value_cache.assign(shortened.value_cache.size(), INFINITY);
    for (std::int64_t p = 0; p <= 100; ++p) {
        const std::int64_t at = p * shape.kv_heads * shape.head_dim;
        store_key_value(shape, shortened.keys.data() + at, shortened.values.data() + at, p, shortened.key_cache.data(),
                        shortened.value_cache.data());
    }
    BOOST_TEST(different_bits(alone(sequences[1], {100}), alone(shortened, {100})) == 0U);
}

BOOST_AUTO_TEST_CASE(the_capacity_of_the_cache_changes_nothing) {
    AttentionShape roomy{6, 2, 48, 150, 0, 0.14F, 0.0F};
    AttentionShape tight = roomy;
    tight.capacity = 61;
    const Sequence a = sequence_of(roomy, 61, 48);
    const Sequence b = sequence_of(tight, 61, 48);
    BOOST_TEST(different_bits(alone(a, all_positions(a)), alone(b, all_positions(b))) == 0U);
}

BOOST_AUTO_TEST_CASE(all_instruction_sets_give_the_same_bits) {
    for (const AttentionShape& shape : shapes) {
        const Sequence s = sequence_of(shape, std::min<std::int64_t>(shape.capacity, 280), 49);
        std::vector<std::int64_t> positions;
        for (std::int64_t p = 0; p < s.length; p += p < 20 || p > 250 ? 1 : 17)
            positions.push_back(p);
        const auto results =
            kernels_test::with_all_instruction_sets([&] { return attended(ThreadPool(1), s, positions); });
        for (const auto& [name, y] : results)
            BOOST_TEST(different_bits(results[0].second, y) == 0U,
                       what(shape) << ", " << results[0].first << " against " << name);
    }
}

BOOST_AUTO_TEST_CASE(huge_scores_do_not_overflow) {
    const AttentionShape shape{1, 1, 32, 32, 0, 1000.0F, 0.0F};
    const Sequence s = sequence_of(shape, 20, 50);
    for (const float value : attended(ThreadPool(1), s, all_positions(s)))
        BOOST_TEST(std::isfinite(value));
}

BOOST_AUTO_TEST_CASE(bad_positions_and_heads_are_refused) {
    const AttentionShape shape{2, 1, 8, 10, 0, 1.0F, 0.0F};
    Sequence s = sequence_of(shape, 10, 51);
    for (const std::int64_t position : {-1, 10}) {
        BOOST_CHECK_THROW(
            store_key_value(shape, s.keys.data(), s.values.data(), position, s.key_cache.data(), s.value_cache.data()),
            pva::InternalError);
        AttentionRow row = row_at(s, 0, nullptr);
        row.position = position;
        BOOST_CHECK_THROW(attention(ThreadPool(1), shape, {&row, 1}), pva::InternalError);
    }
    AttentionShape uneven = shape;
    uneven.heads = 3;
    uneven.kv_heads = 2;
    BOOST_CHECK_THROW(attention(ThreadPool(1), uneven, {}), pva::InternalError);
    attention(ThreadPool(1), shape, {});
}

BOOST_AUTO_TEST_SUITE_END()
