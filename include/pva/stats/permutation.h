// Permutations of labels: the same for any number of ranks and in any order of use.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pva::stats {

/// The labels of many permutations of the rows, one bit each.
class LabelPermutations {
  public:
    /// `labels`: 1 positive, 0 negative. `strata`: labels are exchanged within rows of equal stratum; empty: among all
    /// rows. Permutation b is Fisher and Yates' shuffle of each stratum's rows (in the order of the strata's numbers) by
    /// the Philox stream (seed, stream, b), so it depends on nothing else. InputError for unequal lengths or another label.
    LabelPermutations(std::span<const std::uint8_t> labels, std::span<const std::uint32_t> strata, std::uint32_t n,
                      std::uint64_t seed, std::uint64_t stream);

    std::uint32_t size() const { return n_; }
    std::size_t n_rows() const { return rows_; }
    bool positive(std::uint32_t permutation, std::size_t row) const {
        return (bits_[permutation * words_ + row / 64] >> (row % 64) & 1U) != 0;
    }

  private:
    std::uint32_t n_;
    std::size_t rows_;
    std::size_t words_;  // of 64 rows, for each permutation
    std::vector<std::uint64_t> bits_;
};

/// Permutations that are worked through together.
inline constexpr std::uint32_t permutation_chunk = 64;

/// The labels of permutations first .. first + permutation_chunk as numbers 0 and 1, [row][permutation_chunk]; 0 behind
/// the last permutation.
std::vector<double> permuted_labels(const LabelPermutations& permutations, std::uint32_t first);

/// For each permutation of a chunk the sum of the weights of the rows that are positive, added in the order given.
/// `labels`: of permuted_labels. `sums`: [permutation_chunk], overwritten.
void permuted_sums(std::span<const double> labels, std::span<const std::uint32_t> rows, std::span<const double> weights,
                   std::span<double> sums);

/// Phipson and Smyth (2010): (1 + exceedances) / (1 + permutations), never 0.
double permutation_p(std::uint64_t exceedances, std::uint64_t permutations);

/// The smallest statistic that is significant at `level` against the largest of each permutation (Westfall and Young
/// 1993): the lowest t among the maxima, or the next number above all of them, with (1 + number of maxima >= t) / (1 + B)
/// <= level. Infinity when there are too few permutations for that level. Works on a copy of the maxima.
double max_statistic_threshold(std::span<const double> maxima, double level);

/// Family-wise p of each statistic: permutation_p of the maxima that are at least as large.
std::vector<double> max_statistic_p(std::span<const double> statistics, std::span<const double> maxima);

}  // namespace pva::stats
