// Confidence intervals of a proportion.
#include "pva/stats/intervals.h"

#include <algorithm>
#include <boost/math/distributions/beta.hpp>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <string>

#include "pva/core/error.h"

namespace pva::stats {

namespace {

void require_confidence(double confidence) {
    if (!(confidence > 0 && confidence < 1)) {
        throw InputError("confidence " + std::to_string(confidence) + " is not between 0 and 1; 0.95 is usual");
    }
}

void require_proportion(std::uint64_t successes, std::uint64_t trials) {
    if (successes > trials) {
        throw InputError(std::to_string(successes) + " successes in " + std::to_string(trials) +
                         " trials; successes must not exceed trials: check which counts are passed");
    }
}

}  // namespace

double two_sided_normal_quantile(double confidence) {
    require_confidence(confidence);
    return boost::math::quantile(boost::math::complement(boost::math::normal(), (1 - confidence) / 2));
}

Interval wilson(std::uint64_t successes, std::uint64_t trials, double confidence) {
    require_proportion(successes, trials);
    const double z = two_sided_normal_quantile(confidence);
    if (trials == 0) return {0, 1};
    const double n = static_cast<double>(trials);
    const double p = static_cast<double>(successes) / n;
    const double centre = p + z * z / (2 * n);
    const double half_width = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    const double scale = 1 + z * z / n;
    Interval interval{(centre - half_width) / scale, (centre + half_width) / scale};
    // At the ends the limit is 0 or 1 exactly; rounding would leave something like 1e-17.
    if (successes == 0) interval.lower = 0;
    if (successes == trials) interval.upper = 1;
    return interval;
}

Interval clopper_pearson(std::uint64_t successes, std::uint64_t trials, double confidence) {
    require_proportion(successes, trials);
    require_confidence(confidence);
    const double tail = (1 - confidence) / 2;
    const double k = static_cast<double>(successes);
    const double n = static_cast<double>(trials);
    Interval interval{0, 1};
    if (successes > 0) {
        interval.lower = boost::math::quantile(boost::math::beta_distribution<>(k, n - k + 1), tail);
    }
    if (successes < trials) {
        const boost::math::beta_distribution<> upper(k + 1, n - k);
        interval.upper = boost::math::quantile(boost::math::complement(upper, tail));
    }
    return interval;
}

}  // namespace pva::stats
