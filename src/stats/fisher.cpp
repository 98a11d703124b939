// Fisher's exact test by summing the hypergeometric distribution from its mode outwards.
#include "pva/stats/fisher.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace pva::stats {

double fisher_exact_p(const TwoByTwo& table, Alternative alternative) {
    const std::uint64_t trials_a = table.successes_a + table.failures_a;
    const std::uint64_t trials_b = table.successes_b + table.failures_b;
    const std::uint64_t successes = table.successes_a + table.successes_b;
    const std::uint64_t failures = table.failures_a + table.failures_b;
    if (trials_a == 0 || trials_b == 0 || successes == 0 || failures == 0) return 1;
    const std::uint64_t least = successes > trials_b ? successes - trials_b : 0;
    const std::uint64_t most = std::min(successes, trials_a);
    // Weights relative to the mode's; the ratio of neighbours is known, so nothing large is ever computed.
    const double mode_at = (static_cast<double>(trials_a) + 1) * (static_cast<double>(successes) + 1) /
                           (static_cast<double>(trials_a + trials_b) + 2);
    const std::uint64_t mode = std::clamp(static_cast<std::uint64_t>(mode_at), least, most);
    std::vector<double> weights(most - least + 1);
    weights[mode - least] = 1;
    const auto step_up = [&](std::uint64_t x) {  // P(x + 1) / P(x)
        return static_cast<double>(trials_a - x) * static_cast<double>(successes - x) /
               (static_cast<double>(x + 1) * static_cast<double>(trials_b + x + 1 - successes));
    };
    for (std::uint64_t x = mode; x < most; ++x)
        weights[x + 1 - least] = weights[x - least] * step_up(x);
    for (std::uint64_t x = mode; x > least; --x)
        weights[x - 1 - least] = weights[x - least] / step_up(x - 1);
    const double limit = weights[table.successes_a - least] * (1 + 1e-7);
    // Both tails are added from the far end, small terms first.
    double total = 0;
    double wanted = 0;
    const auto add = [&](std::uint64_t x) {
        const double weight = weights[x - least];
        total += weight;
        const bool counts = alternative == Alternative::greater ? x >= table.successes_a
                            : alternative == Alternative::less  ? x <= table.successes_a
                                                                : weight <= limit;
        if (counts) wanted += weight;
    };
    for (std::uint64_t x = least; x < mode; ++x)
        add(x);
    for (std::uint64_t x = most; x >= mode; --x) {
        add(x);
        if (x == mode) break;
    }
    return std::min(1.0, wanted / total);
}

}  // namespace pva::stats
