// An effect against the effects of control interventions.
#pragma once

#include <cstdint>
#include <span>

#include "pva/stats/intervals.h"

namespace pva::stats {

struct ControlRank {
    std::uint64_t controls = 0;
    std::uint64_t at_least = 0;  ///< controls with an effect at least as large: ties count against the effect
    double p = 1;                ///< (1 + at_least) / (1 + controls), one-sided
    double smallest_p = 1;       ///< 1 / (1 + controls): what p could have been at best
    std::uint64_t rank() const { return at_least + 1; }  ///< 1: larger than every control
};

/// Rank of an effect among those of controls. Valid when under the null hypothesis the effect is exchangeable with the
/// controls' (Phipson and Smyth 2010). No controls: p = 1. InputError for NaN.
ControlRank rank_among_controls(double effect, std::span<const double> controls);

/// How many controls it takes for 1 / (1 + n) <= level: 19 for 0.05. InputError unless 0 < level <= 1.
std::uint64_t controls_needed(double level);

struct Share {
    std::uint64_t successes = 0;
    std::uint64_t trials = 0;
};

struct PooledComparison {
    Share pooled;              ///< successes and trials of all controls together
    double pooled_rate = 0;    ///< 0 without trials
    Interval pooled_interval;  ///< Clopper-Pearson, at `confidence`
    double p_upper_bound = 1;  ///< one-sided binomial p of the effect against the upper limit of that interval
    double p_fisher = 1;       ///< one-sided Fisher exact p of the effect against the pool
    double p_fisher_two_sided = 1;
};

/// A share (corrected of failing programs, for instance) against the same share of all controls pooled. Both p take the
/// trials of the pool as independent; controls that see the same programs are not, so the rank is the safer of the two.
/// InputError for more successes than trials.
PooledComparison compare_with_pooled_controls(Share effect, std::span<const Share> controls, double confidence = 0.95);

}  // namespace pva::stats
