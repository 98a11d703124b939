// How each latent of one layer differs between the programs that pass their tests (right) and those that fail (wrong).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/stats/csr_view.h"

namespace pva::analysis {

/// Statistics of one latent over all rows of a split, zeros included. Differences are right minus wrong. A latent fires
/// where its value is not zero.
struct LatentStatistics {
    std::uint64_t fired_rows = 0;  ///< rows of both classes on which the latent fires
    double firing_share_right = 0;
    double firing_share_wrong = 0;
    double mean_right = 0;
    double mean_wrong = 0;
    double variance_right = 0;  ///< unbiased
    double variance_wrong = 0;  ///< unbiased
    double cohens_d = 0;        ///< stats::cohens_d: infinite where both classes are constant and differ
    double welch_t = 0;         ///< stats::welch_t: infinite likewise
    double welch_df = 0;
    double welch_p = 1;               ///< two-sided
    double auroc = 0.5;               ///< of the value for the label "right"
    double auroc_standard_error = 0;  ///< DeLong
};

/// Statistics of the latents first_latent <= j < last_latent, in that order. `labels`: one for each row, 1 = the
/// program passes, 0 = it fails. A latent's result depends on its own column only, not on the range, so ranges can be
/// dealt to ranks. Latents that never fire, or are constant, get d = 0, t = 0, p = 1 and AUROC 1/2; nothing is ever
/// NaN. Cost: one pass over the entries, then O(k log k) for a latent with k entries. InputError for damaged codes,
/// labels that do not fit the rows, or fewer than two rows in a class.
std::vector<LatentStatistics> latent_statistics(const stats::CsrView& codes, std::span<const std::uint8_t> labels,
                                                std::uint32_t first_latent, std::uint32_t last_latent);

}  // namespace pva::analysis
