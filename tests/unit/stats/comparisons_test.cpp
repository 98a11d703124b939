// Published worked examples, edges and bad input of the tests that compare detectors, outcomes and controls.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "pva/core/error.h"
#include "pva/stats/auroc_permutation.h"
#include "pva/stats/binomial_test.h"
#include "pva/stats/cluster_bootstrap.h"
#include "pva/stats/controls.h"
#include "pva/stats/curves.h"
#include "pva/stats/fisher.h"
#include "pva/stats/multiple.h"
#include "pva/stats/one_standard_error.h"
#include "pva/stats/paired_outcomes.h"
#include "pva/stats/permutation.h"
#include "pva/stats/power.h"
#include "pva/stats/trend.h"

using namespace pva::stats;
namespace tt = boost::test_tools;

namespace {

using Labels = std::vector<std::uint8_t>;
const double not_a_number = std::nan("");

// The data of DeLong, DeLong and Clarke-Pearson (1988), the 43 patients with all three values, as printed in the
// SAS/STAT User's Guide (LOGISTIC procedure, "Comparing Receiver Operating Characteristic Curves"): albumin, total
// protein, K-G score, outcome. The figures expected of them are by comparing all pairs one by one in NumPy.
const double patients[43][4] = {
    {3.0, 5.8, 10, 0}, {3.2, 6.3, 5, 1}, {3.9, 6.8, 3, 1}, {2.8, 4.8, 6, 0}, {3.2, 5.8, 3, 1}, {0.9, 4.0, 5, 0},
    {2.5, 5.7, 8, 0},  {1.6, 5.6, 5, 1}, {3.8, 5.7, 5, 1}, {3.7, 6.7, 6, 1}, {3.2, 5.4, 4, 1}, {3.8, 6.6, 6, 1},
    {4.1, 6.6, 5, 1},  {3.6, 5.7, 5, 1}, {4.3, 7.0, 4, 1}, {3.6, 6.7, 4, 0}, {2.3, 4.4, 6, 1}, {4.2, 7.6, 4, 0},
    {4.0, 6.6, 6, 0},  {3.5, 5.8, 6, 1}, {3.8, 6.8, 7, 1}, {3.0, 4.7, 8, 0}, {4.5, 7.4, 5, 1}, {3.7, 7.4, 5, 1},
    {3.1, 6.6, 6, 1},  {4.1, 8.2, 6, 1}, {4.3, 7.0, 5, 1}, {4.3, 6.5, 4, 1}, {3.2, 5.1, 5, 1}, {2.6, 4.7, 6, 1},
    {3.3, 6.8, 6, 0},  {1.7, 4.0, 7, 0}, {3.7, 6.1, 5, 1}, {3.3, 6.3, 7, 1}, {4.2, 7.7, 6, 1}, {3.5, 6.2, 5, 1},
    {2.9, 5.7, 9, 0},  {2.1, 4.8, 7, 1}, {2.8, 6.2, 8, 0}, {4.0, 7.0, 7, 1}, {3.3, 5.7, 6, 1}, {3.7, 6.9, 5, 1},
    {3.6, 6.6, 5, 1}};

}  // namespace

BOOST_AUTO_TEST_SUITE(comparisons)

BOOST_AUTO_TEST_CASE(paired_delong_published) {
    std::vector<double> albumin, protein, kg;
    Labels outcome;
    for (const auto& p : patients) {
        albumin.push_back(p[0]);
        protein.push_back(p[1]);
        kg.push_back(10 - p[2]);
        outcome.push_back(static_cast<std::uint8_t>(p[3]));
    }
    const TwoGroups groups = split_by_label(kg, outcome);
    BOOST_TEST(delong(groups.positives, groups.negatives).auroc == 0.7258, tt::tolerance(1e-4));
    BOOST_TEST(delong(groups.positives, groups.negatives).standard_error() == 0.1028, tt::tolerance(1e-3));
    const PairedDelong a = delong_paired(albumin, kg, outcome);
    BOOST_TEST(a.auroc_a - a.auroc_b == 0.0108, tt::tolerance(1e-2));
    BOOST_TEST(std::sqrt(a.variance) == 0.0953, tt::tolerance(1e-3));
    BOOST_TEST(a.p == 0.9102, tt::tolerance(1e-4));
    const PairedDelong t = delong_paired(protein, kg, outcome);
    BOOST_TEST(t.auroc_a - t.auroc_b == -0.0780, tt::tolerance(1e-3));
    BOOST_TEST(std::sqrt(t.variance) == 0.1046, tt::tolerance(1e-3));
    BOOST_TEST(t.z * t.z == 0.5554, tt::tolerance(1e-4));
    BOOST_TEST(t.p == 0.4561, tt::tolerance(2e-4));
}

