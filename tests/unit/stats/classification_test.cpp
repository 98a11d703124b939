// Confusion counts, the figures made of them, average precision and thresholds.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "pva/core/error.h"
#include "pva/stats/classification.h"
#include "pva/stats/thresholds.h"

using namespace pva::stats;
namespace tt = boost::test_tools;

namespace {

using Labels = std::vector<std::uint8_t>;
const double infinity = std::numeric_limits<double>::infinity();

}  // namespace

BOOST_AUTO_TEST_SUITE(classification_suite)

BOOST_AUTO_TEST_CASE(published_counts) {
    // The published detectors on 388 problems (116 pass): the figures that their F1 alone does not tell.
    const ConfusionCounts wrong{268, 113, 3, 4};
    BOOST_TEST(precision(wrong) == 0.703, tt::tolerance(1e-3));
    BOOST_TEST(recall(wrong) == 0.985, tt::tolerance(1e-3));
    BOOST_TEST(f1(wrong) == 0.821, tt::tolerance(1e-3));
    BOOST_TEST(mcc(wrong) == 0.038, tt::tolerance(2e-2));
    BOOST_TEST(balanced_accuracy(wrong) == 0.506, tt::tolerance(1e-3));
    const ConfusionCounts right{96, 169, 103, 20};
    BOOST_TEST(f1(right) == 0.504, tt::tolerance(1e-3));
    BOOST_TEST(mcc(right) == 0.203, tt::tolerance(5e-3));
    BOOST_TEST(balanced_accuracy(right) == 0.603, tt::tolerance(1e-3));
    BOOST_TEST(right.total() == 388u);
}

BOOST_AUTO_TEST_CASE(always_positive) {
    BOOST_TEST(always_positive_f1(272.0 / 388) == 0.8242, tt::tolerance(1e-4));
    BOOST_TEST(always_positive_f1(116.0 / 388) == 0.4603, tt::tolerance(1e-4));
    BOOST_TEST(always_positive_f1(0) == 0.0);
    BOOST_TEST(always_positive_f1(1) == 1.0);
    // It is what f1 gives for a table in which everything is predicted positive.
    BOOST_TEST(always_positive_f1(0.25) == f1({5, 15, 0, 0}), tt::tolerance(1e-15));
    BOOST_CHECK_THROW(always_positive_f1(1.5), pva::InputError);
    BOOST_CHECK_THROW(always_positive_f1(std::nan("")), pva::InputError);
}

BOOST_AUTO_TEST_CASE(undefined_figures_are_zero) {
    const ConfusionCounts nothing{};
    BOOST_TEST(precision(nothing) == 0.0);
    BOOST_TEST(recall(nothing) == 0.0);
    BOOST_TEST(f1(nothing) == 0.0);
    BOOST_TEST(mcc(nothing) == 0.0);
    BOOST_TEST(balanced_accuracy(nothing) == 0.0);
    BOOST_TEST(mcc({7, 3, 0, 0}) == 0.0);
    BOOST_TEST(balanced_accuracy({7, 3, 0, 0}) == 0.5);
    BOOST_TEST(precision({0, 0, 3, 7}) == 0.0);
    BOOST_TEST(mcc({5, 0, 4, 0}) == 1.0, tt::tolerance(1e-15));
    BOOST_TEST(mcc({0, 5, 0, 4}) == -1.0, tt::tolerance(1e-15));
}

BOOST_AUTO_TEST_CASE(the_threshold_itself_is_positive) {
    const std::vector<double> scores = {0, 1, 1, 2};
    const Labels labels = {0, 0, 1, 1};
    const ConfusionCounts counts = confusion(scores, labels, 1);
    BOOST_TEST(counts.true_positives == 2u);
    BOOST_TEST(counts.false_positives == 1u);
    BOOST_TEST(counts.true_negatives == 1u);
    BOOST_TEST(counts.false_negatives == 0u);
    BOOST_CHECK_THROW(confusion(scores, Labels{0, 1}, 1), pva::InputError);
    BOOST_CHECK_THROW(confusion(scores, labels, std::nan("")), pva::InputError);
}

