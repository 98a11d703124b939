// Rank statistics: worked example, ties, degenerate AUROC, bad input.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "pva/core/error.h"
#include "pva/stats/ranks.h"

using namespace pva::stats;
namespace tt = boost::test_tools;

namespace {

const std::vector<double> positives = {0, 0, 1.5, 2, 2, 3.5};
const std::vector<double> negatives = {0, 0, 0, 0.5, 1, 2, 0, 0};
const double nan_value = std::numeric_limits<double>::quiet_NaN();

}  // namespace

BOOST_AUTO_TEST_SUITE(ranks_suite)

BOOST_AUTO_TEST_CASE(midranks_share) {
    const std::vector<double> values = {3, 1, 3, -2, 3};
    const std::vector<double> expected = {4, 2, 4, 1, 4};
    BOOST_TEST(midranks(values) == expected, tt::per_element());
    BOOST_TEST(midranks({}).empty());
}

BOOST_AUTO_TEST_CASE(mann_whitney_worked_example) {
    const MannWhitney plain = mann_whitney(positives, negatives);
    BOOST_TEST(plain.u == 35.0);
    BOOST_TEST(plain.variance == 52.087912, tt::tolerance(1e-7));
    BOOST_TEST(plain.z == 1.524138, tt::tolerance(1e-6));
    BOOST_TEST(plain.p == 0.127474, tt::tolerance(1e-5));
    const MannWhitney corrected = mann_whitney(positives, negatives, ContinuityCorrection::half);
    BOOST_TEST(corrected.z == 1.454859, tt::tolerance(1e-6));
    BOOST_TEST(corrected.p == 0.145708, tt::tolerance(1e-5));
    BOOST_TEST(mann_whitney(negatives, positives).z == -plain.z, tt::tolerance(1e-15));
    BOOST_TEST(mann_whitney(negatives, positives, ContinuityCorrection::half).z == -corrected.z, tt::tolerance(1e-15));
}

BOOST_AUTO_TEST_CASE(mann_whitney_of_a_constant) {
    const std::vector<double> tenths(7, 0.1);
    const MannWhitney result = mann_whitney(tenths, tenths);
    BOOST_TEST(result.u == 24.5);
    BOOST_TEST(result.variance == 0.0);
    BOOST_TEST(result.z == 0.0);
    BOOST_TEST(result.p == 1.0);
}

BOOST_AUTO_TEST_CASE(delong_worked_example) {
    const DelongAuroc result = delong(positives, negatives);
    BOOST_TEST(result.auroc == 0.729167, tt::tolerance(1e-6));
    BOOST_TEST(result.auroc == auroc(positives, negatives));
    BOOST_TEST(result.variance == 0.0215278, tt::tolerance(1e-5));
    BOOST_TEST(result.standard_error() == 0.146723, tt::tolerance(1e-5));
    const Interval interval = delong_interval(result);
    BOOST_TEST(interval.lower == 0.385612, tt::tolerance(1e-4));
    BOOST_TEST(interval.upper == 0.920312, tt::tolerance(1e-4));
}

BOOST_AUTO_TEST_CASE(groups_of_ties) {
    const std::vector<TieGroup> groups = tie_groups(positives, negatives);
    BOOST_REQUIRE(groups.size() == 6u);
    BOOST_TEST(groups[0].positives == 2u);
    BOOST_TEST(groups[0].negatives == 5u);
    BOOST_TEST(groups[4].positives == 2u);
    BOOST_TEST(groups[4].negatives == 1u);
    BOOST_TEST(delong(groups).variance == delong(positives, negatives).variance);
}

