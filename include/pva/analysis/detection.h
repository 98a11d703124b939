// How well one score predicts whether programs pass, on problems it was not chosen on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/analysis/direction.h"
#include "pva/stats/classification.h"
#include "pva/stats/intervals.h"

namespace pva::analysis {

/// One score and one label for each problem of a part of the split, not owned.
struct ScoredPart {
    std::span<const double> scores;
    std::span<const std::uint8_t> passed;  ///< 1 = the program passes its tests, 0 = it fails
};

/// The positive class is what the score predicts: passing programs for Direction::right, failing ones for wrong.
/// Predicted positive: sign * score >= threshold. Everything below the threshold is measured on the analysis part only.
struct DetectionResult {
    Direction positive_class = Direction::right;
    int sign = 1;          ///< -1: the score was turned round, because lower means positive
    double threshold = 0;  ///< highest F1 on the tuning part (stats::f1_optimal_threshold)
    double tuning_f1 = 0;
    std::uint64_t tuning_positives = 0;
    std::uint64_t tuning_negatives = 0;

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
    double average_precision = 0;  ///< to compare with base_rate
};

/// Takes scores of which a higher one speaks for the positive class: a latent and the direction it was selected for, or
/// a fitted model. The threshold is chosen on `tuning`, the figures come from `analysis`. InputError, with the counts,
/// where a class is missing in the tuning part or has fewer than two rows in the analysis part, and for scores that are
/// not finite.
DetectionResult detect(const ScoredPart& tuning, const ScoredPart& analysis, Direction positive_class);

/// What a score speaks for by itself: right if its AUROC for passing programs is above 1/2 on the part given, else
/// wrong. InputError where a class is missing.
Direction direction_of(const ScoredPart& selection);

/// Detection with a plain score such as prompt length or complexity. Whether high or low speaks for the positive class
/// is chosen on the selection part: the sign is -1 if direction_of(selection) is not the positive class.
DetectionResult detect_baseline(const ScoredPart& selection, const ScoredPart& tuning, const ScoredPart& analysis,
                                Direction positive_class);

}  // namespace pva::analysis
