// The mass-mean probe: the difference of the classes' means, seen through the covariance within classes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pva::analysis {

/// mean(right) - mean(wrong) of rows [n, d]; labels 1 are right. InputError for a missing class.
std::vector<double> difference_of_means(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels);

/// (S + ridge I)^-1 (mean(right) - mean(wrong)), S the covariance within classes over n - 2 (Marks and Tegmark 2024, with the
/// published study's ridge), as a unit vector. Solved by Cholesky in n or d unknowns, whichever are fewer, in float64 and a
/// fixed order of sums. With fewer rows than dimensions S has no full rank and the ridge decides. InputError for fewer than
/// two rows of a class; InternalError for a ridge that is not above 0.
std::vector<double> mass_mean_probe(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels, double ridge = 1e-4);

}  // namespace pva::analysis
