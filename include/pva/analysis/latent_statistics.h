// How each latent of one layer differs between the programs that pass their tests (right) and those that fail (wrong).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/stats/csr_view.h"
#include "pva/stats/sparse_columns.h"

namespace pva::analysis {

/// Statistics of one latent over all rows of a part, zeros included. Differences are right minus wrong. A latent fires
/// where its value is not zero. With one row in a class everything that needs a variance of it is NaN (both variances'
/// functions: d, t, df, p of t, standard error and interval).
struct LatentStatistics {
    std::uint64_t fired_rows = 0;  ///< rows of both classes on which the latent fires
    double firing_share_right = 0;
    double firing_share_wrong = 0;
    double frequency_difference = 0;  ///< firing_share_right - firing_share_wrong
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
    double auroc_low = 0;             ///< stats::delong_interval, 95 %
    double auroc_high = 1;
    double mann_whitney_z = 0;  ///< corrected for ties, without continuity correction
    /// Two-sided: stats::exact_mann_whitney_p where that is cheap (about 30 rows that fire), else the normal
    /// approximation with continuity correction, which is what scipy.stats.mannwhitneyu does.
    double mann_whitney_p = 1;
    std::uint64_t mann_whitney_exact = 1;  ///< 1 when the p above is exact
};

/// Additions that an exact p of one latent may take.
inline constexpr double exact_steps = 150000;

/// Statistics of each column. `labels`: one for each row, 1 = the program passes, 0 = it fails. A column's result depends
/// on itself only, so ranges of latents can be dealt to ranks. Latents that never fire, or are constant, get d = 0, t = 0,
/// p = 1 and AUROC 1/2. Cost: O(k log k) for a latent with k entries. InputError for labels that do not fit the rows or an
/// empty class.
std::vector<LatentStatistics> latent_statistics(const stats::SparseColumns& columns,
                                                std::span<const std::uint8_t> labels);

/// The same of the latents first_latent <= j < last_latent of sparse rows. InputError also for damaged codes.
std::vector<LatentStatistics> latent_statistics(const stats::CsrView& codes, std::span<const std::uint8_t> labels,
                                                std::uint32_t first_latent, std::uint32_t last_latent);

/// The same of any score, one value a row: a baseline, or a latent written out. "Fires" means: is not 0. The values are
/// used in double precision.
LatentStatistics score_statistics(std::span<const double> scores, std::span<const std::uint8_t> labels);

}  // namespace pva::analysis
