// The exact binomial test, and the published study's uses of it.
#pragma once

#include <cstdint>
#include <string_view>

#include "pva/stats/alternative.h"

namespace pva::stats {

/// Exact p of `successes` in `trials` when every trial succeeds with probability `rate`. Greater: P(X >= successes);
/// less: P(X <= successes); two_sided: all outcomes that are not more probable than the observed one (relative
/// tolerance 1e-7, as scipy.stats.binomtest). No trials: 1. InputError for more successes than trials or a rate outside
/// [0, 1].
double binomial_p(std::uint64_t successes, std::uint64_t trials, double rate, Alternative alternative);

/// What the published study (arXiv 2510.02917 and its code) tested steering with: a binomial test of a share of
/// programs against a rate that is taken as known.
enum class PublishedBinomialTest {
    correction_from_zero,   ///< corrected of failing programs; greater than the rate 0
    corruption_from_zero,   ///< corrupted of passing programs; greater than the rate 0
    preservation_from_one,  ///< preserved of passing programs; less than the rate 1
    above_control_rate,     ///< a share with steering; greater than the control's share
};

/// Its p. `control_rate` is used by above_control_rate only. Errors as of binomial_p.
double published_binomial_p(PublishedBinomialTest test, std::uint64_t successes, std::uint64_t trials,
                            double control_rate = 0);

/// One sentence on what is wrong with that test, to be printed beside its p.
std::string_view fault_of(PublishedBinomialTest test);

}  // namespace pva::stats
