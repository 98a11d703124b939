// Trends over ordered groups.
#pragma once

#include <cstdint>
#include <span>

#include "pva/stats/alternative.h"

namespace pva::stats {

struct TrendTest {
    double z = 0;  ///< positive: rises with the scores of the groups
    double p = 1;
};

/// Cochran (1954) and Armitage (1955): does the share of successes rise with the scores of ordered groups? Variance
/// given both margins, N / (N - 1) form (as statsmodels' Table.test_ordinal_association and the Mantel test of linear
/// trend); normal approximation without correction. z = 0, p = 1 where nothing can be tested (one group with trials,
/// equal scores, or all outcomes equal). InputError for unequal lengths, more successes than trials, or a score that is
/// not finite.
TrendTest cochran_armitage(std::span<const std::uint64_t> successes, std::span<const std::uint64_t> trials,
                           std::span<const double> scores, Alternative alternative = Alternative::two_sided);

struct LinearTrend {
    double slope = 0;
    double standard_error = 0;
    double z = 0;
    double p = 1;  ///< two-sided, normal
};

/// Line through estimates of independent groups (AUROC by difficulty, for instance), each weighted by 1 / standard
/// error squared, the standard errors taken as known. Not for groups that share problems (temperatures): draw problems
/// again and take the slope of each draw instead (weighted_slope). InputError for unequal lengths, fewer than two
/// different scores, a standard error that is not above 0, or numbers that are not finite.
LinearTrend weighted_trend(std::span<const double> scores, std::span<const double> estimates,
                           std::span<const double> standard_errors);

/// Slope of the weighted least-squares line alone. Errors likewise, for weights.
double weighted_slope(std::span<const double> scores, std::span<const double> estimates,
                      std::span<const double> weights);

}  // namespace pva::stats
