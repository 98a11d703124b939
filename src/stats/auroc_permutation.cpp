// Permutation test of an AUROC over whole problems, by rank sums in whole numbers.
#include "pva/stats/auroc_permutation.h"

#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/stats/permutation.h"
#include "pva/stats/ranks.h"

namespace pva::stats {

PermutationTest auroc_permutation_test(std::span<const double> scores, std::span<const std::uint8_t> labels,
                                       std::span<const std::uint32_t> clusters, std::uint32_t n_clusters,
                                       std::span<const std::uint32_t> strata, const PermutationDraws& draws) {
    const TwoGroups groups = split_by_label(scores, labels);
    if (groups.positives.empty() || groups.negatives.empty()) {
        throw InputError("an AUROC of " + std::to_string(groups.positives.size()) + " positive and " +
                         std::to_string(groups.negatives.size()) +
                         " negative rows cannot be tested; both classes must occur");
    }
    if (clusters.empty()) n_clusters = static_cast<std::uint32_t>(scores.size());
    if (!clusters.empty() && clusters.size() != scores.size()) {
        throw InputError(std::to_string(scores.size()) + " scores but " + std::to_string(clusters.size()) +
                         " numbers of problems; they must describe the same rows");
    }
    if (!strata.empty() && strata.size() != n_clusters) {
        throw InputError(std::to_string(n_clusters) + " problems but " + std::to_string(strata.size()) +
                         " strata; they must describe the same problems");
    }
    std::vector<std::vector<std::uint32_t>> rows_of(n_clusters);
    for (std::uint32_t row = 0; row < scores.size(); ++row) {
        const std::uint32_t cluster = clusters.empty() ? row : clusters[row];
        if (cluster >= n_clusters) {
            throw InputError("row number " + std::to_string(row) + " belongs to problem " + std::to_string(cluster) +
                             " of " + std::to_string(n_clusters) + "; problems are numbered from 0");
        }
        rows_of[cluster].push_back(row);
    }
    // Problems whose labels may be exchanged: of one stratum and of one size.
    std::map<std::pair<std::uint32_t, std::size_t>, std::vector<std::uint32_t>> exchangeable;
    for (std::uint32_t cluster = 0; cluster < n_clusters; ++cluster) {
        if (rows_of[cluster].empty()) continue;
        exchangeable[{strata.empty() ? 0 : strata[cluster], rows_of[cluster].size()}].push_back(cluster);
    }
    // Twice the midranks are whole numbers, and so is how far twice the rank sum of the positives is from its mean.
    std::vector<std::int64_t> ranks;
    for (const double rank : midranks(scores))
        ranks.push_back(static_cast<std::int64_t>(2 * rank));
    const std::int64_t mean =
        static_cast<std::int64_t>(groups.positives.size()) * (static_cast<std::int64_t>(scores.size()) + 1);
    std::int64_t observed = -mean;
    for (std::size_t row = 0; row < scores.size(); ++row)
        observed += labels[row] == 1 ? ranks[row] : 0;

    PermutationTest test;
    test.permutations = draws.n;
    std::vector<std::uint32_t> from;
    for (std::uint32_t b = 0; b < draws.n; ++b) {
        PhiloxStream random(draws.seed, draws.stream, b);
        std::int64_t distance = -mean;
        for (const auto& [kind, problems] : exchangeable) {
            from = problems;
            for (std::size_t i = from.size(); i > 1; --i)
                std::swap(from[i - 1], from[random.below(static_cast<std::uint32_t>(i))]);
            for (std::size_t i = 0; i < problems.size(); ++i) {
                const std::vector<std::uint32_t>& to_rows = rows_of[problems[i]];
                const std::vector<std::uint32_t>& from_rows = rows_of[from[i]];
                for (std::size_t r = 0; r < to_rows.size(); ++r)
                    distance += labels[from_rows[r]] == 1 ? ranks[to_rows[r]] : 0;
            }
        }
        if (std::abs(distance) >= std::abs(observed)) ++test.exceedances;
    }
    test.p = permutation_p(test.exceedances, test.permutations);
    test.smallest_p = permutation_p(0, test.permutations);
    return test;
}

}  // namespace pva::stats
