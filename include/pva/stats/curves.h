// A detector at every threshold: one table from which ROC, precision-recall and F1-threshold curves are drawn.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/stats/classification.h"

namespace pva::stats {

/// Points from the highest threshold to the lowest. Positive is score >= threshold. The first threshold is +infinity
/// (nothing positive), then every distinct score, so the last point calls everything positive.
struct ThresholdCurve {
    std::vector<double> thresholds;
    std::vector<std::uint64_t> true_positives;   ///< never decreases
    std::vector<std::uint64_t> false_positives;  ///< never decreases
    std::uint64_t n_positives = 0;
    std::uint64_t n_negatives = 0;

    std::size_t size() const { return thresholds.size(); }
    ConfusionCounts counts(std::size_t point) const;
};

/// No rows: the first point alone. InputError as of confusion.
ThresholdCurve threshold_curve(std::span<const double> scores, std::span<const std::uint8_t> labels);

/// ROC: false-positive rate (x) and true-positive rate (y) of each point. InputError where a class is missing.
struct CurvePoints {
    std::vector<double> x;
    std::vector<double> y;
};
CurvePoints roc_curve(const ThresholdCurve& curve);

/// Precision-recall: recall (x) and precision (y) of each point; precision 1 where nothing is predicted positive, as
/// scikit-learn draws it. InputError without a positive.
CurvePoints precision_recall_curve(const ThresholdCurve& curve);

/// F1 of each point, for the curve over thresholds.
std::vector<double> f1_curve(const ThresholdCurve& curve);

}  // namespace pva::stats
