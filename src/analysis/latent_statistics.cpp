// Statistics of latents column by column; zeros are never written out.
#include "pva/analysis/latent_statistics.h"

#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

#include "pva/core/error.h"
#include "pva/stats/moments.h"
#include "pva/stats/ranks.h"

namespace pva::analysis {

namespace {

struct ClassSizes {
    std::uint64_t right = 0;
    std::uint64_t wrong = 0;
};

ClassSizes class_sizes(std::span<const std::uint8_t> labels, std::uint64_t n_rows) {
    if (labels.size() != n_rows) {
        throw InputError("there are " + std::to_string(n_rows) + " rows but " + std::to_string(labels.size()) +
                         " labels; both must come from the same part of the split");
    }
    ClassSizes sizes;
    for (std::size_t row = 0; row < labels.size(); ++row) {
        if (labels[row] > 1) {
            throw InputError("label of row " + std::to_string(row) + " is " + std::to_string(labels[row]) +
                             ", expected 1 (passes) or 0 (fails)");
        }
        ++(labels[row] == 1 ? sizes.right : sizes.wrong);
    }
    if (sizes.right == 0 || sizes.wrong == 0) {
        throw InputError("the part has " + std::to_string(sizes.right) + " passing and " + std::to_string(sizes.wrong) +
                         " failing programs; nothing can be compared without both: generate more problems, or use a "
                         "model that solves some and fails some of them");
    }
    return sizes;
}

// right, wrong: the values that are not 0; groups: all values.
LatentStatistics statistics_of(const std::vector<double>& right, const std::vector<double>& wrong,
                               const std::vector<stats::TieGroup>& groups, const ClassSizes& sizes) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const stats::Moments moments_right = stats::moments_with_zeros(right, sizes.right - right.size());
    const stats::Moments moments_wrong = stats::moments_with_zeros(wrong, sizes.wrong - wrong.size());
    LatentStatistics result;
    result.fired_rows = right.size() + wrong.size();
    result.firing_share_right = static_cast<double>(right.size()) / static_cast<double>(sizes.right);
    result.firing_share_wrong = static_cast<double>(wrong.size()) / static_cast<double>(sizes.wrong);
    result.frequency_difference = result.firing_share_right - result.firing_share_wrong;
    result.mean_right = moments_right.mean;
    result.mean_wrong = moments_wrong.mean;
    result.variance_right = moments_right.variance();
    result.variance_wrong = moments_wrong.variance();
    if (sizes.right > 1 && sizes.wrong > 1) {
        const stats::WelchTest welch = stats::welch_t(moments_right, moments_wrong);
        result.cohens_d = stats::cohens_d(moments_right, moments_wrong);
        result.welch_t = welch.t;
        result.welch_df = welch.df;
        result.welch_p = welch.p;
        const stats::DelongAuroc auroc = stats::delong(groups);
        const stats::Interval interval = stats::delong_interval(auroc);
        result.auroc = auroc.auroc;
        result.auroc_standard_error = auroc.standard_error();
        result.auroc_low = interval.lower;
        result.auroc_high = interval.upper;
    } else {
        result.cohens_d = result.welch_t = result.welch_df = result.welch_p = nan;
        result.auroc_standard_error = result.auroc_low = result.auroc_high = nan;
        result.auroc = stats::auroc(groups);
    }
    const stats::MannWhitney normal = stats::mann_whitney(groups, stats::ContinuityCorrection::half);
    if (normal.variance > 0) {
        const double pairs = static_cast<double>(sizes.right) * static_cast<double>(sizes.wrong);
        result.mann_whitney_z = (normal.u - pairs / 2) / std::sqrt(normal.variance);
    }
    const std::optional<double> exact = stats::exact_mann_whitney_p(groups, exact_steps);
    result.mann_whitney_p = exact.value_or(normal.p);
    result.mann_whitney_exact = exact ? 1 : 0;
    return result;
}

}  // namespace

std::vector<LatentStatistics> latent_statistics(const stats::SparseColumns& columns,
                                                std::span<const std::uint8_t> labels) {
    const ClassSizes sizes = class_sizes(labels, columns.n_rows);
    std::vector<LatentStatistics> results;
    results.reserve(columns.size());
    std::vector<double> right;
    std::vector<double> wrong;
    std::vector<std::uint64_t> keys;
    std::vector<stats::TieGroup> groups = {{sizes.right, sizes.wrong}};
    // Most latents fire on no row of a part.
    const LatentStatistics never = statistics_of(right, wrong, groups, sizes);
    for (std::size_t column = 0; column < columns.size(); ++column) {
        const auto rows = columns.rows_of(column);
        const auto values = columns.values_of(column);
        if (rows.empty()) {
            results.push_back(never);
            continue;
        }
        right.clear();
        wrong.clear();
        for (std::size_t i = 0; i < rows.size(); ++i)
            (labels[rows[i]] == 1 ? right : wrong).push_back(values[i]);
        stats::tie_groups_of_column(rows, values, labels, sizes.right, sizes.wrong, keys, groups);
        results.push_back(statistics_of(right, wrong, groups, sizes));
    }
    return results;
}

std::vector<LatentStatistics> latent_statistics(const stats::CsrView& codes, std::span<const std::uint8_t> labels,
                                                std::uint32_t first_latent, std::uint32_t last_latent) {
    if (first_latent > last_latent || last_latent > codes.n_latents) {
        throw InternalError("latents " + std::to_string(first_latent) + " to " + std::to_string(last_latent) +
                            " are no range of " + std::to_string(codes.n_latents) + " latents");
    }
    stats::check(codes);
    return latent_statistics(stats::sparse_columns(codes, first_latent, last_latent), labels);
}

LatentStatistics score_statistics(std::span<const double> scores, std::span<const std::uint8_t> labels) {
    const ClassSizes sizes = class_sizes(labels, scores.size());
    const stats::TwoGroups all = stats::split_by_label(scores, labels);
    std::vector<double> right;
    std::vector<double> wrong;
    for (const double score : all.positives) {
        if (score != 0) right.push_back(score);
    }
    for (const double score : all.negatives) {
        if (score != 0) wrong.push_back(score);
    }
    return statistics_of(right, wrong, stats::tie_groups(all.positives, all.negatives), sizes);
}

}  // namespace pva::analysis
