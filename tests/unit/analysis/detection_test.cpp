// Held-out detection: which part decides what, both positive classes, turned scores, resampling, bad input.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "pva/analysis/detection.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"

using namespace pva::analysis;
namespace tt = boost::test_tools;

namespace {

using Scores = std::vector<double>;
using Labels = std::vector<std::uint8_t>;

void expect_refusal(const TuningScores& tuning, const AnalysisScores& analysis, const std::string& message_part) {
    BOOST_CHECK_EXCEPTION(detect(tuning, analysis, Direction::right), pva::InputError,
                          [&](const pva::InputError& error) {
                              BOOST_TEST_MESSAGE(error.what());
                              return std::string(error.what()).find(message_part) != std::string::npos;
                          });
}

// A part cannot stand in for another: such calls do not compile.
static_assert(std::is_invocable_v<decltype(choose_threshold), TuningScores, Direction, int>);
static_assert(!std::is_invocable_v<decltype(choose_threshold), AnalysisScores, Direction, int>);
static_assert(!std::is_invocable_v<decltype(choose_threshold), SelectionScores, Direction, int>);
static_assert(!std::is_invocable_v<decltype(sign_for), AnalysisScores, Direction>);
static_assert(!std::is_invocable_v<decltype(sign_for), TuningScores, Direction>);
static_assert(!std::is_invocable_v<decltype(measure), DetectionRule, TuningScores>);
static_assert(!std::is_invocable_v<decltype(measure), DetectionRule, SelectionScores>);

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
    const SelectionScores selection{lengths, long_fails};
    const TuningScores tuning{lengths, long_fails};
    const AnalysisScores analysis{lengths, long_fails};
    const DetectionResult wrong = detect_baseline(selection, tuning, analysis, Direction::wrong);
    BOOST_TEST(wrong.sign == 1);
    BOOST_TEST(wrong.threshold == 35.0);
    BOOST_TEST(wrong.auroc == 1.0);
    const DetectionResult right = detect_baseline(selection, tuning, analysis, Direction::right);
    BOOST_TEST(right.sign == -1);
    BOOST_TEST(right.threshold == -35.0);
    BOOST_TEST(right.auroc == 1.0);
    // Only the selection part decides: held out, the sign can turn out wrong.
    const DetectionResult misled = detect_baseline({lengths, long_passes}, tuning, analysis, Direction::right);
    BOOST_TEST(misled.sign == 1);
    BOOST_TEST(misled.auroc == 0.0);
}

