// Corrections for testing many hypotheses at once.
#include "pva/stats/multiple.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>

#include "pva/core/error.h"

namespace pva::stats {

namespace {

// The places of the values from the smallest to the largest, after a check that all are probabilities.
std::vector<std::size_t> ascending(std::span<const double> p_values) {
    for (std::size_t i = 0; i < p_values.size(); ++i) {
        if (!(p_values[i] >= 0 && p_values[i] <= 1)) {
            throw InputError("p-value number " + std::to_string(i) + " is " + std::to_string(p_values[i]) +
                             ", expected a number from 0 to 1; leave out what was not tested");
        }
    }
    std::vector<std::size_t> order(p_values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t i, std::size_t j) { return p_values[i] < p_values[j]; });
    return order;
}

}  // namespace

std::vector<double> benjamini_hochberg(std::span<const double> p_values) {
    const std::size_t m = p_values.size();
    const std::vector<std::size_t> order = ascending(p_values);
    std::vector<double> q_values(m);
    double smallest = 1;
    for (std::size_t position = m; position-- > 0;) {
        const double p = p_values[order[position]];
        // At the last position the factor is 1; computing p * m / m could round below p.
        const double q = position + 1 == m ? p : p * static_cast<double>(m) / static_cast<double>(position + 1);
        smallest = std::min(smallest, q);
        q_values[order[position]] = smallest;
    }
    return q_values;
}

std::vector<double> holm(std::span<const double> p_values) {
    const std::size_t m = p_values.size();
    const std::vector<std::size_t> order = ascending(p_values);
    std::vector<double> adjusted(m);
    double largest = 0;
    for (std::size_t position = 0; position < m; ++position) {
        largest = std::max(largest, static_cast<double>(m - position) * p_values[order[position]]);
        adjusted[order[position]] = std::min(1.0, largest);
    }
    return adjusted;
}

}  // namespace pva::stats
