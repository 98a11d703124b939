// The bootstrap over problems: all rows (samples) of a problem are drawn together, because they are not independent.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "pva/stats/bootstrap.h"
#include "pva/stats/ranks.h"

namespace pva::stats {

/// Scores and labels of rows that belong to clusters, sorted once, so that a draw of clusters costs one pass over the
/// rows.
class ClusteredScores {
  public:
    /// clusters: cluster of each row, below n_clusters. Clusters without rows are allowed (strata in which they have
    /// none). InputError for unequal lengths, another label than 0 or 1, NaN, or a cluster out of range.
    ClusteredScores(std::span<const double> scores, std::span<const std::uint8_t> labels,
                    std::span<const std::uint32_t> clusters, std::uint32_t n_clusters);

    std::uint32_t n_clusters() const { return n_clusters_; }
    /// All rows as groups of equal scores, ascending.
    std::vector<TieGroup> tie_groups() const;
    /// The rows of these clusters, each as often as its cluster is named; groups that get no row stay, with counts 0.
    std::vector<TieGroup> tie_groups(std::span<const std::uint32_t> drawn) const;
    /// The rows of all clusters but one.
    std::vector<TieGroup> tie_groups_without(std::uint32_t cluster) const;
    /// Score of each group.
    const std::vector<double>& group_scores() const { return group_scores_; }

  private:
    std::vector<TieGroup> weighted(const std::vector<std::uint32_t>& times) const;

    struct Row {
        std::uint32_t group;
        std::uint32_t cluster;
        std::uint8_t label;
    };
    std::uint32_t n_clusters_;
    std::vector<Row> rows_;  // by ascending group
    std::vector<double> group_scores_;
};

/// AUROC of groups of equal scores; NaN (not an error) where a class is missing, as it can be in a draw.
double auroc_or_nan(std::span<const TieGroup> groups);
/// Average precision likewise, NaN without a positive.
double average_precision_or_nan(std::span<const TieGroup> groups);

struct ClusterBootstrap {
    double estimate = 0;  ///< on all clusters
    Interval percentile;
    Interval bca;
    double standard_error = 0;    ///< standard deviation (n - 1) of the draws
    std::vector<double> draws;    ///< defined ones, in the order of drawing
    std::uint32_t undefined = 0;  ///< draws left out because the statistic was NaN (a class was missing)
};

/// Statistic of one detector. `strata`: one number a cluster, or empty (bootstrap). The jackknife of BCa leaves out one
/// cluster in turn; clusters whose removal leaves the statistic undefined are left out of it. InputError where the
/// statistic of all clusters is undefined or that of more than half of the draws.
ClusterBootstrap cluster_bootstrap(const ClusteredScores& scores, std::span<const std::uint32_t> strata,
                                   const BootstrapDraws& draws,
                                   const std::function<double(std::span<const TieGroup>)>& statistic,
                                   double confidence = 0.95);

/// statistic(a) - statistic(b), both of the same clusters in every draw. InputError where a and b count different
/// clusters.
ClusterBootstrap cluster_bootstrap_difference(const ClusteredScores& a, const ClusteredScores& b,
                                              std::span<const std::uint32_t> strata, const BootstrapDraws& draws,
                                              const std::function<double(std::span<const TieGroup>)>& statistic,
                                              double confidence = 0.95);

/// Any statistic of drawn clusters (a slope over temperatures, a share of programs), with the same rules.
ClusterBootstrap cluster_bootstrap(std::uint32_t n_clusters, std::span<const std::uint32_t> strata,
                                   const BootstrapDraws& draws,
                                   const std::function<double(std::span<const std::uint32_t> drawn)>& statistic,
                                   double confidence = 0.95);

}  // namespace pva::stats
