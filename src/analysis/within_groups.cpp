// One pass over the groups of a column; groups in which it does not fire cost nothing.
#include "pva/analysis/within_groups.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "pva/core/error.h"
#include "pva/stats/moments.h"
#include "pva/stats/ranks.h"

namespace pva::analysis {

namespace {

struct GroupSizes {
    std::uint64_t right = 0;
    std::uint64_t wrong = 0;
    double pairs() const { return static_cast<double>(right) * static_cast<double>(wrong); }
    // Mantel and Haenszel's weight; also the label's sum of squares around its mean in the group.
    double weight() const { return right + wrong == 0 ? 0.0 : pairs() / static_cast<double>(right + wrong); }
};

std::vector<GroupSizes> group_sizes(std::span<const std::uint8_t> labels, std::span<const std::uint32_t> groups,
                                    std::uint32_t n_groups, std::uint64_t n_rows) {
    if (labels.size() != n_rows || groups.size() != n_rows) {
        throw InputError(std::to_string(n_rows) + " rows, but " + std::to_string(labels.size()) + " labels and " +
                         std::to_string(groups.size()) + " group numbers; they must describe the same rows");
    }
    std::vector<GroupSizes> sizes(n_groups);
    for (std::size_t row = 0; row < labels.size(); ++row) {
        if (groups[row] >= n_groups) {
            throw InputError("row " + std::to_string(row) + " is of group " + std::to_string(groups[row]) + " of " +
                             std::to_string(n_groups));
        }
        ++(labels[row] == 1 ? sizes[groups[row]].right : sizes[groups[row]].wrong);
    }
    return sizes;
}

// Everything that groups add up to.
struct Sums {
    double excess = 0;    // of U over its mean
    double variance = 0;  // of U
    double weighted_difference = 0;
    double weighted_share_difference = 0;
    double residual_squares = 0;
    std::vector<std::pair<double, double>> differences;  // of means, with weights
};

// One group: its values that are not 0, by class.
void add_group(Sums& sums, const std::vector<double>& right, const std::vector<double>& wrong, const GroupSizes& sizes) {
    const std::uint64_t zeros_right = sizes.right - right.size();
    const std::uint64_t zeros_wrong = sizes.wrong - wrong.size();
    const stats::Moments one = stats::moments_with_zeros(right, zeros_right);
    const stats::Moments zero = stats::moments_with_zeros(wrong, zeros_wrong);
    sums.residual_squares += one.squared_deviations + zero.squared_deviations;
    if (sizes.right == 0 || sizes.wrong == 0) return;
    const double weight = sizes.weight();
    sums.weighted_difference += weight * (one.mean - zero.mean);
    sums.differences.emplace_back(one.mean - zero.mean, weight);
    sums.weighted_share_difference += weight * (static_cast<double>(right.size()) / static_cast<double>(sizes.right) -
                                                static_cast<double>(wrong.size()) / static_cast<double>(sizes.wrong));
    std::vector<double> all_right = right;
    std::vector<double> all_wrong = wrong;
    // One zero stands for all of a class: its group of ties gets the true number below.
    if (zeros_right > 0) all_right.push_back(0);
    if (zeros_wrong > 0) all_wrong.push_back(0);
    std::vector<stats::TieGroup> ties = stats::tie_groups(all_right, all_wrong);
    if (zeros_right + zeros_wrong > 0) {
        std::size_t below = 0;
        for (const double x : all_right)
            below += x < 0;
        for (const double x : all_wrong)
            below += x < 0;
        std::size_t place = 0;
        for (std::size_t seen = 0; seen < below; ++place)
            seen += ties[place].positives + ties[place].negatives;
        ties[place] = {zeros_right, zeros_wrong};
    }
    const stats::MannWhitney test = stats::mann_whitney(ties);
    sums.excess += test.u - sizes.pairs() / 2;
    sums.variance += test.variance;
}

WithinGroups finish(const Sums& sums, const std::vector<GroupSizes>& sizes, double skipped_weight_differences) {
    double pairs = 0;
    double weight = 0;
    std::uint64_t n = 0;
    std::uint64_t n_groups = 0;
    for (const GroupSizes& group : sizes) {
        pairs += group.pairs();
        weight += group.weight();
        n += group.right + group.wrong;
        n_groups += group.right + group.wrong > 0;
    }
    WithinGroups result;
    if (pairs == 0) return result;
    result.auroc = 0.5 + sums.excess / pairs;
    if (sums.variance > 0) {
        const double z = sums.excess / std::sqrt(sums.variance);
        result.p = std::min(1.0, 2 * boost::math::cdf(boost::math::complement(boost::math::normal(), std::fabs(z))));
    }
    result.frequency_difference = sums.weighted_share_difference / weight;
    const double beta = sums.weighted_difference / weight;
    // Groups that were skipped have difference 0 and no deviations of their own.
    double squares = sums.residual_squares + skipped_weight_differences * beta * beta;
    for (const auto& [difference, w] : sums.differences)
        squares += w * ((difference - beta) * (difference - beta));
    if (beta == 0) return result;
    if (n <= n_groups + 1 || squares == 0) {
        result.cohens_d = result.t = std::copysign(std::numeric_limits<double>::infinity(), beta);
        return result;
    }
    const double deviation = std::sqrt(squares / static_cast<double>(n - n_groups - 1));
    result.cohens_d = beta / deviation;
    result.t = beta * std::sqrt(weight) / deviation;
    return result;
}

}  // namespace

std::vector<WithinGroups> within_groups(const stats::SparseColumns& columns, std::span<const std::uint8_t> labels,
                                        std::span<const std::uint32_t> groups, std::uint32_t n_groups) {
    const std::vector<GroupSizes> sizes = group_sizes(labels, groups, n_groups, columns.n_rows);
    double all_weights = 0;
    for (const GroupSizes& group : sizes)
        all_weights += group.weight();
    std::vector<WithinGroups> results;
    results.reserve(columns.size());
    std::vector<std::pair<std::uint32_t, std::size_t>> order;  // group, place among the entries
    std::vector<double> right;
    std::vector<double> wrong;
    for (std::size_t column = 0; column < columns.size(); ++column) {
        const auto rows = columns.rows_of(column);
        const auto values = columns.values_of(column);
        if (rows.empty()) {
            results.emplace_back();
            continue;
        }
        order.clear();
        for (std::size_t i = 0; i < rows.size(); ++i)
            order.emplace_back(groups[rows[i]], i);
        std::sort(order.begin(), order.end());
        Sums sums;
        double weights = 0;
        for (std::size_t i = 0; i < order.size();) {
            const std::uint32_t group = order[i].first;
            right.clear();
            wrong.clear();
            for (; i < order.size() && order[i].first == group; ++i)
                (labels[rows[order[i].second]] == 1 ? right : wrong).push_back(values[order[i].second]);
            add_group(sums, right, wrong, sizes[group]);
            weights += sizes[group].weight();
        }
        // The difference is rounding where no group was skipped.
        results.push_back(finish(sums, sizes, std::max(0.0, all_weights - weights)));
    }
    return results;
}

WithinGroups within_groups(std::span<const double> scores, std::span<const std::uint8_t> labels,
                           std::span<const std::uint32_t> groups, std::uint32_t n_groups) {
    const std::vector<GroupSizes> sizes = group_sizes(labels, groups, n_groups, scores.size());
    std::vector<std::vector<double>> right(n_groups);
    std::vector<std::vector<double>> wrong(n_groups);
    for (std::size_t row = 0; row < scores.size(); ++row) {
        if (scores[row] != 0) (labels[row] == 1 ? right : wrong)[groups[row]].push_back(scores[row]);
    }
    Sums sums;
    for (std::uint32_t group = 0; group < n_groups; ++group)
        add_group(sums, right[group], wrong[group], sizes[group]);
    return finish(sums, sizes, 0);
}

}  // namespace pva::analysis