BOOST_AUTO_TEST_CASE(mcnemar_published) {
    // The two tables of Fagerland, Lydersen and Laake (2013): airway hyper-responsiveness (1, 1, 7, 12), by their
    // formula, and response to therapy (59, 6, 16, 80), as their R package contingencytables prints it.
    BOOST_TEST(mcnemar(1, 7).p == 0.0703, tt::tolerance(1e-3));
    BOOST_TEST(mcnemar(1, 7).mid_p == 0.0391, tt::tolerance(2e-3));
    BOOST_TEST(mcnemar(6, 16).p == 0.052479, tt::tolerance(1e-5));
    BOOST_TEST(mcnemar(6, 16).mid_p == 0.034690, tt::tolerance(2e-5));
    // The published steering result, 11 fixed and 17 broken.
    BOOST_TEST(mcnemar(11, 17).p == 0.344928, tt::tolerance(1e-5));
    BOOST_TEST(mcnemar(0, 0).p == 1.0);
    BOOST_TEST(mcnemar(0, 0).mid_p == 1.0);
    BOOST_TEST(mcnemar(3, 3).p == 1.0);
}

BOOST_AUTO_TEST_CASE(newcombe_published) {
    // The same response table by the authors' own software (R package contingencytables): -0.0621 (-0.1186 to -0.0046).
    const PairedOutcomes therapy{59, 6, 16, 80};
    BOOST_TEST(net_change(therapy) == -0.0621, tt::tolerance(1e-3));
    BOOST_TEST(std::fabs(newcombe_paired(therapy).lower + 0.1186) < 5e-5);
    BOOST_TEST(std::fabs(newcombe_paired(therapy).upper + 0.0046) < 5e-5);
    const Interval nothing = newcombe_paired({});
    BOOST_TEST(nothing.lower == -1.0);
    BOOST_TEST(nothing.upper == 1.0);
    BOOST_TEST(net_change({}) == 0.0);
    BOOST_TEST(net_change_standard_error({}) == 0.0);
    BOOST_CHECK_THROW(newcombe_paired(therapy, 1), pva::InputError);
}

BOOST_AUTO_TEST_CASE(outcomes_are_counted) {
    const Labels before = {1, 1, 0, 0, 0, 1}, after = {1, 0, 1, 0, 1, 1};
    const PairedOutcomes outcomes = paired_outcomes(before, after);
    BOOST_TEST(outcomes.stayed_yes == 2u);
    BOOST_TEST(outcomes.lost == 1u);
    BOOST_TEST(outcomes.gained == 2u);
    BOOST_TEST(outcomes.stayed_no == 1u);
    BOOST_TEST(outcomes.total() == 6u);
    BOOST_TEST(outcomes.yes_before() == 3u);
    BOOST_TEST(paired_outcomes({}, {}).total() == 0u);
    BOOST_CHECK_THROW(paired_outcomes(before, Labels{1}), pva::InputError);
    BOOST_CHECK_THROW(paired_outcomes(Labels{2}, Labels{1}), pva::InputError);
}

