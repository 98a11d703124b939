// Corrections for testing many hypotheses at once.
#pragma once

#include <span>
#include <vector>

namespace pva::stats {

/// Benjamini-Hochberg (1995) q-values in the order of the input: q_(j) = min over l >= j of m p_(l) / l, at most 1.
/// InputError for a value that is no probability.
std::vector<double> benjamini_hochberg(std::span<const double> p_values);

}  // namespace pva::stats
