// How well one score predicts whether programs pass, on problems it was not chosen on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/analysis/direction.h"
#include "pva/stats/classification.h"
#include "pva/stats/curves.h"
#include "pva/stats/intervals.h"
#include "pva/stats/ranks.h"

namespace pva::analysis {

/// What a part of the split may be used for: latents, signs and fits are chosen on selection, thresholds on tuning, and
/// analysis is only measured.
enum class Role : std::uint8_t { selection, tuning, analysis };

/// One score and one label for each row of a part. The role is in the type: a function that chooses takes the part it may
/// choose on, and a call with another part does not compile.
template <Role role>
struct Scored {
    std::vector<double> scores;
    std::vector<std::uint8_t> passed;  ///< 1 = the program passes its tests, 0 = it fails
};
using SelectionScores = Scored<Role::selection>;
using TuningScores = Scored<Role::tuning>;
using AnalysisScores = Scored<Role::analysis>;

/// What was decided before the analysis part was looked at. Predicted positive: sign * score >= threshold. The positive
/// class is what the score predicts: passing programs for Direction::right, failing ones for wrong.
struct DetectionRule {
    Direction positive_class = Direction::right;
    int sign = 1;          ///< -1: the score is turned round, because lower means positive
    double threshold = 0;  ///< highest F1 on the tuning part (stats::f1_optimal_threshold)
    double tuning_f1 = 0;
    std::uint64_t tuning_positives = 0;
    std::uint64_t tuning_negatives = 0;
};

/// What a score speaks for by itself: right if its AUROC for passing programs is above 1/2, else wrong. InputError where a
/// class is missing.
Direction direction_of(const SelectionScores& selection);

/// 1 if direction_of(selection) is the positive class, else -1: for plain scores such as prompt length, of which nobody
/// knows beforehand whether high or low speaks for it.
int sign_for(const SelectionScores& selection, Direction positive_class);

/// The threshold with the best F1; every distinct score is a candidate. InputError, with the counts, where a class is
/// missing, and for scores that are not finite.
DetectionRule choose_threshold(const TuningScores& tuning, Direction positive_class, int sign = 1);

/// Figures on rows that decided nothing.
struct DetectionFigures {
    std::uint64_t positives = 0;
    std::uint64_t negatives = 0;
    double base_rate = 0;  ///< share of positives
    double auroc = 0.5;
    double auroc_standard_error = 0;  ///< DeLong
    stats::Interval auroc_interval;   ///< 95 %, stats::delong_interval
    stats::ConfusionCounts counts;
    double f1 = 0;
    double always_positive_f1 = 0;  ///< what F1 has to beat
    double precision = 0;
    double recall = 0;
    double balanced_accuracy = 0;
    double mcc = 0;
    double average_precision = 0;       ///< to compare with base_rate
    double average_precision_lift = 1;  ///< average_precision / base_rate
};

/// InputError, with the counts, for fewer than two rows of a class, and for scores that are not finite.
DetectionFigures measure(const DetectionRule& rule, const AnalysisScores& analysis);

/// The same of some of the rows (a group, a temperature): NaN instead of an error where too few rows define a figure.
/// Counts and F1 are always defined.
DetectionFigures measure_stratum(const DetectionRule& rule, const AnalysisScores& rows);

/// Scores and labels turned so that 1 is the positive class and a higher score speaks for it.
struct Oriented {
    std::vector<double> scores;
    std::vector<std::uint8_t> labels;
};
Oriented oriented(const DetectionRule& rule, const AnalysisScores& rows);

struct ResamplingSettings {
    std::uint32_t draws = 2000;
    std::uint32_t permutations = 10000;
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;  ///< draws of different purposes differ in it
};

/// Uncertainty by drawing problems again, all samples of a problem together.
struct ResampledFigures {
    stats::Interval auroc;              ///< 95 %, BCa
    stats::Interval average_precision;  ///< 95 %, BCa
    double auroc_standard_error = 0;    ///< of the draws
};
/// `problems`: number of each row's problem, below n_problems; empty: every row is a problem of its own, and problems are
/// drawn within each class. All NaN where a class occurs in fewer than two problems.
ResampledFigures resampled(const Oriented& rows, std::span<const std::uint32_t> problems, std::uint32_t n_problems,
                           const ResamplingSettings& settings);

/// Two-sided p of AUROC = 1/2 by exchanging labels between problems (stats::auroc_permutation_test); NaN where a class is
/// missing or permutations is 0.
double permutation_p(const Oriented& rows, std::span<const std::uint32_t> problems, std::uint32_t n_problems,
                     const ResamplingSettings& settings);

/// A line through AUROCs of strata that share problems (temperatures), each of equal weight: slope of each draw of
/// problems. NaN where fewer than two strata have both classes in two problems.
struct SharedTrend {
    double slope = 0;
    stats::Interval interval;  ///< 95 %, BCa
    double p = 1;              ///< two-sided, slope over the draws' standard deviation as a normal deviate
};
struct ProblemStratum {
    double at = 0;  ///< where on the axis
    Oriented rows;
    std::vector<std::uint32_t> problems;  ///< number of each row's problem
};
SharedTrend auroc_trend(std::span<const ProblemStratum> strata, std::uint32_t n_problems, const ResamplingSettings& settings);
/// The same of the share of positives.
SharedTrend base_rate_trend(std::span<const ProblemStratum> strata, std::uint32_t n_problems,
                            const ResamplingSettings& settings);

/// A rule and what it gives on the analysis part.
struct DetectionResult : DetectionRule, DetectionFigures {};

/// choose_threshold and measure: of scores of which a higher one speaks for the positive class, such as a latent and the
/// direction it was selected for, or a fitted model.
DetectionResult detect(const TuningScores& tuning, const AnalysisScores& analysis, Direction positive_class);

/// The same with the sign that sign_for(selection, positive_class) gives.
DetectionResult detect_baseline(const SelectionScores& selection, const TuningScores& tuning,
                                const AnalysisScores& analysis, Direction positive_class);

}  // namespace pva::analysis