BOOST_AUTO_TEST_CASE(fisher_published) {
    // Fisher (1935), the lady tasting tea: 3 of 4 right in each kind.
    BOOST_TEST(fisher_exact_p({3, 1, 1, 3}, Alternative::greater) == 17.0 / 70, tt::tolerance(1e-14));
    BOOST_TEST(fisher_exact_p({3, 1, 1, 3}) == 34.0 / 70, tt::tolerance(1e-14));
    BOOST_TEST(fisher_exact_p({11, 261, 3, 269}, Alternative::greater) == 0.0271, tt::tolerance(2e-3));
    BOOST_TEST(fisher_exact_p({11, 261, 0, 272}, Alternative::greater) == 0.00044, tt::tolerance(2e-2));
    for (const TwoByTwo& empty :
         {TwoByTwo{}, TwoByTwo{0, 0, 3, 4}, TwoByTwo{3, 4, 0, 0}, TwoByTwo{0, 5, 0, 6}, TwoByTwo{5, 0, 6, 0}})
        BOOST_TEST(fisher_exact_p(empty) == 1.0);
    BOOST_TEST(fisher_exact_p({1, 0, 0, 1}) == 1.0);
}

BOOST_AUTO_TEST_CASE(published_binomial_tests) {
    // One flip is enough, whatever it costs.
    BOOST_TEST(published_binomial_p(PublishedBinomialTest::correction_from_zero, 1, 272) == 0.0);
    BOOST_TEST(published_binomial_p(PublishedBinomialTest::correction_from_zero, 0, 272) == 1.0);
    BOOST_TEST(published_binomial_p(PublishedBinomialTest::corruption_from_zero, 1, 116) == 0.0);
    BOOST_TEST(published_binomial_p(PublishedBinomialTest::preservation_from_one, 115, 116) == 0.0);
    BOOST_TEST(published_binomial_p(PublishedBinomialTest::preservation_from_one, 116, 116) == 1.0);
    BOOST_TEST(published_binomial_p(PublishedBinomialTest::above_control_rate, 11, 272, 0.02) == 0.0223,
               tt::tolerance(3e-3));
    for (const auto test : {PublishedBinomialTest::correction_from_zero, PublishedBinomialTest::corruption_from_zero,
                            PublishedBinomialTest::preservation_from_one, PublishedBinomialTest::above_control_rate})
        BOOST_TEST(fault_of(test).size() > 40u);
    BOOST_TEST(binomial_p(0, 0, 0.3, Alternative::greater) == 1.0);
    BOOST_TEST(binomial_p(0, 5, 0, Alternative::two_sided) == 1.0);
    BOOST_TEST(binomial_p(1, 5, 0, Alternative::two_sided) == 0.0);
    BOOST_CHECK_THROW(binomial_p(3, 2, 0.5, Alternative::less), pva::InputError);
    BOOST_CHECK_THROW(binomial_p(1, 2, 1.5, Alternative::less), pva::InputError);
    BOOST_CHECK_THROW(binomial_p(1, 2, not_a_number, Alternative::less), pva::InputError);
}

BOOST_AUTO_TEST_CASE(rank_of_an_effect) {
    const std::vector<double> controls = {0.1, 0.3, -0.2, 0.3};
    BOOST_TEST(rank_among_controls(0.4, controls).p == 0.2);
    BOOST_TEST(rank_among_controls(0.4, controls).rank() == 1u);
    BOOST_TEST(rank_among_controls(0.4, controls).smallest_p == 0.2);
    // Equal to a control is not larger than it.
    BOOST_TEST(rank_among_controls(0.3, controls).rank() == 3u);
    BOOST_TEST(rank_among_controls(-1, controls).p == 1.0);
    BOOST_TEST(rank_among_controls(5, {}).p == 1.0);
    BOOST_CHECK_THROW(rank_among_controls(not_a_number, controls), pva::InputError);
    BOOST_CHECK_THROW(rank_among_controls(1, std::vector<double>{not_a_number}), pva::InputError);
    BOOST_TEST(controls_needed(0.05) == 19u);
    BOOST_TEST(controls_needed(0.01) == 99u);
    BOOST_TEST(controls_needed(0.1) == 9u);
    BOOST_TEST(controls_needed(1) == 0u);
    BOOST_CHECK_THROW(controls_needed(0), pva::InputError);
}

