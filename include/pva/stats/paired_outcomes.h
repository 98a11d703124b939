// Two yes/no outcomes of the same items: McNemar's test and the interval of the difference.
#pragma once

#include <cstdint>
#include <span>

#include "pva/stats/intervals.h"

namespace pva::stats {

/// Items by outcome before and after, for instance programs that pass without and with steering.
struct PairedOutcomes {
    std::uint64_t stayed_yes = 0;  ///< preserved
    std::uint64_t gained = 0;      ///< no before, yes after: fixed (b)
    std::uint64_t lost = 0;        ///< yes before, no after: broken (c)
    std::uint64_t stayed_no = 0;

    std::uint64_t total() const { return stayed_yes + gained + lost + stayed_no; }
    std::uint64_t yes_before() const { return stayed_yes + lost; }
    std::uint64_t no_before() const { return stayed_no + gained; }
};

/// Counts the four kinds. InputError for unequal lengths or an outcome other than 0 or 1.
PairedOutcomes paired_outcomes(std::span<const std::uint8_t> before, std::span<const std::uint8_t> after);

struct McNemar {
    double p = 1;      ///< exact, two-sided: min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2) (McNemar 1947)
    double mid_p = 1;  ///< the same less P(X = min(b, c)) (Fagerland, Lydersen and Laake 2013); approximate, less timid
};

/// Of the b gained and c lost items. None of either: p = mid-p = 1.
McNemar mcnemar(std::uint64_t gained, std::uint64_t lost);

/// (gained - lost) / total: the net benefit. 0 without items.
double net_change(const PairedOutcomes& outcomes);

/// Standard error of net_change over items, sqrt((b + c)/n - ((b - c)/n)^2) / sqrt(n). 0 without items.
double net_change_standard_error(const PairedOutcomes& outcomes);

/// Interval of net_change by squaring and adding Wilson's intervals of the shares before and after, with their
/// correlation (Newcombe 1998, method 10, its continuity correction included). [-1, 1] without items.
Interval newcombe_paired(const PairedOutcomes& outcomes, double confidence = 0.95);

}  // namespace pva::stats
