// Is an AUROC away from one half by luck? Labels exchanged between whole problems.
#pragma once

#include <cstdint>
#include <span>

namespace pva::stats {

struct PermutationTest {
    double p = 1;                   ///< (1 + exceedances) / (1 + permutations), two-sided
    double smallest_p = 1;          ///< 1 / (1 + permutations)
    std::uint64_t exceedances = 0;  ///< permutations with an AUROC at least as far from 1/2
    std::uint32_t permutations = 0;
};

struct PermutationDraws {
    std::uint32_t n = 10000;
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;  ///< permutation b takes the Philox stream (seed, stream, b)
};

/// Permutation test of AUROC = 1/2 (Phipson and Smyth 2010). A problem keeps its scores and gets all labels of another
/// problem with as many rows, in the order of its rows, so that samples of a problem stay together. `clusters`: problem
/// of each row, below n_clusters; empty: every row is its own. `strata`: one number a problem (a difficulty), labels
/// move within a stratum only; empty: among all. Compared in whole numbers, so ties are exact. InputError for unequal
/// lengths, a missing class, another label than 0 or 1, NaN, or a cluster out of range.
PermutationTest auroc_permutation_test(std::span<const double> scores, std::span<const std::uint8_t> labels,
                                       std::span<const std::uint32_t> clusters, std::uint32_t n_clusters,
                                       std::span<const std::uint32_t> strata, const PermutationDraws& draws);

}  // namespace pva::stats
