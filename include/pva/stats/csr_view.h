// A view of sparse rows: plain data that the rooms producing, storing and analysing SAE codes share.
#pragma once

#include <cstdint>
#include <span>

namespace pva::stats {

/// Compressed sparse rows, not owned. Row r holds the entries row_offsets[r] .. row_offsets[r + 1] of `latents` and
/// `values`; everything not listed is zero. Within a row the latents ascend strictly.
struct CsrView {
    std::span<const std::uint64_t> row_offsets;  ///< [n_rows + 1], starts with 0, never decreases
    std::span<const std::uint32_t> latents;      ///< [n_entries], each below n_latents
    std::span<const float> values;               ///< [n_entries]
    std::uint32_t n_latents = 0;

    std::uint64_t n_rows() const { return row_offsets.empty() ? 0 : row_offsets.size() - 1; }
};

/// Checks everything said above, and that all values are finite. InputError names the row and the entry.
void check(const CsrView& codes);

}  // namespace pva::stats
