// Drawing clusters of rows and figures of their rankings.
#include "pva/stats/cluster_bootstrap.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>

#include "pva/core/error.h"
#include "pva/stats/classification.h"

namespace pva::stats {

namespace {

double mean_of(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values)
        sum += value;
    return sum / static_cast<double>(values.size());
}

// without(u): the statistic without cluster u.
ClusterBootstrap summarise(double estimate, std::vector<double> draws, std::uint32_t n_clusters,
                           std::span<const std::uint32_t> strata, const std::function<double(std::uint32_t)>& without,
                           double confidence) {
    ClusterBootstrap result;
    result.estimate = estimate;
    if (std::isnan(estimate)) {
        throw InputError("the statistic of all " + std::to_string(n_clusters) +
                         " problems is undefined, so there is nothing to draw; both classes must occur");
    }
    const std::size_t drawn = draws.size();
    std::erase_if(draws, [](double value) { return std::isnan(value); });
    result.undefined = static_cast<std::uint32_t>(drawn - draws.size());
    if (2 * draws.size() < drawn || draws.empty()) {
        throw InputError(
            std::to_string(result.undefined) + " of " + std::to_string(drawn) + " draws of " +
            std::to_string(n_clusters) +
            " problems leave the statistic undefined; use more problems, or strata that keep both classes");
    }
    result.draws = std::move(draws);
    std::map<std::uint32_t, std::vector<double>> jackknife;
    for (std::uint32_t cluster = 0; cluster < n_clusters; ++cluster) {
        const double value = without(cluster);
        if (!std::isnan(value)) jackknife[strata.empty() ? 0 : strata[cluster]].push_back(value);
    }
    std::vector<std::vector<double>> by_stratum;
    for (auto& [stratum, values] : jackknife)
        by_stratum.push_back(std::move(values));
    result.percentile = percentile_interval(result.draws, confidence);
    result.bca = bca_interval(result.draws, estimate, by_stratum, confidence);
    const double mean = mean_of(result.draws);
    double squares = 0;
    for (const double value : result.draws)
        squares += (value - mean) * (value - mean);
    if (result.draws.size() > 1)
        result.standard_error = std::sqrt(squares / static_cast<double>(result.draws.size() - 1));
    return result;
}

}  // namespace

ClusteredScores::ClusteredScores(std::span<const double> scores, std::span<const std::uint8_t> labels,
                                 std::span<const std::uint32_t> clusters, std::uint32_t n_clusters)
    : n_clusters_(n_clusters) {
    split_by_label(scores, labels);  // refuses what is no score or label
    if (clusters.size() != scores.size()) {
        throw InputError(std::to_string(scores.size()) + " scores but " + std::to_string(clusters.size()) +
                         " numbers of problems; they must describe the same rows");
    }
    for (std::size_t row = 0; row < clusters.size(); ++row) {
        if (clusters[row] >= n_clusters) {
            throw InputError("row number " + std::to_string(row) + " belongs to problem " +
                             std::to_string(clusters[row]) + " of " + std::to_string(n_clusters) +
                             "; problems are numbered from 0");
        }
    }
    std::vector<std::uint32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return scores[a] < scores[b]; });
    rows_.reserve(order.size());
    for (const std::uint32_t row : order) {
        if (group_scores_.empty() || scores[row] != group_scores_.back()) group_scores_.push_back(scores[row]);
        rows_.push_back({static_cast<std::uint32_t>(group_scores_.size() - 1), clusters[row], labels[row]});
    }
}

std::vector<TieGroup> ClusteredScores::weighted(const std::vector<std::uint32_t>& times) const {
    std::vector<TieGroup> groups(group_scores_.size());
    for (const Row& row : rows_)
        (row.label == 1 ? groups[row.group].positives : groups[row.group].negatives) += times[row.cluster];
    return groups;
}

std::vector<TieGroup> ClusteredScores::tie_groups() const {
    return weighted(std::vector<std::uint32_t>(n_clusters_, 1));
}

std::vector<TieGroup> ClusteredScores::tie_groups(std::span<const std::uint32_t> drawn) const {
    std::vector<std::uint32_t> times(n_clusters_, 0);
    for (const std::uint32_t cluster : drawn)
        ++times.at(cluster);
    return weighted(times);
}

std::vector<TieGroup> ClusteredScores::tie_groups_without(std::uint32_t cluster) const {
    std::vector<std::uint32_t> times(n_clusters_, 1);
    times.at(cluster) = 0;
    return weighted(times);
}

double auroc_or_nan(std::span<const TieGroup> groups) {
    bool positives = false, negatives = false;
    for (const TieGroup& group : groups) {
        positives = positives || group.positives > 0;
        negatives = negatives || group.negatives > 0;
    }
    return positives && negatives ? auroc(groups) : std::numeric_limits<double>::quiet_NaN();
}

double average_precision_or_nan(std::span<const TieGroup> groups) {
    const bool positives = std::any_of(groups.begin(), groups.end(), [](const TieGroup& g) { return g.positives > 0; });
    return positives ? average_precision(groups) : std::numeric_limits<double>::quiet_NaN();
}

ClusterBootstrap cluster_bootstrap(const ClusteredScores& scores, std::span<const std::uint32_t> strata,
                                   const BootstrapDraws& draws,
                                   const std::function<double(std::span<const TieGroup>)>& statistic,
                                   double confidence) {
    return summarise(
        statistic(scores.tie_groups()),
        bootstrap(scores.n_clusters(), strata, draws,
                  [&](std::span<const std::uint32_t> drawn) { return statistic(scores.tie_groups(drawn)); }),
        scores.n_clusters(), strata,
        [&](std::uint32_t cluster) { return statistic(scores.tie_groups_without(cluster)); }, confidence);
}

ClusterBootstrap cluster_bootstrap_difference(const ClusteredScores& a, const ClusteredScores& b,
                                              std::span<const std::uint32_t> strata, const BootstrapDraws& draws,
                                              const std::function<double(std::span<const TieGroup>)>& statistic,
                                              double confidence) {
    if (a.n_clusters() != b.n_clusters()) {
        throw InputError("scores of " + std::to_string(a.n_clusters()) + " and of " + std::to_string(b.n_clusters()) +
                         " problems cannot be drawn together; both must count the same problems");
    }
    return summarise(
        statistic(a.tie_groups()) - statistic(b.tie_groups()),
        bootstrap(a.n_clusters(), strata, draws,
                  [&](std::span<const std::uint32_t> drawn) {
                      return statistic(a.tie_groups(drawn)) - statistic(b.tie_groups(drawn));
                  }),
        a.n_clusters(), strata,
        [&](std::uint32_t cluster) {
            return statistic(a.tie_groups_without(cluster)) - statistic(b.tie_groups_without(cluster));
        },
        confidence);
}

ClusterBootstrap cluster_bootstrap(std::uint32_t n_clusters, std::span<const std::uint32_t> strata,
                                   const BootstrapDraws& draws,
                                   const std::function<double(std::span<const std::uint32_t> drawn)>& statistic,
                                   double confidence) {
    std::vector<std::uint32_t> all(n_clusters);
    std::iota(all.begin(), all.end(), 0U);
    return summarise(
        statistic(all), bootstrap(n_clusters, strata, draws, statistic), n_clusters, strata,
        [&](std::uint32_t cluster) {
            std::vector<std::uint32_t> others;
            for (const std::uint32_t other : all)
                if (other != cluster) others.push_back(other);
            return statistic(others);
        },
        confidence);
}

}  // namespace pva::stats
