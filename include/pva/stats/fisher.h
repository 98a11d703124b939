// Fisher's exact test of two shares.
#pragma once

#include <cstdint>

#include "pva/stats/alternative.h"

namespace pva::stats {

/// Two groups of trials: successes and failures of the first, then of the second.
struct TwoByTwo {
    std::uint64_t successes_a = 0;
    std::uint64_t failures_a = 0;
    std::uint64_t successes_b = 0;
    std::uint64_t failures_b = 0;
};

/// Exact p given the margins (Fisher 1935; hypergeometric distribution). Greater: the first group succeeds more often.
/// two_sided: all tables with these margins that are not more probable than the observed one (relative tolerance 1e-7,
/// as scipy.stats.fisher_exact). 1 when a margin is 0. The work grows with the smallest margin.
double fisher_exact_p(const TwoByTwo& table, Alternative alternative = Alternative::two_sided);

}  // namespace pva::stats
