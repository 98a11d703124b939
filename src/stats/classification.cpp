// Figures of a two-by-two table, and average precision.
#include "pva/stats/classification.h"

#include <cmath>
#include <string>
#include <vector>

#include "pva/core/error.h"
#include "pva/stats/ranks.h"

namespace pva::stats {

namespace {

double ratio(std::uint64_t numerator, std::uint64_t denominator) {
    return denominator == 0 ? 0.0 : static_cast<double>(numerator) / static_cast<double>(denominator);
}

}  // namespace

ConfusionCounts confusion(std::span<const double> scores, std::span<const std::uint8_t> labels, double threshold) {
    if (std::isnan(threshold)) throw InputError("the threshold is not a number; choose it on scores that are numbers");
    const TwoGroups groups = split_by_label(scores, labels);
    ConfusionCounts counts;
    for (double score : groups.positives)
        ++(score >= threshold ? counts.true_positives : counts.false_negatives);
    for (double score : groups.negatives)
        ++(score >= threshold ? counts.false_positives : counts.true_negatives);
    return counts;
}

double precision(const ConfusionCounts& c) {
    return ratio(c.true_positives, c.true_positives + c.false_positives);
}

double recall(const ConfusionCounts& c) {
    return ratio(c.true_positives, c.true_positives + c.false_negatives);
}

double f1(const ConfusionCounts& c) {
    return ratio(2 * c.true_positives, 2 * c.true_positives + c.false_positives + c.false_negatives);
}

double balanced_accuracy(const ConfusionCounts& c) {
    return 0.5 * (recall(c) + ratio(c.true_negatives, c.true_negatives + c.false_positives));
}

double mcc(const ConfusionCounts& c) {
    const double tp = static_cast<double>(c.true_positives);
    const double fp = static_cast<double>(c.false_positives);
    const double tn = static_cast<double>(c.true_negatives);
    const double fn = static_cast<double>(c.false_negatives);
    const double denominator = std::sqrt(tp + fp) * std::sqrt(tp + fn) * std::sqrt(tn + fp) * std::sqrt(tn + fn);
    return denominator == 0 ? 0.0 : (tp * tn - fp * fn) / denominator;
}

double always_positive_f1(double base_rate) {
    if (!(base_rate >= 0 && base_rate <= 1)) {
        throw InputError("base rate " + std::to_string(base_rate) + " is not a share from 0 to 1");
    }
    return 2 * base_rate / (1 + base_rate);
}

double average_precision(std::span<const double> scores, std::span<const std::uint8_t> labels) {
    const TwoGroups by_label = split_by_label(scores, labels);
    return average_precision(tie_groups(by_label.positives, by_label.negatives));
}

double average_precision(std::span<const TieGroup> groups) {
    std::uint64_t positives = 0;
    std::uint64_t rows = 0;
    for (const TieGroup& group : groups) {
        positives += group.positives;
        rows += group.positives + group.negatives;
    }
    if (positives == 0) {
        throw InputError("average precision needs a positive, got " + std::to_string(rows) +
                         " rows without one; use more data");
    }
    double result = 0;
    std::uint64_t found = 0;
    std::uint64_t predicted = 0;
    for (auto group = groups.rbegin(); group != groups.rend(); ++group) {
        found += group->positives;
        predicted += group->positives + group->negatives;
        result += static_cast<double>(group->positives) / static_cast<double>(positives) * ratio(found, predicted);
    }
    return result;
}

double average_precision_lift(double average_precision, double base_rate) {
    if (!(base_rate > 0 && base_rate <= 1)) {
        throw InputError("the lift of an average precision needs a share of positives above 0 and at most 1, got " +
                         std::to_string(base_rate));
    }
    return average_precision / base_rate;
}

}  // namespace pva::stats
