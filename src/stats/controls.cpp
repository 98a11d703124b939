// Rank among controls and comparison with their pool.
#include "pva/stats/controls.h"

#include <cmath>
#include <string>

#include "pva/core/error.h"
#include "pva/stats/binomial_test.h"
#include "pva/stats/fisher.h"
#include "pva/stats/permutation.h"

namespace pva::stats {

ControlRank rank_among_controls(double effect, std::span<const double> controls) {
    if (std::isnan(effect)) throw InputError("the effect is not a number and has no rank among the controls");
    ControlRank result;
    result.controls = controls.size();
    for (std::size_t i = 0; i < controls.size(); ++i) {
        if (std::isnan(controls[i])) {
            throw InputError("the effect of control number " + std::to_string(i) +
                             " is not a number; find out why it could not be computed");
        }
        if (controls[i] >= effect) ++result.at_least;
    }
    result.p = permutation_p(result.at_least, result.controls);
    result.smallest_p = permutation_p(0, result.controls);
    return result;
}

std::uint64_t controls_needed(double level) {
    if (!(level > 0 && level <= 1)) {
        throw InputError("no number of controls reaches the level " + std::to_string(level) +
                         "; give one above 0 and at most 1");
    }
    // 1 / (1 + n) is compared as it is computed, so that 0.05 asks for 19 and not for 20.
    auto n = static_cast<std::uint64_t>(std::ceil(1 / level)) - 1;
    while (n > 0 && permutation_p(0, n - 1) <= level)
        --n;
    while (permutation_p(0, n) > level)
        ++n;
    return n;
}

PooledComparison compare_with_pooled_controls(Share effect, std::span<const Share> controls, double confidence) {
    PooledComparison result;
    for (std::size_t i = 0; i < controls.size(); ++i) {
        if (controls[i].successes > controls[i].trials) {
            throw InputError("control number " + std::to_string(i) + " has " + std::to_string(controls[i].successes) +
                             " successes in " + std::to_string(controls[i].trials) +
                             " trials; successes must not exceed trials: check which counts are passed");
        }
        result.pooled.successes += controls[i].successes;
        result.pooled.trials += controls[i].trials;
    }
    const Share pool = result.pooled;
    result.pooled_interval = clopper_pearson(pool.successes, pool.trials, confidence);
    result.p_upper_bound =
        binomial_p(effect.successes, effect.trials, result.pooled_interval.upper, Alternative::greater);
    if (pool.trials == 0) return result;
    result.pooled_rate = static_cast<double>(pool.successes) / static_cast<double>(pool.trials);
    const TwoByTwo table{effect.successes, effect.trials - effect.successes, pool.successes,
                         pool.trials - pool.successes};
    result.p_fisher = fisher_exact_p(table, Alternative::greater);
    result.p_fisher_two_sided = fisher_exact_p(table);
    return result;
}

}  // namespace pva::stats