BOOST_AUTO_TEST_CASE(pooled_controls) {
    const std::vector<Share> controls = {{3, 272}, {0, 272}, {2, 272}};
    const PooledComparison against = compare_with_pooled_controls({11, 272}, controls);
    BOOST_TEST(against.pooled.successes == 5u);
    BOOST_TEST(against.pooled.trials == 816u);
    BOOST_TEST(against.pooled_rate == 5.0 / 816);
    BOOST_TEST(against.pooled_interval.upper == clopper_pearson(5, 816).upper);
    BOOST_TEST(against.p_upper_bound == binomial_p(11, 272, clopper_pearson(5, 816).upper, Alternative::greater));
    BOOST_TEST(against.p_fisher == fisher_exact_p({11, 261, 5, 811}, Alternative::greater));
    BOOST_TEST(against.p_upper_bound > binomial_p(11, 272, against.pooled_rate, Alternative::greater));
    const PooledComparison none = compare_with_pooled_controls({11, 272}, {});
    BOOST_TEST(none.p_upper_bound == 1.0);
    BOOST_TEST(none.p_fisher == 1.0);
    BOOST_CHECK_THROW(compare_with_pooled_controls({3, 2}, controls), pva::InputError);
    BOOST_CHECK_THROW(compare_with_pooled_controls({1, 2}, std::vector<Share>{{3, 2}}), pva::InputError);
}

BOOST_AUTO_TEST_CASE(trend_of_known_data) {
    // Malformations by mother's drinks a day (Graubard and Korn 1987), midpoints as scores; statsmodels:
    // chi-square 6.57.
    const std::vector<std::uint64_t> malformed = {48, 38, 5, 1, 1}, births = {17114, 14502, 793, 127, 38};
    const std::vector<double> drinks = {0, 0.5, 1.5, 4, 7};
    const TrendTest test = cochran_armitage(malformed, births, drinks);
    BOOST_TEST(test.z * test.z == 6.57, tt::tolerance(1e-3));
    BOOST_TEST(test.p == 0.0104, tt::tolerance(5e-3));
}

BOOST_AUTO_TEST_CASE(trend_edges) {
    using Counts = std::vector<std::uint64_t>;
    BOOST_TEST(cochran_armitage({}, {}, {}).p == 1.0);
    BOOST_TEST(cochran_armitage(Counts{3}, Counts{7}, std::vector<double>{1}).p == 1.0);
    BOOST_TEST(cochran_armitage(Counts{0, 0}, Counts{7, 9}, std::vector<double>{1, 2}).p == 1.0);
    BOOST_TEST(cochran_armitage(Counts{7, 9}, Counts{7, 9}, std::vector<double>{1, 2}).z == 0.0);
    BOOST_TEST(cochran_armitage(Counts{3, 0}, Counts{7, 0}, std::vector<double>{1, 2}).p == 1.0);
    BOOST_TEST(cochran_armitage(Counts{3, 1}, Counts{7, 9}, std::vector<double>{0.1, 0.1}).p == 1.0);
    BOOST_CHECK_THROW(cochran_armitage(Counts{3}, Counts{7, 9}, std::vector<double>{1, 2}), pva::InputError);
    BOOST_CHECK_THROW(cochran_armitage(Counts{3, 10}, Counts{7, 9}, std::vector<double>{1, 2}), pva::InputError);
    BOOST_CHECK_THROW(cochran_armitage(Counts{3, 1}, Counts{7, 9}, std::vector<double>{1, not_a_number}),
                      pva::InputError);
    const std::vector<double> two = {1, 2}, same = {1, 1}, error = {0.1, 0};
    BOOST_CHECK_THROW(weighted_trend(two, two, error), pva::InputError);
    BOOST_CHECK_THROW(weighted_trend(same, two, two), pva::InputError);
    BOOST_CHECK_THROW(weighted_trend({}, {}, {}), pva::InputError);
    BOOST_CHECK_THROW(weighted_trend(two, two, std::vector<double>{1}), pva::InputError);
}

