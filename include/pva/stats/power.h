// What a sample could have shown.
#pragma once

#include <cstdint>

namespace pva::stats {

/// Standard error of an AUROC from its value and the numbers of rows alone (Hanley and McNeil 1982): Q1 = A / (2 - A),
/// Q2 = 2 A^2 / (1 + A), variance (A (1 - A) + (n1 - 1)(Q1 - A^2) + (n0 - 1)(Q2 - A^2)) / (n1 n0). At 1/2 this is the
/// variance under the null hypothesis without ties, (n1 + n0 + 1) / (12 n1 n0). InputError for an empty class or an
/// AUROC outside [0, 1].
double hanley_mcneil_standard_error(double auroc, std::uint64_t n_positives, std::uint64_t n_negatives);

struct PowerSettings {
    double alpha = 0.05;  ///< two-sided
    double power = 0.8;
};

/// Smallest AUROC above 1/2 that a two-sided test of AUROC = 1/2 finds with that power: the root of
/// A - 1/2 = z(1 - alpha/2) SE(1/2) + z(power) SE(A), SE of Hanley and McNeil (Obuchowski 1994). NaN where no AUROC up
/// to 1 is enough. InputError for an empty class, alpha outside (0, 1) or power outside [1/2, 1).
double smallest_detectable_auroc(std::uint64_t n_positives, std::uint64_t n_negatives,
                                 const PowerSettings& settings = {});

/// Power of that test at a true AUROC, for the side it is on.
double auroc_power(double auroc, std::uint64_t n_positives, std::uint64_t n_negatives, double alpha = 0.05);

/// Smallest difference that a two-sided z-test finds with that power when the standard error is the same with and
/// without it: (z(1 - alpha/2) + z(power)) times the standard error. For paired differences of AUROCs take DeLong's.
double smallest_detectable_difference(double standard_error, const PowerSettings& settings = {});

}  // namespace pva::stats
