// Draws by counter-based random numbers, percentile and BCa intervals.
#include "pva/stats/bootstrap.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <map>
#include <string>

#include "pva/core/error.h"
#include "pva/core/philox.h"

namespace pva::stats {

namespace {

double quantile_of_sorted(const std::vector<double>& sorted, double share) {
    const double place = share * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    if (below + 1 >= sorted.size()) return sorted.back();
    const double part = place - static_cast<double>(below);
    const double a = sorted[below];
    const double b = sorted[below + 1];
    // NumPy's form, which meets both ends exactly.
    return part < 0.5 ? a + (b - a) * part : b - (b - a) * (1 - part);
}

std::vector<double> sorted_numbers(std::span<const double> values) {
    if (values.empty()) throw InputError("a quantile of no values does not exist; ask for at least one draw");
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (std::isnan(values[i])) {
            throw InputError("value number " + std::to_string(i) +
                             " is not a number and has no rank; find out why it could not be computed");
        }
    }
    std::vector<double> sorted(values.begin(), values.end());
    std::sort(sorted.begin(), sorted.end());
    return sorted;
}

}  // namespace

std::vector<double> bootstrap(std::uint32_t n_units, std::span<const std::uint32_t> strata, const BootstrapDraws& draws,
                              const std::function<double(std::span<const std::uint32_t> units)>& statistic) {
    if (!strata.empty() && strata.size() != n_units) {
        throw InputError(std::to_string(n_units) + " units but " + std::to_string(strata.size()) +
                         " strata; they must describe the same units");
    }
    std::map<std::uint32_t, std::vector<std::uint32_t>> units_of;
    for (std::uint32_t unit = 0; unit < n_units; ++unit)
        units_of[strata.empty() ? 0 : strata[unit]].push_back(unit);
    std::vector<double> results;
    results.reserve(draws.n);
    std::vector<std::uint32_t> drawn(n_units);
    for (std::uint32_t b = 0; b < draws.n; ++b) {
        PhiloxStream random(draws.seed, draws.stream, b);
        std::size_t at = 0;
        for (const auto& [stratum, units] : units_of) {
            for (std::size_t i = 0; i < units.size(); ++i)
                drawn[at++] = units[random.below(static_cast<std::uint32_t>(units.size()))];
        }
        results.push_back(statistic(drawn));
    }
    return results;
}

double quantile(std::span<const double> values, double share) {
    if (!(share >= 0 && share <= 1)) throw InputError("a quantile at " + std::to_string(share) + " does not exist; give a share from 0 to 1");
    return quantile_of_sorted(sorted_numbers(values), share);
}

Interval percentile_interval(std::span<const double> draws, double confidence) {
    two_sided_normal_quantile(confidence);  // refuses a confidence that is none
    const std::vector<double> sorted = sorted_numbers(draws);
    const double tail = (1 - confidence) / 2;
    return {quantile_of_sorted(sorted, tail), quantile_of_sorted(sorted, 1 - tail)};
}

Interval bca_interval(std::span<const double> draws, double estimate, std::span<const std::vector<double>> jackknife,
                      double confidence) {
    const double z = two_sided_normal_quantile(confidence);
    const std::vector<double> sorted = sorted_numbers(draws);
    const auto below = std::lower_bound(sorted.begin(), sorted.end(), estimate) - sorted.begin();
    const auto up_to = std::upper_bound(sorted.begin(), sorted.end(), estimate) - sorted.begin();
    const double share = static_cast<double>(below + up_to) / (2 * static_cast<double>(sorted.size()));
    if (!(share > 0 && share < 1)) return percentile_interval(draws, confidence);
    double squares = 0;
    double cubes = 0;
    for (const std::vector<double>& values : jackknife) {
        if (values.empty()) continue;
        const double n = static_cast<double>(values.size());
        double mean = 0;
        for (const double value : values)
            mean += value;
        mean /= n;
        for (const double value : values) {
            const double u = (n - 1) * (mean - value) / n;
            squares += u * u;
            cubes += u * u * u;
        }
    }
    if (!(squares > 0)) return percentile_interval(draws, confidence);
    const double acceleration = cubes / (6 * squares * std::sqrt(squares));
    const boost::math::normal standard;
    const double z0 = boost::math::quantile(standard, share);
    const auto limit = [&](double sign) {
        const double shifted = z0 + sign * z;
        return quantile_of_sorted(sorted, boost::math::cdf(standard, z0 + shifted / (1 - acceleration * shifted)));
    };
    return {limit(-1), limit(1)};
}

}  // namespace pva::stats