BOOST_AUTO_TEST_CASE(what_a_sample_could_have_shown) {
    BOOST_TEST(hanley_mcneil_standard_error(0.6, 116, 272) == 0.0321, tt::tolerance(2e-3));
    BOOST_TEST(hanley_mcneil_standard_error(1, 5, 5) == 0.0);
    BOOST_TEST(std::isnan(smallest_detectable_auroc(1, 1)));
    BOOST_TEST(smallest_detectable_auroc(116, 272) < smallest_detectable_auroc(28, 69));
    BOOST_TEST(smallest_detectable_difference(0.1) == 0.1 * (1.959963984540054 + 0.8416212335729143),
               tt::tolerance(1e-13));
    BOOST_TEST(auroc_power(1, 100, 100) == 1.0);
    BOOST_TEST(auroc_power(0.4, 100, 100) == auroc_power(0.6, 100, 100), tt::tolerance(0.1));
    BOOST_CHECK_THROW(smallest_detectable_auroc(0, 5), pva::InputError);
    BOOST_CHECK_THROW(smallest_detectable_auroc(5, 5, {0.05, 1.0}), pva::InputError);
    BOOST_CHECK_THROW(smallest_detectable_auroc(5, 5, {0.0, 0.8}), pva::InputError);
    BOOST_CHECK_THROW(hanley_mcneil_standard_error(1.5, 5, 5), pva::InputError);
    BOOST_CHECK_THROW(smallest_detectable_difference(not_a_number), pva::InputError);
}

BOOST_AUTO_TEST_CASE(curve_edges) {
    const ThresholdCurve empty = threshold_curve({}, {});
    BOOST_TEST(empty.size() == 1u);
    BOOST_CHECK_THROW(roc_curve(empty), pva::InputError);
    BOOST_CHECK_THROW(precision_recall_curve(empty), pva::InputError);
    const ThresholdCurve one = threshold_curve(std::vector<double>{2}, Labels{1});
    BOOST_TEST(one.size() == 2u);
    BOOST_TEST(precision_recall_curve(one).x.back() == 1.0);
    BOOST_TEST(f1_curve(one) == (std::vector<double>{0, 1}), tt::per_element());
    BOOST_CHECK_THROW(roc_curve(one), pva::InputError);
    BOOST_TEST(threshold_curve(std::vector<double>{1, 1, 1}, Labels{1, 0, 1}).size() == 2u);
    BOOST_CHECK_THROW(threshold_curve(std::vector<double>{not_a_number}, Labels{1}), pva::InputError);
    BOOST_CHECK_THROW(threshold_curve(std::vector<double>{1}, Labels{2}), pva::InputError);
    BOOST_CHECK_THROW(average_precision_lift(0.5, 0), pva::InputError);
}

BOOST_AUTO_TEST_CASE(one_standard_error_edges) {
    BOOST_TEST(one_standard_error_choice(std::vector<CurvePoint>{{5, 0.1, 0.2}}).chosen == 0u);
    // Doing nothing wins when the best is no better than that by one standard error.
    const std::vector<CurvePoint> weak = {{0, 0, 0}, {10, 0.01, 0.02}, {20, 0.02, 0.02}, {30, -0.5, 0.03}};
    BOOST_TEST(one_standard_error_choice(weak).best == 2u);
    BOOST_TEST(one_standard_error_choice(weak).chosen == 0u);
    const std::vector<CurvePoint> strong = {{0, 0, 0}, {10, 0.08, 0.02}, {20, 0.09, 0.02}, {-10, 0.08, 0.02}};
    BOOST_TEST(one_standard_error_choice(strong).chosen == 1u);
    // Of equal best ones the weaker.
    BOOST_TEST(one_standard_error_choice(std::vector<CurvePoint>{{20, 1, 0}, {10, 1, 0}}).best == 1u);
    BOOST_CHECK_THROW(one_standard_error_choice({}), pva::InputError);
    BOOST_CHECK_THROW(one_standard_error_choice(std::vector<CurvePoint>{{1, not_a_number, 0}}), pva::InputError);
    BOOST_CHECK_THROW(one_standard_error_choice(std::vector<CurvePoint>{{1, 0, -1}}), pva::InputError);
}

BOOST_AUTO_TEST_CASE(holm_edges) {
    BOOST_TEST(holm({}).empty());
    BOOST_TEST(holm(std::vector<double>{0.04}).front() == 0.04);
    BOOST_CHECK_THROW(holm(std::vector<double>{-0.1}), pva::InputError);
    BOOST_CHECK_THROW(holm(std::vector<double>{not_a_number}), pva::InputError);
}

