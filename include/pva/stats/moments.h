// Count, mean and variance of one group; differences of two means: Cohen's d, Hedges' g, Welch's t.
#pragma once

#include <cstdint>
#include <span>

namespace pva::stats {

/// Count, mean and sum of squared deviations from the mean. Kept in this form because groups of it can be merged.
struct Moments {
    std::uint64_t count = 0;
    double mean = 0;                ///< 0 when count is 0
    double squared_deviations = 0;  ///< sum of (x - mean)^2; exactly 0 for equal values

    /// Unbiased variance, squared_deviations / (count - 1). NaN below two values, where it does not exist.
    double variance() const;
};

/// Two passes in the order given, shifted by the first value, so that equal values give exactly their value and
/// variance 0.
Moments moments(std::span<const double> values);

/// The moments of `values` followed by `zeros` further values 0, at the cost of `values` alone.
Moments moments_with_zeros(std::span<const double> values, std::uint64_t zeros);

/// (mean of a - mean of b) / pooled standard deviation (Cohen 1988, unbiased variances, n_a + n_b - 2 degrees).
/// Both groups constant: 0 for equal means, else the limit, +infinity or -infinity. InputError below two values a
/// group.
double cohens_d(const Moments& a, const Moments& b);

/// Cohen's d times the exact small-sample factor Gamma(v/2) / (sqrt(v/2) Gamma((v-1)/2)), v = n_a + n_b - 2 (Hedges
/// 1981).
double hedges_g(const Moments& a, const Moments& b);

struct WelchTest {
    double t = 0;   ///< (mean of a - mean of b) / standard error
    double df = 0;  ///< Welch-Satterthwaite degrees of freedom
    double p = 1;   ///< two-sided
};

/// Welch's t-test (Welch 1947). Both groups constant: df = n_a + n_b - 2, and t = 0, p = 1 for equal means, else the
/// limit t = +infinity or -infinity, p = 0. InputError below two values in a group.
WelchTest welch_t(const Moments& a, const Moments& b);

}  // namespace pva::stats
