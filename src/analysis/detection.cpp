// Held-out detection: sign from one part, threshold from another, figures from a third.
#include "pva/analysis/detection.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <string>

#include "pva/core/error.h"
#include "pva/stats/auroc_permutation.h"
#include "pva/stats/cluster_bootstrap.h"
#include "pva/stats/ranks.h"
#include "pva/stats/thresholds.h"
#include "pva/stats/trend.h"

namespace pva::analysis {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr stats::Interval undefined{nan, nan};

const char* role_name(Role role) {
    return role == Role::selection ? "selection" : role == Role::tuning ? "tuning" : "analysis";
}

// Refuses what cannot be evaluated, naming the part.
template <Role role>
void require_valid(const Scored<role>& part, std::uint64_t least) {
    const std::string where = std::string("the ") + role_name(role) + " part";
    if (part.scores.size() != part.passed.size()) {
        throw InputError(where + " has " + std::to_string(part.scores.size()) + " scores but " +
                         std::to_string(part.passed.size()) + " labels; both must come from the same problems");
    }
    std::uint64_t passing = 0;
    std::uint64_t failing = 0;
    for (std::size_t i = 0; i < part.scores.size(); ++i) {
        if (!std::isfinite(part.scores[i])) {
            throw InputError("score " + std::to_string(i) + " of " + where +
                             " is not a finite number; find out why it could not be computed");
        }
        if (part.passed[i] > 1) {
            throw InputError("label " + std::to_string(i) + " of " + where + " is " + std::to_string(part.passed[i]) +
                             ", expected 1 (passes) or 0 (fails)");
        }
        ++(part.passed[i] == 1 ? passing : failing);
    }
    if (passing < least || failing < least) {
        throw InputError(where + " has " + std::to_string(passing) + " passing and " + std::to_string(failing) +
                         " failing programs; detection needs at least " + std::to_string(least) +
                         " of each there: use more problems");
    }
}

Oriented orient(std::span<const double> scores, std::span<const std::uint8_t> passed, Direction positive_class, int sign) {
    Oriented result;
    // 0 - x rather than -x, which would turn 0 into -0 and show it in a threshold.
    for (double score : scores)
        result.scores.push_back(sign < 0 ? 0.0 - score : score);
    for (std::uint8_t label : passed) {
        result.labels.push_back(positive_class == Direction::right ? label : static_cast<std::uint8_t>(1 - label));
    }
    return result;
}

DetectionResult together(const DetectionRule& rule, const AnalysisScores& analysis) {
    DetectionResult result;
    static_cast<DetectionRule&>(result) = rule;
    static_cast<DetectionFigures&>(result) = measure(rule, analysis);
    return result;
}

// In how many problems each class occurs.
struct ClassProblems {
    std::size_t positive = 0;
    std::size_t negative = 0;
    bool enough() const { return positive >= 2 && negative >= 2; }
};

ClassProblems class_problems(const Oriented& rows, std::span<const std::uint32_t> problems, std::uint32_t n_problems) {
    std::vector<std::uint8_t> seen(n_problems, 0);
    for (std::size_t i = 0; i < rows.labels.size(); ++i)
        seen.at(problems[i]) |= rows.labels[i] == 1 ? 1 : 2;
    ClassProblems count;
    for (const std::uint8_t s : seen) {
        count.positive += (s & 1) != 0;
        count.negative += (s & 2) != 0;
    }
    return count;
}

stats::BootstrapDraws draws_of(const ResamplingSettings& settings) {
    return {settings.draws, settings.seed, settings.stream};
}

// Slope over strata of a statistic of each, drawn together.
template <class Statistic>
SharedTrend shared_trend(std::span<const ProblemStratum> strata, std::uint32_t n_problems,
                         const ResamplingSettings& settings, bool needs_both_classes, Statistic&& statistic) {
    std::vector<stats::ClusteredScores> scores;
    std::vector<double> at;
    for (const ProblemStratum& stratum : strata) {
        if (needs_both_classes ? !class_problems(stratum.rows, stratum.problems, n_problems).enough() : stratum.rows.labels.empty()) continue;
        scores.emplace_back(stratum.rows.scores, stratum.rows.labels, stratum.problems, n_problems);
        at.push_back(stratum.at);
    }
    SharedTrend trend{nan, undefined, nan};
    if (at.size() < 2 || settings.draws < 2) return trend;
    const std::vector<double> weights(at.size(), 1.0);
    const auto slope = [&](std::span<const std::uint32_t> drawn) {
        std::vector<double> values;
        for (const stats::ClusteredScores& stratum : scores) {
            values.push_back(statistic(stratum.tie_groups(drawn)));
            if (std::isnan(values.back())) return nan;
        }
        return stats::weighted_slope(at, values, weights);
    };
    std::vector<std::uint32_t> once(n_problems);
    std::iota(once.begin(), once.end(), 0U);
    trend.slope = slope(once);
    stats::ClusterBootstrap found;
    try {
        found = stats::cluster_bootstrap(n_problems, {}, draws_of(settings), slope);
    } catch (const InputError&) {
        return trend;  // a class lies in so few problems that most draws have a stratum without it: no interval
    }
    trend.interval = found.bca;
    if (found.standard_error > 0) {
        const double z = std::fabs(trend.slope) / found.standard_error;
        trend.p = 2 * boost::math::cdf(boost::math::complement(boost::math::normal(), z));
    }
    return trend;
}

}  // namespace