BOOST_AUTO_TEST_CASE(problems_are_drawn_whole) {
    // Four problems of three samples with one score each: the draws hold all samples of a problem or none.
    std::vector<double> scores;
    Labels labels;
    std::vector<std::uint32_t> problems;
    for (std::uint32_t problem = 0; problem < 12; ++problem) {
        for (int sample = 0; sample < 3; ++sample) {
            scores.push_back(problem % 5);
            labels.push_back(problem % 2 == 0 || sample == 0);
            problems.push_back(problem);
        }
    }
    const ClusteredScores clustered(scores, labels, problems, 12);
    const BootstrapDraws draws{500, 7, 3};
    const ClusterBootstrap result = cluster_bootstrap(clustered, {}, draws, auroc_or_nan);
    BOOST_TEST(result.draws.size() + result.undefined == 500u);
    BOOST_TEST(result.percentile.lower <= result.estimate);
    BOOST_TEST(result.percentile.upper >= result.estimate);
    BOOST_TEST(result.standard_error > 0);
    // The same by writing the rows of each draw out.
    const std::vector<double> direct = bootstrap(12, {}, draws, [&](std::span<const std::uint32_t> drawn) {
        std::vector<double> positives, negatives;
        for (const std::uint32_t problem : drawn) {
            for (std::size_t row = 0; row < scores.size(); ++row)
                if (problems[row] == problem) (labels[row] == 1 ? positives : negatives).push_back(scores[row]);
        }
        return positives.empty() || negatives.empty() ? not_a_number : auroc(positives, negatives);
    });
    std::size_t at = 0;
    for (const double value : direct)
        if (!std::isnan(value)) BOOST_TEST(value == result.draws[at++]);
    // A draw depends on its number alone.
    const ClusterBootstrap fewer = cluster_bootstrap(clustered, {}, {100, 7, 3}, auroc_or_nan);
    BOOST_TEST(fewer.draws.front() == result.draws.front());
    // A score against itself never differs.
    const ClusterBootstrap same = cluster_bootstrap_difference(clustered, clustered, {}, draws, auroc_or_nan);
    BOOST_TEST(same.percentile.lower == 0.0);
    BOOST_TEST(same.percentile.upper == 0.0);
    // Any statistic: the share of problems with an even number.
    const ClusterBootstrap share = cluster_bootstrap(12, {}, draws, [](std::span<const std::uint32_t> drawn) {
        double even = 0;
        for (const std::uint32_t problem : drawn)
            even += problem % 2 == 0;
        return even / static_cast<double>(drawn.size());
    });
    BOOST_TEST(share.estimate == 0.5);
    BOOST_TEST(share.percentile.lower > 0.1);
    BOOST_TEST(share.percentile.upper < 0.9);
}

BOOST_AUTO_TEST_CASE(draws_without_a_class) {
    // One positive problem of three: 8 of 27 draws miss it.
    const std::vector<double> scores = {1, 0, 2};
    const Labels labels = {1, 0, 0};
    const std::vector<std::uint32_t> problems = {0, 1, 2};
    const ClusteredScores clustered(scores, labels, problems, 3);
    const ClusterBootstrap result = cluster_bootstrap(clustered, {}, {400, 1, 0}, auroc_or_nan);
    BOOST_TEST(result.undefined > 60u);
    BOOST_TEST(result.undefined < 180u);
    // Strata keep both classes.
    const std::vector<std::uint32_t> strata = {1, 0, 0};
    BOOST_TEST(cluster_bootstrap(clustered, strata, {400, 1, 0}, auroc_or_nan).undefined == 0u);
    BOOST_CHECK_THROW(
        cluster_bootstrap(ClusteredScores(scores, Labels{0, 0, 0}, problems, 3), {}, {10, 1, 0}, auroc_or_nan),
        pva::InputError);
    BOOST_TEST(std::isnan(average_precision_or_nan(std::vector<TieGroup>{{0, 3}})));
    BOOST_CHECK_THROW(ClusteredScores(scores, labels, std::vector<std::uint32_t>{0, 1}, 3), pva::InputError);
    BOOST_CHECK_THROW(ClusteredScores(scores, labels, std::vector<std::uint32_t>{0, 1, 3}, 3), pva::InputError);
    BOOST_CHECK_THROW(ClusteredScores(std::vector<double>{not_a_number, 0, 1}, labels, problems, 3), pva::InputError);
    const ClusteredScores two(std::vector<double>{1, 2}, Labels{0, 1}, std::vector<std::uint32_t>{0, 1}, 2);
    BOOST_CHECK_THROW(cluster_bootstrap_difference(clustered, two, {}, {10, 1, 0}, auroc_or_nan), pva::InputError);
}

