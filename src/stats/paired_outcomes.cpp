// McNemar's exact and mid-p test, Newcombe's interval.
#include "pva/stats/paired_outcomes.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <string>

#include "pva/core/error.h"

namespace pva::stats {

PairedOutcomes paired_outcomes(std::span<const std::uint8_t> before, std::span<const std::uint8_t> after) {
    if (before.size() != after.size()) {
        throw InputError(std::to_string(before.size()) + " outcomes before but " + std::to_string(after.size()) +
                         " after; both must be of the same items in the same order");
    }
    PairedOutcomes outcomes;
    for (std::size_t i = 0; i < before.size(); ++i) {
        if (before[i] > 1 || after[i] > 1) {
            throw InputError("outcome number " + std::to_string(i) + " is " +
                             std::to_string(before[i] > 1 ? before[i] : after[i]) + ", expected 0 or 1");
        }
        if (before[i] == 1)
            ++(after[i] == 1 ? outcomes.stayed_yes : outcomes.lost);
        else
            ++(after[i] == 1 ? outcomes.gained : outcomes.stayed_no);
    }
    return outcomes;
}

McNemar mcnemar(std::uint64_t gained, std::uint64_t lost) {
    if (gained == 0 && lost == 0) return {};
    const std::uint64_t k = std::min(gained, lost);
    const double n = static_cast<double>(gained + lost);
    const double at = boost::math::pdf(boost::math::binomial_distribution<>(n, 0.5), static_cast<double>(k));
    // For equal counts 2 P(X <= k) = 1 + P(X = k); the mid-p that its authors give is then 1 - P(X = k) / 2.
    if (gained == lost) return {1, 1 - at / 2};
    const double tail = boost::math::ibetac(static_cast<double>(k) + 1, n - static_cast<double>(k), 0.5);
    return {std::min(1.0, 2 * tail), 2 * tail - at};
}

double net_change(const PairedOutcomes& outcomes) {
    if (outcomes.total() == 0) return 0;
    return (static_cast<double>(outcomes.gained) - static_cast<double>(outcomes.lost)) /
           static_cast<double>(outcomes.total());
}

double net_change_standard_error(const PairedOutcomes& outcomes) {
    if (outcomes.total() == 0) return 0;
    const double n = static_cast<double>(outcomes.total());
    const double net = net_change(outcomes);
    const double variance = (static_cast<double>(outcomes.gained) + static_cast<double>(outcomes.lost)) / n - net * net;
    return std::sqrt(std::max(0.0, variance) / n);
}

Interval newcombe_paired(const PairedOutcomes& outcomes, double confidence) {
    two_sided_normal_quantile(confidence);  // refuses a confidence that is none
    const std::uint64_t n = outcomes.total();
    if (n == 0) return {-1, 1};
    const std::uint64_t yes_after = outcomes.stayed_yes + outcomes.gained;
    const Interval after = wilson(yes_after, n, confidence);
    const Interval before = wilson(outcomes.yes_before(), n, confidence);
    const double count = static_cast<double>(n);
    const double share_after = static_cast<double>(yes_after) / count;
    const double share_before = static_cast<double>(outcomes.yes_before()) / count;

    const double agreement = static_cast<double>(outcomes.stayed_yes) * static_cast<double>(outcomes.stayed_no);
    const double change = static_cast<double>(outcomes.gained) * static_cast<double>(outcomes.lost);
    const double covariance = agreement - change;
    const double corrected = covariance > 0 ? std::max(0.0, covariance - count / 2) : covariance;
    const double margins = std::sqrt(static_cast<double>(yes_after)) * std::sqrt(static_cast<double>(n - yes_after)) *
                           std::sqrt(static_cast<double>(outcomes.yes_before())) *
                           std::sqrt(static_cast<double>(outcomes.no_before()));
    const double phi = margins > 0 ? corrected / margins : 0;
    const auto width = [phi](double a, double b) { return std::sqrt(std::max(0.0, a * a - 2 * phi * a * b + b * b)); };
    const double net = net_change(outcomes);
    return {net - width(share_after - after.lower, before.upper - share_before),
            net + width(share_before - before.lower, after.upper - share_after)};
}

}  // namespace pva::stats