Direction direction_of(const SelectionScores& selection) {
    require_valid(selection, 1);
    const stats::TwoGroups groups = stats::split_by_label(selection.scores, selection.passed);
    return stats::auroc(groups.positives, groups.negatives) > 0.5 ? Direction::right : Direction::wrong;
}

int sign_for(const SelectionScores& selection, Direction positive_class) {
    return direction_of(selection) == positive_class ? 1 : -1;
}

DetectionRule choose_threshold(const TuningScores& tuning, Direction positive_class, int sign) {
    require_valid(tuning, 1);
    const Oriented rows = orient(tuning.scores, tuning.passed, positive_class, sign);
    const stats::Threshold threshold = stats::f1_optimal_threshold(rows.scores, rows.labels);
    DetectionRule rule;
    rule.positive_class = positive_class;
    rule.sign = sign;
    rule.threshold = threshold.value;
    rule.tuning_f1 = stats::f1(threshold.counts);
    rule.tuning_positives = threshold.counts.true_positives + threshold.counts.false_negatives;
    rule.tuning_negatives = threshold.counts.true_negatives + threshold.counts.false_positives;
    return rule;
}

Oriented oriented(const DetectionRule& rule, const AnalysisScores& rows) {
    return orient(rows.scores, rows.passed, rule.positive_class, rule.sign);
}

DetectionFigures measure_stratum(const DetectionRule& rule, const AnalysisScores& rows) {
    const Oriented held_out = oriented(rule, rows);
    const stats::TwoGroups groups = stats::split_by_label(held_out.scores, held_out.labels);
    DetectionFigures figures;
    figures.positives = groups.positives.size();
    figures.negatives = groups.negatives.size();
    figures.base_rate = figures.auroc = figures.auroc_standard_error = nan;
    figures.f1 = figures.recall = figures.balanced_accuracy = figures.mcc = nan;
    figures.always_positive_f1 = figures.average_precision = figures.average_precision_lift = nan;
    figures.auroc_interval = undefined;
    const std::uint64_t n = figures.positives + figures.negatives;
    if (n > 0) {
        figures.base_rate = static_cast<double>(figures.positives) / static_cast<double>(n);
        figures.always_positive_f1 = stats::always_positive_f1(figures.base_rate);
    }
    if (figures.positives > 0) {
        figures.average_precision = stats::average_precision(held_out.scores, held_out.labels);
        figures.average_precision_lift = stats::average_precision_lift(figures.average_precision, figures.base_rate);
    }
    if (figures.positives > 0 && figures.negatives > 0) figures.auroc = stats::auroc(groups.positives, groups.negatives);
    if (figures.positives > 1 && figures.negatives > 1) {
        const stats::DelongAuroc auroc = stats::delong(groups.positives, groups.negatives);
        figures.auroc_standard_error = auroc.standard_error();
        figures.auroc_interval = stats::delong_interval(auroc);
    }
    figures.counts = stats::confusion(held_out.scores, held_out.labels, rule.threshold);
    figures.precision = stats::precision(figures.counts);
    // A group without one of the classes has no such figures; 0 or a half would look measured.
    if (figures.positives > 0) {
        figures.f1 = stats::f1(figures.counts);
        figures.recall = stats::recall(figures.counts);
    }
    if (figures.positives > 0 && figures.negatives > 0) {
        figures.balanced_accuracy = stats::balanced_accuracy(figures.counts);
        figures.mcc = stats::mcc(figures.counts);
    }
    return figures;
}

