// Choosing a threshold for a score. One rule everywhere: positive where score >= threshold.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/stats/classification.h"

namespace pva::stats {

/// Every threshold that makes a difference, ascending: the lowest score (everything positive), the midpoint between
/// each two neighbouring distinct scores, and the next number above the highest score (nothing positive). Between
/// neighbouring doubles, which have no midpoint, the upper one. Empty for no scores. InputError for a score that is not
/// finite.
std::vector<double> candidate_thresholds(std::span<const double> scores);

struct Threshold {
    double value = 0;
    ConfusionCounts counts;  ///< on the scores it was chosen on
};

/// The candidate with the highest F1. Compared exactly, as fractions; of equal ones the highest threshold, which
/// predicts fewest positives. InputError unless both classes occur.
Threshold f1_optimal_threshold(std::span<const double> scores, std::span<const std::uint8_t> labels);

/// The candidate with the highest Youden (1950) index, true-positive rate - false-positive rate; ties and errors
/// likewise.
Threshold youden_threshold(std::span<const double> scores, std::span<const std::uint8_t> labels);

}  // namespace pva::stats
