// How well a yes/no prediction, and a ranking, fit the labels.
#pragma once

#include <cstdint>
#include <span>

#include "pva/stats/ranks.h"

namespace pva::stats {

struct ConfusionCounts {
    std::uint64_t true_positives = 0;
    std::uint64_t false_positives = 0;
    std::uint64_t true_negatives = 0;
    std::uint64_t false_negatives = 0;

    std::uint64_t total() const { return true_positives + false_positives + true_negatives + false_negatives; }
};

/// Predicts positive where score >= threshold. InputError for unequal lengths, a label other than 0 or 1, or NaN.
ConfusionCounts confusion(std::span<const double> scores, std::span<const std::uint8_t> labels, double threshold);

/// The share of positive predictions that is right; 0 when nothing is predicted positive (undefined).
double precision(const ConfusionCounts& counts);
/// The share of positives that is found; 0 when there are none (undefined).
double recall(const ConfusionCounts& counts);
/// 2 TP / (2 TP + FP + FN); 0 when there are neither positives nor positive predictions (undefined).
double f1(const ConfusionCounts& counts);
/// Mean of the recalls of the two classes; the recall of a class without rows counts as 0.
double balanced_accuracy(const ConfusionCounts& counts);
/// Matthews' correlation coefficient; 0 when a row or column of the table is empty (undefined).
double mcc(const ConfusionCounts& counts);

/// F1 of predicting positive always, 2 p / (1 + p) for the share p of positives: what an F1 has to beat.
double always_positive_f1(double base_rate);

/// Average precision: the sum over descending thresholds of (R_k - R_(k-1)) P_k, equal scores at one threshold, without
/// interpolation. InputError without a positive, and as for confusion.
double average_precision(std::span<const double> scores, std::span<const std::uint8_t> labels);
/// The same from groups of equal scores in ascending order; groups without rows change nothing.
double average_precision(std::span<const TieGroup> groups);

/// Average precision over the share of positives: 1 is what a score without information gets on average in a large sample.
/// InputError for a base rate that is not above 0 and at most 1.
double average_precision_lift(double average_precision, double base_rate);

}  // namespace pva::stats
