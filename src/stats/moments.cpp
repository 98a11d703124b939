// Moments in a fixed order of sums, and what follows from those of two groups.
#include "pva/stats/moments.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <limits>
#include <string>

#include "pva/core/error.h"

namespace pva::stats {

namespace {

void require_two_each(const Moments& a, const Moments& b, const char* what) {
    if (a.count < 2 || b.count < 2) {
        throw InputError(std::string(what) + " needs at least two values in each group, got " +
                         std::to_string(a.count) + " and " + std::to_string(b.count) + "; use more data");
    }
}

double signed_infinity(double sign) {
    return std::copysign(std::numeric_limits<double>::infinity(), sign);
}

}  // namespace

double Moments::variance() const {
    if (count < 2) return std::numeric_limits<double>::quiet_NaN();
    return squared_deviations / static_cast<double>(count - 1);
}

Moments moments(std::span<const double> values) {
    return moments_with_zeros(values, 0);
}

Moments moments_with_zeros(std::span<const double> values, std::uint64_t zeros) {
    Moments result;
    result.count = values.size() + zeros;
    if (values.empty()) return result;
    const double n = static_cast<double>(result.count);
    // Zeros add nothing to sums about 0. Without zeros the first value is the origin: equal values then sum to exactly
    // 0.
    const double origin = zeros == 0 ? values[0] : 0.0;
    double sum = 0;
    for (double x : values)
        sum += x - origin;
    result.mean = origin + sum / n;
    // The second sum is zero but for rounding; subtracting its part removes the first-order error of the mean.
    double squares = 0;
    double deviations = 0;
    for (double x : values) {
        const double deviation = x - result.mean;
        squares += deviation * deviation;
        deviations += deviation;
    }
    const double n_zeros = static_cast<double>(zeros);
    squares += n_zeros * (result.mean * result.mean);
    deviations -= n_zeros * result.mean;
    result.squared_deviations = std::max(0.0, squares - deviations * deviations / n);
    return result;
}

double cohens_d(const Moments& a, const Moments& b) {
    require_two_each(a, b, "Cohen's d");
    const double difference = a.mean - b.mean;
    const double pooled =
        std::sqrt((a.squared_deviations + b.squared_deviations) / static_cast<double>(a.count + b.count - 2));
    if (pooled == 0) return difference == 0 ? 0.0 : signed_infinity(difference);
    return difference / pooled;
}

double hedges_g(const Moments& a, const Moments& b) {
    require_two_each(a, b, "Hedges' g");
    const double v = static_cast<double>(a.count + b.count - 2);
    // tgamma_delta_ratio(x, h) = Gamma(x) / Gamma(x + h), without the overflow of the two functions themselves.
    const double ratio = boost::math::tgamma_delta_ratio((v - 1) / 2, 0.5);
    return cohens_d(a, b) / (std::sqrt(v / 2) * ratio);
}

WelchTest welch_t(const Moments& a, const Moments& b) {
    require_two_each(a, b, "Welch's t-test");
    const double va = a.variance() / static_cast<double>(a.count);
    const double vb = b.variance() / static_cast<double>(b.count);
    const double difference = a.mean - b.mean;
    WelchTest result;
    if (va + vb == 0) {
        result.df = static_cast<double>(a.count + b.count - 2);
        if (difference != 0) {
            result.t = signed_infinity(difference);
            result.p = 0;
        }
        return result;
    }
    result.t = difference / std::sqrt(va + vb);
    // Written with shares of the variance: the usual form squares variances, which underflows for small units.
    const double share_a = va / (va + vb);
    const double share_b = vb / (va + vb);
    result.df = 1 / (share_a * share_a / static_cast<double>(a.count - 1) +
                     share_b * share_b / static_cast<double>(b.count - 1));
    // In double throughout: long double costs several times as much and changes the last digits only.
    using InDouble = boost::math::policies::policy<boost::math::policies::promote_double<false>>;
    const boost::math::students_t_distribution<double, InDouble> distribution(result.df);
    if (std::isinf(result.t)) {
        result.p = 0;
    } else {
        result.p = std::min(1.0, 2 * boost::math::cdf(boost::math::complement(distribution, std::fabs(result.t))));
    }
    return result;
}

}  // namespace pva::stats
