// Rank statistics of two groups: midranks, Mann-Whitney U, AUROC with DeLong's variance and interval.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pva/stats/intervals.h"

namespace pva::stats {

/// Scores of the two classes, each in the order of the input.
struct TwoGroups {
    std::vector<double> positives;
    std::vector<double> negatives;
};

/// Splits scores by label (1 = positive, 0 = negative). InputError for unequal lengths, another label, or NaN.
TwoGroups split_by_label(std::span<const double> scores, std::span<const std::uint8_t> labels);

/// How many of each class share one score.
struct TieGroup {
    std::uint64_t positives = 0;
    std::uint64_t negatives = 0;
};

/// The pooled scores as groups of equal scores, from the lowest score to the highest. InputError for NaN.
std::vector<TieGroup> tie_groups(std::span<const double> positives, std::span<const double> negatives);

/// Ranks from 1 in the order of the input; equal values share the mean of their ranks. InputError for NaN.
std::vector<double> midranks(std::span<const double> values);

enum class ContinuityCorrection { none, half };

struct MannWhitney {
    double u = 0;         ///< pairs in which the positive scores higher; a tie counts one half
    double variance = 0;  ///< of U under the null hypothesis, corrected for ties
    double z = 0;
    double p = 1;  ///< two-sided, normal approximation
};

/// Mann and Whitney (1947). All scores equal: variance 0, z = 0, p = 1. InputError for an empty group.
MannWhitney mann_whitney(std::span<const double> positives, std::span<const double> negatives,
                         ContinuityCorrection correction = ContinuityCorrection::none);

/// The same from groups of equal scores in ascending order.
MannWhitney mann_whitney(std::span<const TieGroup> groups, ContinuityCorrection correction = ContinuityCorrection::none);

/// Exact two-sided p of U given the ties: twice the smaller of P(U <= u) and P(U >= u) over all ways to choose which rows
/// are positive, at most 1. What scipy.stats.mannwhitneyu gives with method="exact" (no ties) and with an exhaustive
/// PermutationMethod (ties). The rows outside the largest group of ties (the zeros of a sparse code) are counted through,
/// so the work grows with the fourth power of their number. Nothing where that would take more than `most_steps`
/// additions. InputError for an empty class.
std::optional<double> exact_mann_whitney_p(std::span<const TieGroup> groups, double most_steps = 1e6);

/// P(a positive scores higher than a negative) + P(tie) / 2 = U / (n1 n0). InputError for an empty group.
double auroc(std::span<const double> positives, std::span<const double> negatives);

/// The same from groups of equal scores in ascending order.
double auroc(std::span<const TieGroup> groups);

/// AUROC with the variance of DeLong, DeLong and Clarke-Pearson (1988). The variance is 0 in three cases only:
/// AUROC 1, AUROC 0, and all scores equal (AUROC 1/2).
struct DelongAuroc {
    double auroc = 0.5;
    double variance = 0;
    std::uint64_t n_positives = 0;
    std::uint64_t n_negatives = 0;

    double standard_error() const;
};

/// Needs two scores in each group, else InputError.
DelongAuroc delong(std::span<const double> positives, std::span<const double> negatives);
/// The same from groups of equal scores in ascending order: what sparse codes give without sorting their zeros.
DelongAuroc delong(std::span<const TieGroup> groups);

/// Interval of the AUROC on the logit scale: logit(A) -/+ z SE / (A (1 - A)), transformed back.
/// Where DeLong's variance is 0 it says nothing; then a conservative exact interval stands in. It rests on
/// m = min(n1, n0) disjoint pairs, which are independent trials: all won means A >= r with r = ((1 - confidence) /
/// 2)^(1/m) (Clopper-Pearson), so [r, 1] at A = 1; [0, 1 - r] at A = 0; and [r / 2, 1 - r / 2] where all scores are
/// equal.
Interval delong_interval(const DelongAuroc& auroc, double confidence = 0.95);

struct PairedDelong {
    double auroc_a = 0.5;
    double auroc_b = 0.5;
    double variance = 0;  ///< of auroc_a - auroc_b
    double z = 0;
    double p = 1;             ///< two-sided
    bool degenerate = false;  ///< the variance is 0 and no test is possible: z = 0 and p = 1 claim nothing
};

/// Compares the AUROC of two scores of the same rows (DeLong et al. 1988). InputError for unequal lengths, another
/// label than 0 or 1, or fewer than two rows of a class.
PairedDelong delong_paired(std::span<const double> scores_a, std::span<const double> scores_b,
                           std::span<const std::uint8_t> labels);

}  // namespace pva::stats