BOOST_AUTO_TEST_CASE(a_constant_score_is_the_trivial_detector) {
    const Scores zeros(6, 0.0);
    const Labels passed = {1, 1, 0, 0, 0, 0};
    BOOST_TEST((direction_of({zeros, passed}) == Direction::wrong));
    for (Direction positive : {Direction::right, Direction::wrong}) {
        const DetectionResult r = detect_baseline({zeros, passed}, {zeros, passed}, {zeros, passed}, positive);
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

BOOST_AUTO_TEST_CASE(a_stratum_without_a_class_has_no_auroc) {
    const DetectionRule rule = choose_threshold({{0, 1, 2, 3}, {0, 0, 1, 1}}, Direction::right);
    const DetectionFigures one = measure_stratum(rule, {{1, 2, 3}, {1, 1, 1}});
    BOOST_TEST(std::isnan(one.auroc));
    BOOST_TEST(std::isnan(one.auroc_interval.lower));
    BOOST_TEST(one.base_rate == 1.0);
    BOOST_TEST(one.average_precision_lift == 1.0);
    BOOST_TEST(one.counts.true_positives == 2u);
    const DetectionFigures few = measure_stratum(rule, {{1, 2, 3}, {0, 1, 1}});
    BOOST_TEST(few.auroc == 1.0);
    BOOST_TEST(std::isnan(few.auroc_standard_error));
    const DetectionFigures none = measure_stratum(rule, {{}, {}});
    BOOST_TEST(std::isnan(none.base_rate));
    BOOST_TEST(std::isnan(none.f1));
    BOOST_TEST(std::isnan(permutation_p(oriented(rule, {{1, 2}, {1, 1}}), {}, 0, {})));
    BOOST_TEST(std::isnan(resampled(oriented(rule, {{1, 2, 3}, {0, 1, 1}}), {}, 0, {}).auroc.lower));
}

BOOST_AUTO_TEST_CASE(resampling_over_problems) {
    // Four samples of each of 60 problems that share score and label: as rows there is four times the evidence.
    AnalysisScores problems, samples;
    std::vector<std::uint32_t> problem_of;
    pva::PhiloxStream random(5, 0, 0);
    for (std::uint32_t p = 0; p < 60; ++p) {
        const std::uint8_t passed = random.uniform() < 0.5;
        const double score = random.uniform() + 0.3 * passed;
        problems.scores.push_back(score);
        problems.passed.push_back(passed);
        for (int s = 0; s < 4; ++s) {
            samples.scores.push_back(score);
            samples.passed.push_back(passed);
            problem_of.push_back(p);
        }
    }
    const DetectionRule rule = choose_threshold({{0, 1, 2, 3}, {0, 0, 1, 1}}, Direction::right);
    const ResamplingSettings settings{500, 999, 3, 0};
    const ResampledFigures once = resampled(oriented(rule, problems), {}, 0, settings);
    const ResampledFigures by_problem = resampled(oriented(rule, samples), problem_of, 60, settings);
    const ResampledFigures by_row = resampled(oriented(rule, samples), {}, 0, settings);
    BOOST_TEST(by_problem.auroc_standard_error == once.auroc_standard_error, tt::tolerance(0.15));
    BOOST_TEST(by_row.auroc_standard_error == 0.5 * once.auroc_standard_error, tt::tolerance(0.15));
    BOOST_TEST(once.auroc.lower < measure(rule, problems).auroc);
    BOOST_TEST(once.auroc.upper > measure(rule, problems).auroc);
    BOOST_TEST(once.average_precision.lower < once.average_precision.upper);
    const double p = permutation_p(oriented(rule, problems), {}, 0, settings);
    BOOST_TEST(p < 0.05);
    BOOST_TEST(permutation_p(oriented(rule, samples), problem_of, 60, settings) == p, tt::tolerance(0.8));
    // A detector of failures is as good at what it is turned round from.
    const DetectionRule turned = choose_threshold({{0, 1, 2, 3}, {0, 0, 1, 1}}, Direction::wrong, -1);
    BOOST_TEST(measure(turned, problems).auroc == measure(rule, problems).auroc, tt::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(trend_over_strata_that_share_problems) {
    const std::uint32_t n = 80;
    std::vector<ProblemStratum> strata;
    for (int t = 0; t < 4; ++t) {
        ProblemStratum stratum{0.4 * t, {}, {}};
        pva::PhiloxStream random(9, 0, static_cast<std::uint32_t>(t));
        for (std::uint32_t p = 0; p < n; ++p) {
            for (int s = 0; s < 3; ++s) {
                const std::uint8_t label = random.uniform() < 0.6 - 0.1 * t;
                stratum.rows.scores.push_back(static_cast<double>((p * 37) % n) / n + (1.2 - 0.4 * t) * label);
                stratum.rows.labels.push_back(label);
                stratum.problems.push_back(p);
            }
        }
        strata.push_back(stratum);
    }
    const SharedTrend falls = auroc_trend(strata, n, {400, 0, 1, 0});
    BOOST_TEST(falls.slope < -0.2);
    BOOST_TEST(falls.interval.upper < 0);
    BOOST_TEST(falls.p < 0.001);
    const SharedTrend rate = base_rate_trend(strata, n, {400, 0, 1, 0});
    BOOST_TEST(rate.slope == -0.25, tt::tolerance(0.5));
    BOOST_TEST(rate.interval.lower < rate.slope);
    const SharedTrend alone = auroc_trend(std::span(strata).first(1), n, {400, 0, 1, 0});
    BOOST_TEST(std::isnan(alone.slope));

    // Where nothing is solved there is no AUROC, but a share of 0: the line through all five shares, by hand.
    ProblemStratum hot{1.6, {}, {}};
    for (std::uint32_t p = 0; p < n; ++p) {
        hot.rows.scores.push_back(p);
        hot.rows.labels.push_back(0);
        hot.problems.push_back(p);
    }
    strata.push_back(hot);
    BOOST_TEST(auroc_trend(strata, n, {400, 0, 1, 0}).slope == falls.slope);
    double slope = 0;
    for (const ProblemStratum& stratum : strata) {
        const auto positives = std::count(stratum.rows.labels.begin(), stratum.rows.labels.end(), 1);
        slope += (stratum.at - 0.8) * static_cast<double>(positives) / static_cast<double>(stratum.rows.labels.size()) / 1.6;
    }
    BOOST_TEST(base_rate_trend(strata, n, {400, 0, 1, 0}).slope == slope, tt::tolerance(1e-9));
}

BOOST_AUTO_TEST_CASE(trend_without_an_interval_where_most_draws_lack_a_class) {
    std::vector<ProblemStratum> strata;
    for (std::uint32_t t = 0; t < 6; ++t) {
        ProblemStratum stratum{0.3 * t, {}, {}};
        for (std::uint32_t p = 0; p < 40; ++p) {
            stratum.rows.scores.push_back(p);
            stratum.rows.labels.push_back(p / 2 == t ? 1 : 0);
            stratum.problems.push_back(p);
        }
        strata.push_back(stratum);
    }
    const SharedTrend trend = auroc_trend(strata, 40, {400, 0, 1, 0});
    BOOST_TEST(trend.slope > 0.1);
    BOOST_TEST(std::isnan(trend.interval.lower));
    BOOST_TEST(std::isnan(trend.p));
}

BOOST_AUTO_TEST_CASE(groups_without_a_class_have_no_figures_of_it) {
    const DetectionRule rule = choose_threshold({Scores{0, 1, 2, 3}, Labels{0, 0, 1, 1}}, Direction::right);
    const Scores scores = {0, 5};
    const DetectionFigures failing = measure_stratum(rule, {scores, Labels{0, 0}});
    BOOST_TEST(failing.base_rate == 0.0);
    for (const double one : {failing.f1, failing.recall, failing.balanced_accuracy, failing.mcc, failing.auroc}) BOOST_TEST(std::isnan(one));
    const DetectionFigures passing = measure_stratum(rule, {scores, Labels{1, 1}});
    BOOST_TEST(passing.recall == 0.5);
    BOOST_TEST(passing.f1 == 2.0 / 3, tt::tolerance(1e-12));
    for (const double one : {passing.balanced_accuracy, passing.mcc, passing.auroc}) BOOST_TEST(std::isnan(one));
}

BOOST_AUTO_TEST_CASE(bad_input) {
    const Scores scores = {1, 2, 3, 4};
    const Labels mixed = {0, 1, 0, 1}, all = {1, 1, 1, 1}, one = {0, 0, 0, 1}, wrong_label = {0, 1, 0, 3};
    const Scores broken = {1, 2, std::nan(""), 4};
    const TuningScores tuning{scores, mixed};
    const AnalysisScores analysis{scores, mixed};
    expect_refusal({scores, all}, analysis, "the tuning part has 4 passing and 0 failing");
    expect_refusal(tuning, {scores, one}, "the analysis part has 1 passing and 3 failing");
    expect_refusal(tuning, {scores, wrong_label}, "label 3 of the analysis part");
    expect_refusal({broken, mixed}, analysis, "score 2 of the tuning part");
    expect_refusal({scores, Labels{0, 1}}, analysis, "4 scores but 2 labels");
    expect_refusal({{}, {}}, analysis, "the tuning part has 0 passing");
    BOOST_CHECK_THROW(direction_of({scores, all}), pva::InputError);
    BOOST_CHECK_THROW(detect_baseline({scores, all}, tuning, analysis, Direction::right), pva::InputError);
}

BOOST_AUTO_TEST_SUITE_END()