BOOST_AUTO_TEST_CASE(average_precision_groups_ties) {
    // Thresholds 3, 2, 0: (R, P) = (1/3, 1), (2/3, 2/3), (1, 3/5).
    const std::vector<double> scores = {3, 2, 2, 0, 0};
    const Labels labels = {1, 0, 1, 1, 0};
    BOOST_TEST(average_precision(scores, labels) == 1.0 / 3 + 2.0 / 9 + 0.2, tt::tolerance(1e-15));
    // A constant score finds everything at once, at the base rate.
    BOOST_TEST(average_precision(std::vector<double>(5, 1.0), labels) == 0.6, tt::tolerance(1e-15));
    BOOST_CHECK_THROW(average_precision(scores, Labels(5, 0)), pva::InputError);
}

BOOST_AUTO_TEST_CASE(candidates) {
    const std::vector<double> scores = {2, 0, 0, 1, 2};
    const std::vector<double> expected = {0, 0.5, 1.5, std::nextafter(2.0, infinity)};
    BOOST_TEST(candidate_thresholds(scores) == expected, tt::per_element());
    BOOST_TEST(candidate_thresholds({}).empty());
    const double above = std::nextafter(1.0, 2.0);
    const std::vector<double> neighbours = {1.0, above};
    BOOST_TEST(candidate_thresholds(neighbours)[1] == above);
    BOOST_CHECK_THROW(candidate_thresholds(std::vector<double>{1, infinity}), pva::InputError);
    BOOST_CHECK_THROW(candidate_thresholds(std::vector<double>{std::nan("")}), pva::InputError);
}

BOOST_AUTO_TEST_CASE(best_thresholds) {
    const std::vector<double> scores = {0, 0, 1, 2, 3, 3};
    const Labels labels = {0, 0, 0, 1, 0, 1};
    const Threshold best = f1_optimal_threshold(scores, labels);
    BOOST_TEST(best.value == 1.5);
    BOOST_TEST(f1(best.counts) == 0.8);
    BOOST_TEST(youden_threshold(scores, labels).value == 1.5);
    BOOST_TEST(confusion(scores, labels, best.value).true_positives == best.counts.true_positives);
}

BOOST_AUTO_TEST_CASE(of_equal_thresholds_the_highest) {
    // F1 is 2/3 at the top (1 of 1 right, of 2) and 2/3 at the bottom (2 of 4 right).
    const std::vector<double> scores = {4, 3, 2, 1};
    const Labels labels = {1, 0, 0, 1};
    BOOST_TEST(f1_optimal_threshold(scores, labels).value == 3.5);
    // Youden: 1/2 at the top; 0 everywhere predicted.
    BOOST_TEST(youden_threshold(scores, labels).value == 3.5);
    // A constant score: predicting everything has F1 2p/(1+p), predicting nothing 0; Youden is 0 for both.
    const std::vector<double> constant(4, 7.0);
    BOOST_TEST(f1_optimal_threshold(constant, labels).value == 7.0);
    BOOST_TEST(youden_threshold(constant, labels).value == std::nextafter(7.0, infinity));
}

BOOST_AUTO_TEST_CASE(thresholds_need_both_classes) {
    const std::vector<double> scores = {1, 2};
    BOOST_CHECK_THROW(f1_optimal_threshold(scores, Labels{1, 1}), pva::InputError);
    BOOST_CHECK_THROW(f1_optimal_threshold(scores, Labels{0, 0}), pva::InputError);
    BOOST_CHECK_THROW(youden_threshold({}, Labels{}), pva::InputError);
    BOOST_CHECK_THROW(youden_threshold(scores, Labels{0, 1, 1}), pva::InputError);
}

BOOST_AUTO_TEST_SUITE_END()
