// Corrections for testing many hypotheses at once.
#pragma once

#include <span>
#include <vector>

namespace pva::stats {

/// Benjamini-Hochberg (1995) q-values in the order of the input: q_(j) = min over l >= j of m p_(l) / l, at most 1.
/// InputError for a value that is no probability.
std::vector<double> benjamini_hochberg(std::span<const double> p_values);

/// Holm's (1979) adjusted p-values in the order of the input: p_(j) = max over l <= j of (m - l + 1) p_(l), at most 1. What
/// stays at or below a level keeps the chance of any false find there, however the tests depend on each other.
/// InputError likewise.
std::vector<double> holm(std::span<const double> p_values);

}  // namespace pva::stats