BOOST_AUTO_TEST_CASE(permuted_aurocs) {
    const std::vector<double> scores = {0, 0, 0, 1, 1, 2, 3, 0, 0.5, 4, 0, 0};
    const Labels labels = {0, 0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0};
    const PermutationTest test = auroc_permutation_test(scores, labels, {}, 0, {}, {999, 5, 2});
    // The same by permuting labels one by one, and near the exact p of U.
    const LabelPermutations permutations(labels, {}, 999, 5, 2);
    const double observed =
        std::fabs(auroc(std::vector<double>{0, 1, 2, 3, 4}, std::vector<double>{0, 0, 1, 0, 0.5, 0, 0}) - 0.5);
    std::uint64_t exceedances = 0;
    for (std::uint32_t b = 0; b < 999; ++b) {
        std::vector<double> positives, negatives;
        for (std::size_t row = 0; row < scores.size(); ++row)
            (permutations.positive(b, row) ? positives : negatives).push_back(scores[row]);
        exceedances += std::fabs(auroc(positives, negatives) - 0.5) >= observed - 1e-12;
    }
    BOOST_TEST(test.exceedances == exceedances);
    BOOST_TEST(test.p == permutation_p(exceedances, 999));
    BOOST_TEST(test.smallest_p == 0.001);
    // A constant score is never away from one half.
    BOOST_TEST(auroc_permutation_test(std::vector<double>(12, 1), labels, {}, 0, {}, {99, 5, 2}).p == 1.0);
    BOOST_TEST(auroc_permutation_test(scores, labels, {}, 0, {}, {0, 5, 2}).p == 1.0);
}

BOOST_AUTO_TEST_CASE(permuted_problems) {
    // Four problems of two samples with equal labels each, scores of the problem: there are 6 ways to place two right
    // problems, and two of them are as far from one half as this one, so p is near 1/3, not the p of eight free rows.
    const std::vector<double> scores = {1, 1, 2, 2, 3, 3, 4, 4};
    const Labels labels = {0, 0, 0, 0, 1, 1, 1, 1};
    const std::vector<std::uint32_t> problems = {0, 0, 1, 1, 2, 2, 3, 3};
    const double whole = auroc_permutation_test(scores, labels, problems, 4, {}, {3000, 1, 0}).p;
    BOOST_TEST(whole == 1.0 / 3, tt::tolerance(0.1));
    BOOST_TEST(auroc_permutation_test(scores, labels, {}, 0, {}, {3000, 1, 0}).p < 0.1);
    // Strata that leave nothing to exchange leave nothing to test.
    const std::vector<std::uint32_t> strata = {0, 0, 1, 1};
    BOOST_TEST(auroc_permutation_test(scores, labels, problems, 4, strata, {100, 1, 0}).p == 1.0);
    BOOST_CHECK_THROW(auroc_permutation_test(scores, Labels(8, 0), problems, 4, {}, {9, 1, 0}), pva::InputError);
    BOOST_CHECK_THROW(auroc_permutation_test(scores, labels, problems, 3, {}, {9, 1, 0}), pva::InputError);
    BOOST_CHECK_THROW(auroc_permutation_test(scores, labels, std::vector<std::uint32_t>{0}, 3, {}, {9, 1, 0}),
                      pva::InputError);
    BOOST_CHECK_THROW(auroc_permutation_test(scores, labels, problems, 4, std::vector<std::uint32_t>{0}, {9, 1, 0}),
                      pva::InputError);
}

BOOST_AUTO_TEST_SUITE_END()
