// Exact tests, permutations and the bootstrap: against SciPy and statsmodels (tests/golden/stats_resampling.json, made by
// tests/reference/stats/make_resampling_golden.py), and by counting.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "../golden_document.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/stats/bootstrap.h"
#include "pva/stats/multiple.h"
#include "pva/stats/permutation.h"
#include "pva/stats/ranks.h"
#include "pva/stats/sparse_columns.h"

using namespace pva::stats;
using nlohmann::json;
namespace tt = boost::test_tools;

namespace {

const json& golden() {
    static const json document = golden_document("stats_resampling.json");
    return document;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(resampling_suite)

BOOST_AUTO_TEST_CASE(exact_mann_whitney) {
    BOOST_REQUIRE(golden()["exact_mann_whitney"].size() >= 16u);
    for (const auto& [name, expected] : golden()["exact_mann_whitney"].items()) {
        const auto p = expected["positives"].get<std::vector<double>>();
        const auto n = expected["negatives"].get<std::vector<double>>();
        BOOST_TEST_CONTEXT(name) {
            const std::optional<double> found = exact_mann_whitney_p(tie_groups(p, n), 1e9);
            BOOST_REQUIRE(found.has_value());
            BOOST_TEST(*found == expected["p"].get<double>(), tt::tolerance(1e-10));
            // The other way round nothing changes.
            BOOST_TEST(*exact_mann_whitney_p(tie_groups(n, p), 1e9) == *found, tt::tolerance(1e-10));
        }
    }
}

BOOST_AUTO_TEST_CASE(exact_mann_whitney_limits_its_work) {
    std::vector<double> p(200), n(200);
    std::iota(p.begin(), p.end(), 0.0);
    std::iota(n.begin(), n.end(), 100.5);
    BOOST_TEST(!exact_mann_whitney_p(tie_groups(p, n)).has_value());
    // 30 rows that fire among 10,000 are within the usual limit.
    std::vector<double> few(4000, 0.0), others(6000, 0.0);
    for (std::size_t i = 0; i < 20; ++i) few[i] = 1.0 + static_cast<double>(i);
    for (std::size_t i = 0; i < 10; ++i) others[i] = 1.5 + static_cast<double>(i);
    BOOST_TEST(exact_mann_whitney_p(tie_groups(few, others)).has_value());
    BOOST_CHECK_THROW(exact_mann_whitney_p(std::vector<TieGroup>{{2, 0}}), pva::InputError);
}

// A valid p: under random labels P(p <= a) <= a, here over all labellings of a small tied sample.
BOOST_AUTO_TEST_CASE(exact_mann_whitney_keeps_its_level) {
    const std::vector<double> values = {0, 0, 0, 0, 1, 1, 2, 3.5, 4};
    std::vector<double> p_values;
    for (unsigned mask = 0; mask < 1u << values.size(); ++mask) {
        std::vector<double> p, n;
        for (std::size_t i = 0; i < values.size(); ++i) (mask >> i & 1u ? p : n).push_back(values[i]);
        if (p.size() == 4) p_values.push_back(*exact_mann_whitney_p(tie_groups(p, n)));
    }
    BOOST_TEST(p_values.size() == 126u);
    for (const double a : p_values) {
        const auto at_most = std::count_if(p_values.begin(), p_values.end(), [&](double p) { return p <= a; });
        BOOST_TEST(static_cast<double>(at_most) / 126 <= a + 1e-12);
    }
}

BOOST_AUTO_TEST_CASE(false_discovery_rates_of_statsmodels) {
    for (const json& expected : golden()["fdr"]) {
        const auto q = benjamini_hochberg(expected["p"].get<std::vector<double>>());
        for (std::size_t i = 0; i < q.size(); ++i) BOOST_TEST(q[i] == expected["q"][i].get<double>(), tt::tolerance(1e-10));
    }
}

BOOST_AUTO_TEST_CASE(bootstrap_intervals_of_scipy) {
    for (const json& expected : golden()["bca"]) {
        const auto draws = expected["draws"].get<std::vector<double>>();
        const auto jackknife = expected["jackknife"].get<std::vector<std::vector<double>>>();
        const double confidence = expected["confidence"];
        const Interval bca = bca_interval(draws, expected["estimate"], jackknife, confidence);
        BOOST_TEST(bca.lower == expected["bca"][0].get<double>(), tt::tolerance(1e-10));
        BOOST_TEST(bca.upper == expected["bca"][1].get<double>(), tt::tolerance(1e-10));
        const Interval percentile = percentile_interval(draws, confidence);
        BOOST_TEST(percentile.lower == expected["percentile"][0].get<double>(), tt::tolerance(1e-10));
        BOOST_TEST(percentile.upper == expected["percentile"][1].get<double>(), tt::tolerance(1e-10));
    }
    const json& q = golden()["quantiles"];
    for (std::size_t i = 0; i < q["shares"].size(); ++i) {
        BOOST_TEST(quantile(q["values"].get<std::vector<double>>(), q["shares"][i]) == q["quantiles"][i].get<double>(), tt::tolerance(1e-12));
    }
    BOOST_CHECK_THROW(quantile({}, 0.5), pva::InputError);
    BOOST_CHECK_THROW(quantile(std::vector<double>{1}, 1.5), pva::InputError);
    BOOST_CHECK_THROW(percentile_interval(std::vector<double>{1}, 95), pva::InputError);
}

BOOST_AUTO_TEST_CASE(degenerate_draws_have_an_interval) {
    const std::vector<double> same(10, 2.5);
    const std::vector<std::vector<double>> jackknife = {std::vector<double>(4, 2.5)};
    BOOST_TEST(bca_interval(same, 2.5, jackknife).lower == 2.5);
    BOOST_TEST(bca_interval(same, 2.5, jackknife).upper == 2.5);
    BOOST_TEST(bca_interval(std::vector<double>{1, 2, 3}, 9, jackknife).upper == percentile_interval(std::vector<double>{1, 2, 3}).upper);
}

BOOST_AUTO_TEST_CASE(bootstrap_draws_within_strata) {
    const std::vector<std::uint32_t> strata = {1, 0, 1, 1, 0};
    std::vector<std::vector<std::uint32_t>> drawn;
    const auto results = bootstrap(5, strata, {.n = 50, .seed = 3, .stream = 1}, [&](std::span<const std::uint32_t> units) {
        drawn.emplace_back(units.begin(), units.end());
        return static_cast<double>(units[0]);
    });
    BOOST_TEST(results.size() == 50u);
    bool differs = false;
    for (const auto& units : drawn) {
        BOOST_REQUIRE(units.size() == 5u);
        for (std::size_t i = 0; i < 2; ++i) BOOST_TEST((units[i] == 1 || units[i] == 4));
        for (std::size_t i = 2; i < 5; ++i) BOOST_TEST((units[i] == 0 || units[i] == 2 || units[i] == 3));
        differs |= units != drawn.front();
    }
    BOOST_TEST(differs);
    // Draw 7 is draw 7, whatever is drawn besides.
    std::vector<double> fewer = bootstrap(5, strata, {.n = 8, .seed = 3, .stream = 1}, [](std::span<const std::uint32_t> units) { return static_cast<double>(units[0]); });
    BOOST_TEST(fewer[7] == results[7]);
    BOOST_CHECK_THROW(bootstrap(4, strata, {}, [](auto) { return 0.0; }), pva::InputError);
}

BOOST_AUTO_TEST_CASE(permutations_keep_the_counts_of_each_stratum) {
    const std::vector<std::uint8_t> labels = {1, 0, 0, 1, 1, 0, 0, 0, 1, 0};
    const std::vector<std::uint32_t> strata = {0, 0, 0, 0, 2, 2, 2, 7, 7, 7};
    const LabelPermutations within(labels, strata, 200, 5, 6);
    const LabelPermutations among(labels, {}, 200, 5, 6);
    bool crossed = false;
    for (std::uint32_t b = 0; b < 200; ++b) {
        int first = 0, second = 0, third = 0, all = 0, first_among = 0;
        for (std::size_t row = 0; row < labels.size(); ++row) {
            (row < 4 ? first : row < 7 ? second : third) += within.positive(b, row);
            all += among.positive(b, row);
            first_among += row < 4 && among.positive(b, row);
        }
        BOOST_TEST(first == 2);
        BOOST_TEST(second == 1);
        BOOST_TEST(third == 1);
        BOOST_TEST(all == 4);
        crossed |= first_among != 2;
    }
    BOOST_TEST(crossed);
    BOOST_CHECK_THROW(LabelPermutations(labels, std::vector<std::uint32_t>(3), 1, 0, 0), pva::InputError);
    BOOST_CHECK_THROW(LabelPermutations(std::vector<std::uint8_t>{2}, {}, 1, 0, 0), pva::InputError);
}

// Every labelling is equally likely: chi-square over the 20 labellings of 6 rows with 3 positives.
BOOST_AUTO_TEST_CASE(permutations_are_uniform) {
    const std::vector<std::uint8_t> labels = {1, 1, 1, 0, 0, 0};
    const LabelPermutations permutations(labels, {}, 20000, 11, 12);
    std::map<unsigned, int> counts;
    for (std::uint32_t b = 0; b < permutations.size(); ++b) {
        unsigned mask = 0;
        for (std::size_t row = 0; row < 6; ++row) mask |= static_cast<unsigned>(permutations.positive(b, row)) << row;
        ++counts[mask];
    }
    BOOST_TEST(counts.size() == 20u);
    double chi_square = 0;
    for (const auto& [mask, count] : counts) chi_square += (count - 1000.0) * (count - 1000.0) / 1000;
    BOOST_TEST(chi_square < 43.8);  // 0.1 % point of chi-square with 19 degrees of freedom
}

BOOST_AUTO_TEST_CASE(permuted_sums_are_sums_over_the_positive_rows) {
    const std::vector<std::uint8_t> labels = {1, 0, 1, 0, 1, 0, 0};
    const LabelPermutations permutations(labels, {}, 70, 1, 2);
    const std::vector<std::uint32_t> rows = {0, 3, 6};
    const std::vector<double> weights = {0.5, -2, 8};
    std::vector<double> sums(permutation_chunk);
    for (const std::uint32_t first : {0u, permutation_chunk}) {
        permuted_sums(permuted_labels(permutations, first), rows, weights, sums);
        for (std::uint32_t b = first; b < first + permutation_chunk; ++b) {
            double expected = 0;
            for (std::size_t i = 0; i < rows.size(); ++i) expected += b < 70 && permutations.positive(b, rows[i]) ? weights[i] : 0;
            BOOST_TEST(sums[b - first] == expected);
        }
    }
}

BOOST_AUTO_TEST_CASE(maxima) {
    const double infinity = std::numeric_limits<double>::infinity();
    std::vector<double> maxima(99);
    std::iota(maxima.begin(), maxima.end(), 1.0);
    // 5 of 100 (the observed labelling among them) are at least 96, 97, 98, 99 or itself.
    BOOST_TEST(max_statistic_threshold(maxima, 0.05) == 96.0);
    BOOST_TEST(max_statistic_threshold(maxima, 0.01) == std::nextafter(99.0, infinity));
    BOOST_TEST(max_statistic_threshold(maxima, 0.005) == infinity);
    BOOST_TEST(max_statistic_threshold({}, 0.05) == infinity);
    const auto p = max_statistic_p(std::vector<double>{0.5, 96, 99.5}, maxima);
    BOOST_TEST(p[0] == 1.0);
    BOOST_TEST(p[1] == 0.05, tt::tolerance(1e-15));
    BOOST_TEST(p[2] == 0.01, tt::tolerance(1e-15));
    // Equal maxima count together.
    BOOST_TEST(max_statistic_threshold(std::vector<double>(99, 3.0), 0.05) == std::nextafter(3.0, infinity));
    BOOST_TEST(permutation_p(0, 999) == 0.001, tt::tolerance(1e-15));
}

BOOST_AUTO_TEST_CASE(columns_of_sparse_rows) {
    const std::vector<std::uint64_t> offsets = {0, 2, 2, 5, 6};
    const std::vector<std::uint32_t> latents = {0, 3, 0, 1, 3, 3};
    const std::vector<float> values = {1.0F, 2.0F, 0.25F, -1.0F, 2.0F, 0.0F};
    const CsrView codes{offsets, latents, values, 5};
    const SparseColumns all = sparse_columns(codes, 0, 5);
    BOOST_TEST(all.size() == 5u);
    BOOST_TEST(all.rows_of(0).size() == 2u);
    BOOST_TEST(all.rows_of(0)[1] == 2u);
    BOOST_TEST(all.values_of(3).size() == 2u);  // the 0 of row 3 is left out
    BOOST_TEST(all.rows_of(4).empty());
    const SparseColumns some = sparse_columns(codes, 1, 4, 0.5);
    BOOST_TEST(some.size() == 3u);
    BOOST_TEST(some.rows_of(0).empty());  // -1 is not above 0.5
    BOOST_TEST(some.rows_of(2)[1] == 2u);
    BOOST_TEST(sparse_columns(codes, 0, 1, 0.5).rows_of(0).size() == 1u);
    BOOST_CHECK_THROW(sparse_columns(codes, 2, 6), pva::InternalError);
    BOOST_CHECK_THROW(sparse_columns(codes, 3, 2), pva::InternalError);
}

BOOST_AUTO_TEST_CASE(groups_of_a_column_are_those_of_the_dense_values) {
    pva::PhiloxStream random(1, 2, 3);
    std::vector<std::uint64_t> keys;
    std::vector<TieGroup> groups;
    for (int round = 0; round < 200; ++round) {
        const std::size_t n = 4 + random.below(30);
        std::vector<std::uint8_t> labels(n);
        std::vector<double> positives, negatives;
        std::vector<std::uint32_t> rows;
        std::vector<float> values;
        for (std::size_t row = 0; row < n; ++row) {
            labels[row] = static_cast<std::uint8_t>(row == 0 ? 1 : row == 1 ? 0 : random.below(2));
            const float value = round % 4 == 0 ? 0.0F : static_cast<float>(random.below(5)) / 2 - static_cast<float>(round % 3);
            if (value != 0) {
                rows.push_back(static_cast<std::uint32_t>(row));
                values.push_back(value);
            }
            (labels[row] == 1 ? positives : negatives).push_back(value);
        }
        tie_groups_of_column(rows, values, labels, positives.size(), negatives.size(), keys, groups);
        const auto expected = tie_groups(positives, negatives);
        BOOST_REQUIRE(groups.size() == expected.size());
        for (std::size_t g = 0; g < groups.size(); ++g) {
            BOOST_TEST(groups[g].positives == expected[g].positives);
            BOOST_TEST(groups[g].negatives == expected[g].negatives);
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
