// The bootstrap (Efron 1979): units drawn again with replacement, and intervals from what that gives.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "pva/stats/intervals.h"

namespace pva::stats {

struct BootstrapDraws {
    std::uint32_t n = 2000;    ///< draws
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;  ///< what the draws are for: draw b takes the Philox stream (seed, stream, b)
};

/// The statistic of each draw. A draw holds as many units as there are; units of one stratum are drawn from that stratum
/// (`strata`: one number a unit, or empty for one stratum), so the number of units of each stays. The indices come stratum
/// by stratum, by ascending number. Draw b depends on strata, seed, stream and b alone.
std::vector<double> bootstrap(std::uint32_t n_units, std::span<const std::uint32_t> strata, const BootstrapDraws& draws,
                              const std::function<double(std::span<const std::uint32_t> units)>& statistic);

/// Quantile by linear interpolation between order statistics (numpy.quantile's default). InputError for no values, NaN,
/// or a share outside [0, 1].
double quantile(std::span<const double> values, double share);

/// The middle `confidence` of the draws.
Interval percentile_interval(std::span<const double> draws, double confidence = 0.95);

/// Bias-corrected and accelerated interval (Efron 1987), as scipy.stats.bootstrap computes it. `jackknife`: for each
/// stratum the statistic without one of its units, in turn; one stratum when the units were drawn from all. Where all
/// draws lie on one side of the estimate, or equal it, the interval is not defined: the percentile interval stands in.
Interval bca_interval(std::span<const double> draws, double estimate, std::span<const std::vector<double>> jackknife,
                      double confidence = 0.95);

}  // namespace pva::stats
