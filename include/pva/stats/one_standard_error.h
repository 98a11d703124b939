// Choosing the weakest setting that is as good as the best.
#pragma once

#include <span>
#include <vector>

namespace pva::stats {

struct CurvePoint {
    double setting = 0;         ///< for instance a steering coefficient
    double estimate = 0;        ///< larger is better
    double standard_error = 0;  ///< of the estimate
};

struct OneStandardErrorChoice {
    std::size_t best = 0;  ///< point with the largest estimate; of equal ones the one with the smallest |setting|
    std::size_t chosen =
        0;           ///< of the points with estimate >= best estimate - its standard error the smallest |setting|
    double bar = 0;  ///< best estimate - its standard error
};

/// The one-standard-error rule (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3): of all settings that are not
/// worse than the best by more than one standard error of the best, the one nearest to 0; of equal ones the earlier.
/// InputError for no points, numbers that are not finite, or a negative standard error.
OneStandardErrorChoice one_standard_error_choice(std::span<const CurvePoint> points);

}  // namespace pva::stats
