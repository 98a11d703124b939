// Columns of sparse rows: all rows on which each latent fires.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/stats/csr_view.h"
#include "pva/stats/ranks.h"

namespace pva::stats {

/// Compressed sparse columns of a range of latents; what is not listed is 0, and no 0 is listed.
struct SparseColumns {
    std::uint32_t first = 0;             ///< latent of the first column
    std::uint64_t n_rows = 0;
    std::vector<std::uint64_t> offsets;  ///< [columns + 1]
    std::vector<std::uint32_t> rows;     ///< ascending within a column
    std::vector<float> values;

    std::size_t size() const { return offsets.size() - 1; }
    std::span<const std::uint32_t> rows_of(std::size_t column) const {
        return std::span(rows).subspan(offsets[column], offsets[column + 1] - offsets[column]);
    }
    std::span<const float> values_of(std::size_t column) const {
        return std::span(values).subspan(offsets[column], offsets[column + 1] - offsets[column]);
    }
};

/// The columns of the latents first <= j < last. Values at or below `threshold` count as 0 (of threshold 0: only zeros, so
/// negative values stay). Needs codes that `check` accepts. InternalError for a range that is none.
SparseColumns sparse_columns(const CsrView& codes, std::uint32_t first, std::uint32_t last, double threshold = 0);

/// Groups of equal values of one column by label, ascending, the zeros in their place. `n_positives`, `n_negatives`: rows
/// of each class, zeros included. `groups` is overwritten; `keys` is scratch. Values must be finite.
void tie_groups_of_column(std::span<const std::uint32_t> rows, std::span<const float> values,
                          std::span<const std::uint8_t> labels, std::uint64_t n_positives, std::uint64_t n_negatives,
                          std::vector<std::uint64_t>& keys, std::vector<TieGroup>& groups);

}  // namespace pva::stats