BOOST_AUTO_TEST_CASE(degenerate_auroc_has_an_exact_interval) {
    const std::vector<double> low = {0, 1, 1, 2}, high = {3, 3, 4, 5, 6}, same(5, 0.1);
    const DelongAuroc one = delong(high, low);
    BOOST_TEST(one.auroc == 1.0);
    BOOST_TEST(one.variance == 0.0);
    const double r = std::pow(0.025, 0.25);
    BOOST_TEST(delong_interval(one).lower == r, tt::tolerance(1e-12));
    BOOST_TEST(delong_interval(one).upper == 1.0);
    BOOST_TEST(delong_interval(one).lower == clopper_pearson(4, 4).lower, tt::tolerance(1e-12));
    const DelongAuroc zero = delong(low, high);
    BOOST_TEST(zero.auroc == 0.0);
    BOOST_TEST(delong_interval(zero).lower == 0.0);
    BOOST_TEST(delong_interval(zero).upper == 1 - r, tt::tolerance(1e-12));
    const DelongAuroc half = delong(same, same);
    BOOST_TEST(half.auroc == 0.5);
    BOOST_TEST(half.variance == 0.0);
    BOOST_TEST(delong_interval(half).lower == std::pow(0.025, 0.2) / 2, tt::tolerance(1e-12));
    BOOST_TEST(delong_interval(half).upper == 1 - std::pow(0.025, 0.2) / 2, tt::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(auroc_counts_pairs) {
    // Against the definition, pair by pair, for every small shape with many ties.
    unsigned state = 1;
    const auto next = [&] { return static_cast<double>((state = state * 1664525u + 1013904223u) >> 30) - 1; };
    for (std::size_t n1 = 1; n1 <= 6; ++n1) {
        for (std::size_t n0 = 1; n0 <= 6; ++n0) {
            std::vector<double> p(n1), n(n0);
            std::generate(p.begin(), p.end(), next);
            std::generate(n.begin(), n.end(), next);
            double u = 0;
            for (double x : p) {
                for (double y : n)
                    u += x > y ? 1 : (x == y ? 0.5 : 0);
            }
            BOOST_TEST(auroc(p, n) == u / static_cast<double>(n1 * n0), tt::tolerance(1e-15));
            BOOST_TEST(mann_whitney(p, n).u == u);
        }
    }
}

BOOST_AUTO_TEST_CASE(paired_delong_of_one_score_with_itself) {
    const std::vector<double> scores = {1, 2, 3, 4, 5, 6};
    const std::vector<double> reversed = {6, 5, 4, 3, 2, 1};
    const std::vector<std::uint8_t> labels = {0, 1, 0, 1, 0, 1};
    const PairedDelong same = delong_paired(scores, scores, labels);
    BOOST_TEST(same.degenerate);
    BOOST_TEST(same.z == 0.0);
    BOOST_TEST(same.p == 1.0);
    const PairedDelong other = delong_paired(scores, reversed, labels);
    BOOST_TEST(!other.degenerate);
    BOOST_TEST(other.auroc_a == 1 - other.auroc_b, tt::tolerance(1e-15));
    // The second score carries nothing new: the variance of A - (1 - A) is four times that of A.
    BOOST_TEST(other.variance == 4 * delong(std::vector<double>{2, 4, 6}, std::vector<double>{1, 3, 5}).variance,
               tt::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(paired_delong_without_variance_claims_nothing) {
    const std::vector<double> perfect = {1, 2, 3, 4}, constant = {1, 1, 1, 1};
    const std::vector<std::uint8_t> labels = {0, 0, 1, 1};
    const PairedDelong result = delong_paired(perfect, constant, labels);
    BOOST_TEST(result.auroc_a == 1.0);
    BOOST_TEST(result.auroc_b == 0.5);
    BOOST_TEST(result.degenerate);
    BOOST_TEST(result.p == 1.0);
}

BOOST_AUTO_TEST_CASE(bad_input) {
    const std::vector<double> broken = {1, nan_value}, one = {1}, two = {1, 2};
    const std::vector<std::uint8_t> labels = {0, 1}, wrong = {0, 2};
    BOOST_CHECK_THROW(midranks(broken), pva::InputError);
    BOOST_CHECK_THROW(auroc(broken, two), pva::InputError);
    BOOST_CHECK_THROW(auroc({}, two), pva::InputError);
    BOOST_CHECK_THROW(auroc(two, {}), pva::InputError);
    BOOST_CHECK_THROW(mann_whitney({}, two), pva::InputError);
    BOOST_CHECK_THROW(delong(one, two), pva::InputError);
    BOOST_CHECK_THROW(delong(two, one), pva::InputError);
    BOOST_CHECK_THROW(split_by_label(one, labels), pva::InputError);
    BOOST_CHECK_THROW(split_by_label(two, wrong), pva::InputError);
    BOOST_CHECK_THROW(split_by_label(broken, labels), pva::InputError);
    BOOST_CHECK_THROW(delong_paired(two, two, labels), pva::InputError);
    BOOST_CHECK_EXCEPTION(delong(one, two), pva::InputError, [](const pva::InputError& error) {
        return std::string(error.what()).find("1 positive and 2 negative") != std::string::npos;
    });
}

BOOST_AUTO_TEST_SUITE_END()
