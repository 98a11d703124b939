// Power of a test of one AUROC by Hanley and McNeil's standard error.
#include "pva/stats/power.h"

#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <limits>
#include <string>

#include "pva/core/error.h"
#include "pva/stats/intervals.h"

namespace pva::stats {

namespace {

void require_classes(std::uint64_t n_positives, std::uint64_t n_negatives) {
    if (n_positives == 0 || n_negatives == 0) {
        throw InputError("an AUROC of " + std::to_string(n_positives) + " positive and " + std::to_string(n_negatives) +
                         " negative rows does not exist; both classes must occur");
    }
}

double power_quantile(double power) {
    if (!(power >= 0.5 && power < 1)) {
        throw InputError("power " + std::to_string(power) + " is not from 0.5 to below 1; 0.8 is usual");
    }
    return boost::math::quantile(boost::math::normal(), power);
}

double level_quantile(double alpha) {
    if (!(alpha > 0 && alpha < 1)) {
        throw InputError("alpha " + std::to_string(alpha) + " is not between 0 and 1; 0.05 is usual");
    }
    return two_sided_normal_quantile(1 - alpha);
}

}  // namespace

double hanley_mcneil_standard_error(double auroc, std::uint64_t n_positives, std::uint64_t n_negatives) {
    require_classes(n_positives, n_negatives);
    if (!(auroc >= 0 && auroc <= 1))
        throw InputError("an AUROC of " + std::to_string(auroc) + " does not exist; it is from 0 to 1");
    const double n1 = static_cast<double>(n_positives);
    const double n0 = static_cast<double>(n_negatives);
    const double q1 = auroc / (2 - auroc);
    const double q2 = 2 * auroc * auroc / (1 + auroc);
    const double square = auroc * auroc;
    const double variance = (auroc * (1 - auroc) + (n1 - 1) * (q1 - square) + (n0 - 1) * (q2 - square)) / (n1 * n0);
    return std::sqrt(variance > 0 ? variance : 0.0);
}

double smallest_detectable_auroc(std::uint64_t n_positives, std::uint64_t n_negatives, const PowerSettings& settings) {
    require_classes(n_positives, n_negatives);
    const double critical =
        level_quantile(settings.alpha) * hanley_mcneil_standard_error(0.5, n_positives, n_negatives);
    const double z_power = power_quantile(settings.power);
    // Falls below 0 once the AUROC is large enough. Its sign changes once: the standard error is concave in the AUROC
    // and 0 at 1, so the right side of the equation meets the line A - 1/2 a single time.
    const auto missing = [&](double auroc) {
        return 0.5 + critical + z_power * hanley_mcneil_standard_error(auroc, n_positives, n_negatives) - auroc;
    };
    if (missing(1) > 0) return std::numeric_limits<double>::quiet_NaN();
    double low = 0.5, high = 1;
    for (int step = 0; step < 100 && low < high; ++step) {
        const double middle = low + (high - low) / 2;
        if (middle == low || middle == high) break;
        (missing(middle) > 0 ? low : high) = middle;
    }
    return high;
}

double auroc_power(double auroc, std::uint64_t n_positives, std::uint64_t n_negatives, double alpha) {
    const double critical = level_quantile(alpha) * hanley_mcneil_standard_error(0.5, n_positives, n_negatives);
    const double error = hanley_mcneil_standard_error(auroc, n_positives, n_negatives);
    const double excess = std::fabs(auroc - 0.5) - critical;
    if (error == 0) return excess >= 0 ? 1 : 0;
    return boost::math::cdf(boost::math::normal(), excess / error);
}

double smallest_detectable_difference(double standard_error, const PowerSettings& settings) {
    if (!(standard_error >= 0)) {
        throw InputError("a standard error of " + std::to_string(standard_error) + " does not exist; it is 0 or more");
    }
    return (level_quantile(settings.alpha) + power_quantile(settings.power)) * standard_error;
}

}  // namespace pva::stats
