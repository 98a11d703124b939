// Counts at every threshold and the curves drawn from them.
#include "pva/stats/curves.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "pva/core/error.h"
#include "pva/stats/ranks.h"

namespace pva::stats {

ConfusionCounts ThresholdCurve::counts(std::size_t point) const {
    ConfusionCounts result;
    result.true_positives = true_positives.at(point);
    result.false_positives = false_positives.at(point);
    result.true_negatives = n_negatives - result.false_positives;
    result.false_negatives = n_positives - result.true_positives;
    return result;
}

ThresholdCurve threshold_curve(std::span<const double> scores, std::span<const std::uint8_t> labels) {
    split_by_label(scores, labels);  // refuses what is no score or label
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    ThresholdCurve curve;
    curve.thresholds.push_back(std::numeric_limits<double>::infinity());
    curve.true_positives.push_back(0);
    curve.false_positives.push_back(0);
    for (std::size_t i = 0; i < order.size();) {
        const double score = scores[order[i]];
        for (; i < order.size() && scores[order[i]] == score; ++i)
            ++(labels[order[i]] == 1 ? curve.n_positives : curve.n_negatives);
        curve.thresholds.push_back(score);
        curve.true_positives.push_back(curve.n_positives);
        curve.false_positives.push_back(curve.n_negatives);
    }
    return curve;
}

CurvePoints roc_curve(const ThresholdCurve& curve) {
    if (curve.n_positives == 0 || curve.n_negatives == 0) {
        throw InputError("a ROC curve of " + std::to_string(curve.n_positives) + " positive and " +
                         std::to_string(curve.n_negatives) + " negative rows does not exist; both classes must occur");
    }
    CurvePoints points;
    for (std::size_t i = 0; i < curve.size(); ++i) {
        points.x.push_back(static_cast<double>(curve.false_positives[i]) / static_cast<double>(curve.n_negatives));
        points.y.push_back(static_cast<double>(curve.true_positives[i]) / static_cast<double>(curve.n_positives));
    }
    return points;
}

CurvePoints precision_recall_curve(const ThresholdCurve& curve) {
    if (curve.n_positives == 0)
        throw InputError("a precision-recall curve without a positive row does not exist; use more data");
    CurvePoints points;
    for (std::size_t i = 0; i < curve.size(); ++i) {
        const ConfusionCounts counts = curve.counts(i);
        points.x.push_back(recall(counts));
        points.y.push_back(counts.true_positives + counts.false_positives == 0 ? 1.0 : precision(counts));
    }
    return points;
}

std::vector<double> f1_curve(const ThresholdCurve& curve) {
    std::vector<double> values;
    for (std::size_t i = 0; i < curve.size(); ++i)
        values.push_back(f1(curve.counts(i)));
    return values;
}

}  // namespace pva::stats
