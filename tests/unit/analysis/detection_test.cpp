// Held-out detection: which part decides what, both positive classes, turned scores, bad input.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "pva/analysis/detection.h"
#include "pva/core/error.h"

using namespace pva::analysis;
namespace tt = boost::test_tools;

namespace {

using Scores = std::vector<double>;
using Labels = std::vector<std::uint8_t>;

void expect_refusal(const ScoredPart& tuning, const ScoredPart& analysis, const std::string& message_part) {
    BOOST_CHECK_EXCEPTION(detect(tuning, analysis, Direction::right), pva::InputError,
                          [&](const pva::InputError& error) {
                              BOOST_TEST_MESSAGE(error.what());
                              return std::string(error.what()).find(message_part) != std::string::npos;
                          });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(detection_suite)

BOOST_AUTO_TEST_CASE(threshold_from_tuning_figures_from_analysis) {
    const Scores tuning = {0, 1, 2, 3};
    const Labels tuning_passed = {0, 0, 1, 1};
    const Scores analysis = {0, 1, 2, 2, 5, 0};
    const Labels analysis_passed = {0, 1, 1, 0, 1, 0};
    const DetectionResult r = detect({tuning, tuning_passed}, {analysis, analysis_passed}, Direction::right);
    BOOST_TEST(r.threshold == 1.5);
    BOOST_TEST(r.tuning_f1 == 1.0);
    BOOST_TEST(r.tuning_positives == 2u);
    BOOST_TEST(r.tuning_negatives == 2u);
    BOOST_TEST(r.positives == 3u);
    BOOST_TEST(r.negatives == 3u);
    BOOST_TEST(r.base_rate == 0.5);
    BOOST_TEST(r.counts.true_positives == 2u);
    BOOST_TEST(r.counts.false_positives == 1u);
    BOOST_TEST(r.counts.true_negatives == 2u);
    BOOST_TEST(r.counts.false_negatives == 1u);
    BOOST_TEST(r.f1 == 2.0 / 3, tt::tolerance(1e-15));
    BOOST_TEST(r.always_positive_f1 == 2.0 / 3, tt::tolerance(1e-15));
    BOOST_TEST(r.auroc == 7.5 / 9, tt::tolerance(1e-15));
    BOOST_TEST(r.sign == 1);
    // The figures of the analysis part must not move the threshold, and the reverse.
    const DetectionResult other = detect({tuning, tuning_passed}, {tuning, tuning_passed}, Direction::right);
    BOOST_TEST(other.threshold == r.threshold);
    BOOST_TEST(other.auroc == 1.0);
    BOOST_TEST(other.auroc_interval.upper == 1.0);
    BOOST_TEST(other.auroc_interval.lower == std::sqrt(0.025), tt::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(wrong_means_failing_programs_are_positive) {
    const Scores scores = {5, 4, 3, 0, 0};
    const Labels passed = {0, 0, 1, 1, 1};
    const DetectionResult r = detect({scores, passed}, {scores, passed}, Direction::wrong);
    BOOST_TEST((r.positive_class == Direction::wrong));
    BOOST_TEST(r.auroc == 1.0);
    BOOST_TEST(r.positives == 2u);
    BOOST_TEST(r.base_rate == 0.4);
    BOOST_TEST(r.threshold == 3.5);
    BOOST_TEST(r.f1 == 1.0);
    BOOST_TEST(std::string(name(r.positive_class)) == "wrong");
}

BOOST_AUTO_TEST_CASE(baselines_learn_their_sign_on_the_selection_part) {
    const Scores lengths = {10, 20, 30, 40, 50, 60};
    const Labels long_fails = {1, 1, 1, 0, 0, 0};
    const Labels long_passes = {0, 0, 0, 1, 1, 1};
    BOOST_TEST((direction_of({lengths, long_fails}) == Direction::wrong));
    BOOST_TEST((direction_of({lengths, long_passes}) == Direction::right));
    const ScoredPart part{lengths, long_fails};
    const DetectionResult wrong = detect_baseline(part, part, part, Direction::wrong);
    BOOST_TEST(wrong.sign == 1);
    BOOST_TEST(wrong.threshold == 35.0);
    BOOST_TEST(wrong.auroc == 1.0);
    const DetectionResult right = detect_baseline(part, part, part, Direction::right);
    BOOST_TEST(right.sign == -1);
    BOOST_TEST(right.threshold == -35.0);
    BOOST_TEST(right.auroc == 1.0);
    // Only the selection part decides: held out, the sign can turn out wrong.
    const DetectionResult misled = detect_baseline({lengths, long_passes}, part, part, Direction::right);
    BOOST_TEST(misled.sign == 1);
    BOOST_TEST(misled.auroc == 0.0);
}

BOOST_AUTO_TEST_CASE(a_constant_score_is_the_trivial_detector) {
    const Scores zeros(6, 0.0);
    const Labels passed = {1, 1, 0, 0, 0, 0};
    const ScoredPart part{zeros, passed};
    BOOST_TEST((direction_of(part) == Direction::wrong));
    for (Direction positive : {Direction::right, Direction::wrong}) {
        const DetectionResult r = detect_baseline(part, part, part, positive);
        BOOST_TEST(r.auroc == 0.5);
        BOOST_TEST(r.auroc_interval.lower > 0.0);
        BOOST_TEST(r.auroc_interval.lower < 0.5);
        BOOST_TEST(r.f1 == r.always_positive_f1, tt::tolerance(1e-15));
        BOOST_TEST(r.balanced_accuracy == 0.5);
        BOOST_TEST(r.mcc == 0.0);
        BOOST_TEST(r.average_precision == r.base_rate, tt::tolerance(1e-15));
        BOOST_TEST(!std::signbit(r.threshold));
    }
}

BOOST_AUTO_TEST_CASE(bad_input) {
    const Scores scores = {1, 2, 3, 4};
    const Labels mixed = {0, 1, 0, 1}, all = {1, 1, 1, 1}, one = {0, 0, 0, 1}, wrong_label = {0, 1, 0, 3};
    const Scores broken = {1, 2, std::nan(""), 4};
    const ScoredPart good{scores, mixed};
    expect_refusal({scores, all}, good, "the tuning part has 4 passing and 0 failing");
    expect_refusal(good, {scores, one}, "the analysis part has 1 passing and 3 failing");
    expect_refusal(good, {scores, wrong_label}, "label 3 of the analysis part");
    expect_refusal({broken, mixed}, good, "score 2 of the tuning part");
    expect_refusal({scores, Labels{0, 1}}, good, "4 scores but 2 labels");
    expect_refusal({{}, {}}, good, "the tuning part has 0 passing");
    BOOST_CHECK_THROW(direction_of({scores, all}), pva::InputError);
    BOOST_CHECK_THROW(detect_baseline({scores, all}, good, good, Direction::right), pva::InputError);
}

BOOST_AUTO_TEST_SUITE_END()
