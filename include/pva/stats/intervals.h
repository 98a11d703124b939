// Confidence intervals of a proportion.
#pragma once

#include <cstdint>

namespace pva::stats {

struct Interval {
    double lower = 0;
    double upper = 1;
};

/// Quantile of the standard normal distribution that leaves (1 - confidence) / 2 above it: 1.959964 for 0.95.
/// InputError unless 0 < confidence < 1.
double two_sided_normal_quantile(double confidence);

/// Wilson's score interval. No trials: [0, 1]. InputError for more successes than trials.
Interval wilson(std::uint64_t successes, std::uint64_t trials, double confidence = 0.95);

/// The exact interval of Clopper and Pearson (1934), by quantiles of the beta distribution. No trials: [0, 1].
/// InputError for more successes than trials.
Interval clopper_pearson(std::uint64_t successes, std::uint64_t trials, double confidence = 0.95);

}  // namespace pva::stats
