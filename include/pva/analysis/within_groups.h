// The same comparisons among rows of one group only (one difficulty, one family of problems), put together over groups:
// what is left of a difference when the kind of problem is held fixed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/stats/sparse_columns.h"

namespace pva::analysis {

/// Rows of one latent (or any score) compared within groups. Groups with one class only tell nothing about differences.
struct WithinGroups {
    /// P(a right row scores higher than a wrong row of its group) + P(tie) / 2, over all such pairs; 1/2 without pairs.
    double auroc = 0.5;
    /// Two-sided p of that, normal approximation: sum of U over groups against the sum of its means and variances
    /// (corrected for ties), no continuity correction. 1 without pairs or variance.
    double p = 1;
    /// Of the linear regression of the value on the label and one constant for each group (ordinary least squares): the
    /// label's coefficient over the residual standard deviation, and over its standard error. Infinite where nothing is
    /// left over but the difference; 0 without pairs.
    double cohens_d = 0;
    double t = 0;
    /// Mantel and Haenszel's (1959) difference of firing shares: weights n1 n0 / n.
    double frequency_difference = 0;
};

/// Of each column. `groups`: group of each row, below n_groups. InputError for unequal lengths or a group out of range.
std::vector<WithinGroups> within_groups(const stats::SparseColumns& columns, std::span<const std::uint8_t> labels,
                                        std::span<const std::uint32_t> groups, std::uint32_t n_groups);

/// Of one score, one value a row.
WithinGroups within_groups(std::span<const double> scores, std::span<const std::uint8_t> labels,
                           std::span<const std::uint32_t> groups, std::uint32_t n_groups);

}  // namespace pva::analysis
