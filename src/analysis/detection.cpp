// Held-out detection: threshold from one part, figures from another.
#include "pva/analysis/detection.h"

#include <cmath>
#include <cstddef>
#include <string>

#include "pva/core/error.h"
#include "pva/stats/ranks.h"
#include "pva/stats/thresholds.h"

namespace pva::analysis {

namespace {

struct ClassCounts {
    std::uint64_t passing = 0;
    std::uint64_t failing = 0;
};

// Refuses what cannot be evaluated, naming the part.
ClassCounts require_valid(const ScoredPart& part, const char* part_name, std::uint64_t least) {
    const std::string where = std::string("the ") + part_name + " part";
    if (part.scores.size() != part.passed.size()) {
        throw InputError(where + " has " + std::to_string(part.scores.size()) + " scores but " +
                         std::to_string(part.passed.size()) + " labels; both must come from the same problems");
    }
    ClassCounts counts;
    for (std::size_t i = 0; i < part.scores.size(); ++i) {
        if (!std::isfinite(part.scores[i])) {
            throw InputError("score " + std::to_string(i) + " of " + where +
                             " is not a finite number; find out why it could not be computed");
        }
        if (part.passed[i] > 1) {
            throw InputError("label " + std::to_string(i) + " of " + where + " is " + std::to_string(part.passed[i]) +
                             ", expected 1 (passes) or 0 (fails)");
        }
        ++(part.passed[i] == 1 ? counts.passing : counts.failing);
    }
    if (counts.passing < least || counts.failing < least) {
        throw InputError(where + " has " + std::to_string(counts.passing) + " passing and " +
                         std::to_string(counts.failing) + " failing programs; detection needs at least " +
                         std::to_string(least) + " of each there: use more problems");
    }
    return counts;
}

// Scores and labels turned so that 1 is the positive class and a higher score speaks for it.
struct Oriented {
    std::vector<double> scores;
    std::vector<std::uint8_t> labels;
};

Oriented orient(const ScoredPart& part, Direction positive_class, int sign) {
    Oriented result;
    // 0 - x rather than -x, which would turn 0 into -0 and show it in a threshold.
    for (double score : part.scores)
        result.scores.push_back(sign < 0 ? 0.0 - score : score);
    for (std::uint8_t passed : part.passed) {
        result.labels.push_back(positive_class == Direction::right ? passed : static_cast<std::uint8_t>(1 - passed));
    }
    return result;
}

DetectionResult detect_with_sign(const ScoredPart& tuning, const ScoredPart& analysis, Direction positive_class,
                                 int sign) {
    require_valid(tuning, "tuning", 1);
    require_valid(analysis, "analysis", 2);
    const Oriented tune = orient(tuning, positive_class, sign);
    const Oriented held_out = orient(analysis, positive_class, sign);

    DetectionResult result;
    result.positive_class = positive_class;
    result.sign = sign;
    const stats::Threshold threshold = stats::f1_optimal_threshold(tune.scores, tune.labels);
    result.threshold = threshold.value;
    result.tuning_f1 = stats::f1(threshold.counts);
    result.tuning_positives = threshold.counts.true_positives + threshold.counts.false_negatives;
    result.tuning_negatives = threshold.counts.true_negatives + threshold.counts.false_positives;

    const stats::TwoGroups groups = stats::split_by_label(held_out.scores, held_out.labels);
    const stats::DelongAuroc auroc = stats::delong(groups.positives, groups.negatives);
    result.positives = auroc.n_positives;
    result.negatives = auroc.n_negatives;
    result.base_rate = static_cast<double>(result.positives) / static_cast<double>(result.positives + result.negatives);
    result.auroc = auroc.auroc;
    result.auroc_standard_error = auroc.standard_error();
    result.auroc_interval = stats::delong_interval(auroc);
    result.counts = stats::confusion(held_out.scores, held_out.labels, result.threshold);
    result.f1 = stats::f1(result.counts);
    result.always_positive_f1 = stats::always_positive_f1(result.base_rate);
    result.precision = stats::precision(result.counts);
    result.recall = stats::recall(result.counts);
    result.balanced_accuracy = stats::balanced_accuracy(result.counts);
    result.mcc = stats::mcc(result.counts);
    result.average_precision = stats::average_precision(held_out.scores, held_out.labels);
    return result;
}

}  // namespace

DetectionResult detect(const ScoredPart& tuning, const ScoredPart& analysis, Direction positive_class) {
    return detect_with_sign(tuning, analysis, positive_class, 1);
}

Direction direction_of(const ScoredPart& selection) {
    require_valid(selection, "selection", 1);
    const stats::TwoGroups groups = stats::split_by_label(selection.scores, selection.passed);
    return stats::auroc(groups.positives, groups.negatives) > 0.5 ? Direction::right : Direction::wrong;
}

DetectionResult detect_baseline(const ScoredPart& selection, const ScoredPart& tuning, const ScoredPart& analysis,
                                Direction positive_class) {
    const int sign = direction_of(selection) == positive_class ? 1 : -1;
    return detect_with_sign(tuning, analysis, positive_class, sign);
}

}  // namespace pva::analysis
