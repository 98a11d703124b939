// Statistics of latents from sparse rows: columns of the range are gathered once, zeros are never written out.
#include "pva/analysis/latent_statistics.h"

#include <algorithm>
#include <cstddef>
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

ClassSizes class_sizes(std::span<const std::uint8_t> labels) {
    ClassSizes sizes;
    for (std::size_t row = 0; row < labels.size(); ++row) {
        if (labels[row] > 1) {
            throw InputError("label of row " + std::to_string(row) + " is " + std::to_string(labels[row]) +
                             ", expected 1 (passes) or 0 (fails)");
        }
        ++(labels[row] == 1 ? sizes.right : sizes.wrong);
    }
    if (sizes.right < 2 || sizes.wrong < 2) {
        throw InputError("the split has " + std::to_string(sizes.right) + " passing and " +
                         std::to_string(sizes.wrong) +
                         " failing programs; statistics of latents need at least 2 of each: generate more problems, or "
                         "use a model that solves some and fails some of them");
    }
    return sizes;
}

// The non-zero values of each latent of a range, split by class, in row order.
struct Columns {
    std::vector<std::uint64_t> offsets;  // [latents in the range + 1]
    std::vector<double> values;
    std::vector<std::uint8_t> labels;
};

Columns gather_columns(const stats::CsrView& codes, std::span<const std::uint8_t> labels, std::uint32_t first,
                       std::uint32_t last) {
    const auto for_each_entry = [&](auto&& visit) {
        for (std::uint64_t row = 0; row < codes.n_rows(); ++row) {
            const auto row_end = codes.latents.begin() + static_cast<std::ptrdiff_t>(codes.row_offsets[row + 1]);
            const auto begin = std::lower_bound(
                codes.latents.begin() + static_cast<std::ptrdiff_t>(codes.row_offsets[row]), row_end, first);
            for (auto entry = begin; entry != row_end && *entry < last; ++entry) {
                const float value = codes.values[static_cast<std::size_t>(entry - codes.latents.begin())];
                if (value != 0) visit(row, *entry - first, value);
            }
        }
    };
    Columns columns;
    columns.offsets.assign(std::size_t{last - first} + 1, 0);
    for_each_entry([&](std::uint64_t, std::uint32_t column, float) { ++columns.offsets[std::size_t{column} + 1]; });
    for (std::size_t column = 0; column < last - first; ++column)
        columns.offsets[column + 1] += columns.offsets[column];
    columns.values.resize(columns.offsets.back());
    columns.labels.resize(columns.offsets.back());
    std::vector<std::uint64_t> next(columns.offsets.begin(), columns.offsets.end() - 1);
    for_each_entry([&](std::uint64_t row, std::uint32_t column, float value) {
        const std::uint64_t place = next[column]++;
        columns.values[place] = value;
        columns.labels[place] = labels[row];
    });
    return columns;
}

// Puts the zeros where they belong: after the negative values, before the positive ones.
std::vector<stats::TieGroup> groups_with_zeros(const std::vector<double>& right, const std::vector<double>& wrong,
                                               const stats::TieGroup& zeros) {
    std::vector<stats::TieGroup> groups = stats::tie_groups(right, wrong);
    if (zeros.positives + zeros.negatives == 0) return groups;
    std::uint64_t negative_values = 0;
    for (double x : right)
        negative_values += x < 0;
    for (double x : wrong)
        negative_values += x < 0;
    auto place = groups.begin();
    for (std::uint64_t seen = 0; seen < negative_values; ++place)
        seen += place->positives + place->negatives;
    groups.insert(place, zeros);
    return groups;
}

LatentStatistics statistics_of(const std::vector<double>& right, const std::vector<double>& wrong,
                               const ClassSizes& sizes) {
    const stats::TieGroup zeros{sizes.right - right.size(), sizes.wrong - wrong.size()};
    const stats::Moments moments_right = stats::moments_with_zeros(right, zeros.positives);
    const stats::Moments moments_wrong = stats::moments_with_zeros(wrong, zeros.negatives);
    const stats::WelchTest welch = stats::welch_t(moments_right, moments_wrong);
    const stats::DelongAuroc auroc = stats::delong(groups_with_zeros(right, wrong, zeros));
    LatentStatistics result;
    result.fired_rows = right.size() + wrong.size();
    result.firing_share_right = static_cast<double>(right.size()) / static_cast<double>(sizes.right);
    result.firing_share_wrong = static_cast<double>(wrong.size()) / static_cast<double>(sizes.wrong);
    result.mean_right = moments_right.mean;
    result.mean_wrong = moments_wrong.mean;
    result.variance_right = moments_right.variance();
    result.variance_wrong = moments_wrong.variance();
    result.cohens_d = stats::cohens_d(moments_right, moments_wrong);
    result.welch_t = welch.t;
    result.welch_df = welch.df;
    result.welch_p = welch.p;
    result.auroc = auroc.auroc;
    result.auroc_standard_error = auroc.standard_error();
    return result;
}

}  // namespace

std::vector<LatentStatistics> latent_statistics(const stats::CsrView& codes, std::span<const std::uint8_t> labels,
                                                std::uint32_t first_latent, std::uint32_t last_latent) {
    if (first_latent > last_latent || last_latent > codes.n_latents) {
        throw InternalError("latents " + std::to_string(first_latent) + " to " + std::to_string(last_latent) +
                            " are no range of " + std::to_string(codes.n_latents) + " latents");
    }
    stats::check(codes);
    if (labels.size() != codes.n_rows()) {
        throw InputError("sparse codes have " + std::to_string(codes.n_rows()) + " rows but there are " +
                         std::to_string(labels.size()) + " labels; both must come from the same split");
    }
    const ClassSizes sizes = class_sizes(labels);
    const Columns columns = gather_columns(codes, labels, first_latent, last_latent);
    std::vector<LatentStatistics> results;
    results.reserve(last_latent - first_latent);
    std::vector<double> right;
    std::vector<double> wrong;
    for (std::size_t column = 0; column < last_latent - first_latent; ++column) {
        right.clear();
        wrong.clear();
        for (std::uint64_t place = columns.offsets[column]; place < columns.offsets[column + 1]; ++place) {
            (columns.labels[place] == 1 ? right : wrong).push_back(columns.values[place]);
        }
        results.push_back(statistics_of(right, wrong, sizes));
    }
    return results;
}

}  // namespace pva::analysis