DetectionFigures measure(const DetectionRule& rule, const AnalysisScores& analysis) {
    require_valid(analysis, 2);
    return measure_stratum(rule, analysis);
}

ResampledFigures resampled(const Oriented& rows, std::span<const std::uint32_t> problems, std::uint32_t n_problems,
                           const ResamplingSettings& settings) {
    std::vector<std::uint32_t> own;
    std::vector<std::uint32_t> strata;
    if (problems.empty()) {
        for (std::uint32_t i = 0; i < rows.labels.size(); ++i)
            own.push_back(i);
        strata.assign(rows.labels.begin(), rows.labels.end());
        problems = own;
        n_problems = static_cast<std::uint32_t>(own.size());
    }
    ResampledFigures figures{undefined, undefined, nan};
    if (settings.draws < 2 || !class_problems(rows, problems, n_problems).enough()) return figures;
    const stats::ClusteredScores scores(rows.scores, rows.labels, problems, n_problems);
    const auto auroc = stats::cluster_bootstrap(scores, strata, draws_of(settings), stats::auroc_or_nan);
    figures.auroc = auroc.bca;
    figures.auroc_standard_error = auroc.standard_error;
    figures.average_precision =
        stats::cluster_bootstrap(scores, strata, draws_of(settings), stats::average_precision_or_nan).bca;
    return figures;
}

double permutation_p(const Oriented& rows, std::span<const std::uint32_t> problems, std::uint32_t n_problems,
                     const ResamplingSettings& settings) {
    const auto positives = std::count(rows.labels.begin(), rows.labels.end(), std::uint8_t{1});
    if (settings.permutations == 0 || positives == 0 || positives == static_cast<std::ptrdiff_t>(rows.labels.size())) return nan;
    return stats::auroc_permutation_test(rows.scores, rows.labels, problems, n_problems, {},
                                         {settings.permutations, settings.seed, settings.stream})
        .p;
}

SharedTrend auroc_trend(std::span<const ProblemStratum> strata, std::uint32_t n_problems, const ResamplingSettings& settings) {
    return shared_trend(strata, n_problems, settings, true, stats::auroc_or_nan);
}

SharedTrend base_rate_trend(std::span<const ProblemStratum> strata, std::uint32_t n_problems,
                            const ResamplingSettings& settings) {
    return shared_trend(strata, n_problems, settings, false, [](const std::vector<stats::TieGroup>& groups) {
        double positives = 0;
        double all = 0;
        for (const stats::TieGroup& group : groups) {
            positives += static_cast<double>(group.positives);
            all += static_cast<double>(group.positives + group.negatives);
        }
        return all > 0 ? positives / all : nan;
    });
}

DetectionResult detect(const TuningScores& tuning, const AnalysisScores& analysis, Direction positive_class) {
    return together(choose_threshold(tuning, positive_class), analysis);
}

DetectionResult detect_baseline(const SelectionScores& selection, const TuningScores& tuning,
                                const AnalysisScores& analysis, Direction positive_class) {
    return together(choose_threshold(tuning, positive_class, sign_for(selection, positive_class)), analysis);
}

}  // namespace pva::analysis
