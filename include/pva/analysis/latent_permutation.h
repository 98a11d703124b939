// How large the score of latents gets when the labels say nothing: the same permutations for all of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/analysis/score.h"
#include "pva/stats/permutation.h"
#include "pva/stats/sparse_columns.h"

namespace pva::analysis {

struct PermutedColumns {
    std::vector<std::uint64_t> exceedances;  ///< [columns] permutations with a |score| at least as large; 0 if not tested
    std::vector<double> observed;            ///< [columns] |score| under the labels as they are; 0 if not tested
    std::vector<double> maxima;              ///< [permutations] largest |score| of the tested columns; 0 without any
};

/// |score| of every tested column under every permutation. `tested`: 1 for columns that count, decided without looking
/// at labels. Scores are those of signed_score, computed from sums over the right rows; scores within 1e-12 of each other
/// count as equal. notebook_d is permuted as cohens_d. InputError for fewer than two rows of a class.
PermutedColumns permute_columns(const stats::SparseColumns& columns, std::span<const std::uint8_t> labels,
                                std::span<const std::uint8_t> tested, const stats::LabelPermutations& permutations,
                                Score score);

}  // namespace pva::analysis
