// Choosing a threshold among all that make a difference.
#include "pva/stats/thresholds.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <string>

#include "pva/core/error.h"
#include "pva/stats/ranks.h"

namespace pva::stats {

namespace {

// Calls better(counts, best) for each candidate from the highest threshold to the lowest and keeps the best.
template <class Better>
Threshold best_threshold(std::span<const double> scores, std::span<const std::uint8_t> labels, Better better) {
    const TwoGroups by_label = split_by_label(scores, labels);
    if (by_label.positives.empty() || by_label.negatives.empty()) {
        throw InputError("a threshold cannot be chosen on " + std::to_string(by_label.positives.size()) +
                         " positive and " + std::to_string(by_label.negatives.size()) +
                         " negative rows; both classes must occur: use more data");
    }
    const std::vector<double> candidates = candidate_thresholds(scores);
    const std::vector<TieGroup> groups = tie_groups(by_label.positives, by_label.negatives);
    // One candidate lies below each group of equal scores, and one above all: going down, each adds one group.
    ConfusionCounts counts;
    counts.false_negatives = by_label.positives.size();
    counts.true_negatives = by_label.negatives.size();
    Threshold best{candidates.back(), counts};
    for (std::size_t i = groups.size(); i-- > 0;) {
        counts.true_positives += groups[i].positives;
        counts.false_negatives -= groups[i].positives;
        counts.false_positives += groups[i].negatives;
        counts.true_negatives -= groups[i].negatives;
        if (better(counts, best.counts)) best = {candidates[i], counts};
    }
    return best;
}

}  // namespace

std::vector<double> candidate_thresholds(std::span<const double> scores) {
    for (std::size_t i = 0; i < scores.size(); ++i) {
        if (!std::isfinite(scores[i])) {
            throw InputError("score number " + std::to_string(i) +
                             " is not a finite number; find out why it could not be computed");
        }
    }
    if (scores.empty()) return {};
    std::vector<double> sorted(scores.begin(), scores.end());
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    std::vector<double> candidates = {sorted.front()};
    for (std::size_t i = 1; i < sorted.size(); ++i) {
        const double middle = std::midpoint(sorted[i - 1], sorted[i]);
        candidates.push_back(middle > sorted[i - 1] ? middle : sorted[i]);
    }
    candidates.push_back(std::nextafter(sorted.back(), std::numeric_limits<double>::infinity()));
    return candidates;
}

Threshold f1_optimal_threshold(std::span<const double> scores, std::span<const std::uint8_t> labels) {
    return best_threshold(scores, labels, [](const ConfusionCounts& a, const ConfusionCounts& b) {
        // With P positives, 2 TP + FP + FN = TP + FP + P; the denominators are positive because P is.
        const std::uint64_t denominator_a = 2 * a.true_positives + a.false_positives + a.false_negatives;
        const std::uint64_t denominator_b = 2 * b.true_positives + b.false_positives + b.false_negatives;
        return a.true_positives * denominator_b > b.true_positives * denominator_a;
    });
}

Threshold youden_threshold(std::span<const double> scores, std::span<const std::uint8_t> labels) {
    return best_threshold(scores, labels, [](const ConfusionCounts& a, const ConfusionCounts& b) {
        // (TP / P - FP / N) P N as an integer.
        const auto scaled = [](const ConfusionCounts& c) {
            const std::int64_t p = static_cast<std::int64_t>(c.true_positives + c.false_negatives);
            const std::int64_t n = static_cast<std::int64_t>(c.true_negatives + c.false_positives);
            return static_cast<std::int64_t>(c.true_positives) * n - static_cast<std::int64_t>(c.false_positives) * p;
        };
        return scaled(a) > scaled(b);
    });
}

}  // namespace pva::stats
