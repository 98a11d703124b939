// What an intervention on the stream did to programs: rates with intervals, and the tests against no intervention and
// against control interventions.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "pva/analysis/direction.h"
#include "pva/stats/bootstrap.h"
#include "pva/stats/controls.h"
#include "pva/stats/one_standard_error.h"
#include "pva/stats/paired_outcomes.h"

namespace pva::analysis {

/// A share with two 95 % intervals. NaN, [0, 1] and NaN without trials.
struct RateFigures {
    stats::Share share;
    double rate = std::numeric_limits<double>::quiet_NaN();
    stats::Interval wilson;
    stats::Interval bootstrap{std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
};

/// Programs of the same problems without and with an intervention.
struct SteeringFigures {
    stats::PairedOutcomes outcomes;
    RateFigures correction;    ///< wrong to right, of the wrong ones
    RateFigures corruption;    ///< right to wrong, of the right ones
    RateFigures preservation;  ///< right to right, of the right ones
    double net = 0;            ///< (fixed - broken) / problems
    double net_standard_error = 0;
    stats::Interval net_newcombe;
    stats::Interval net_bootstrap;  ///< problems drawn again within right and wrong ones
    stats::McNemar mcnemar;
};

/// `before`, `after`: 1 where the program of a problem passes. Bootstrap intervals are percentile intervals of draws of
/// problems within each class of `before`. InputError as stats::paired_outcomes.
SteeringFigures steering_figures(std::span<const std::uint8_t> before, std::span<const std::uint8_t> after, const stats::BootstrapDraws& draws);

/// Net change towards the class that an intervention aims at: right, fixed less broken; wrong, broken less fixed; over the
/// number of problems.
double aimed_effect(const stats::PairedOutcomes& outcomes, Direction aim);
/// Programs of the other class that went over to the class aimed at: the correction or the corruption.
stats::Share aimed_share(const stats::PairedOutcomes& outcomes, Direction aim);

/// The weakest coefficient that is as good as the best, by aimed_effect and its standard error (one_standard_error_choice).
/// `coefficients` without 0.
struct CoefficientChoice {
    stats::OneStandardErrorChoice choice;
    bool none_is_as_good = false;  ///< no intervention lies within one standard error of the best, too
};
CoefficientChoice choose_coefficient(std::span<const double> coefficients, std::span<const stats::PairedOutcomes> outcomes, Direction aim);

/// Outcomes of control interventions of one kind on the same problems: passed [control][problem].
struct ControlOutcomes {
    std::string kind;
    std::vector<std::vector<std::uint8_t>> passed;
    std::vector<std::int32_t> latents;  ///< of each control, -1: none; empty: none of any. The same latent in two kinds is one control
    std::vector<std::uint32_t> draws;   ///< how often each was drawn; empty: once each
    std::uint32_t own_draws = 0;        ///< draws that gave the intervention itself
};

struct SteeringTest {
    std::string intervention;
    std::string name;
    double p = 1;               ///< NaN: there were no controls to compare with
    double smallest_p = std::numeric_limits<double>::quiet_NaN();  ///< what p could have been at best, where that is known
    double holm = 1;
    double q = 1;               ///< Benjamini-Hochberg
    bool published = false;     ///< shown for comparison with the published study; not adjusted, adjusts nothing
    std::string note;
};

/// Of one intervention: McNemar against nothing done; for each kind of controls and for all together the rank of its effect.
/// In the rank within a kind a control counts as often as it was drawn and `own_draws` are ties, so that the intervention is
/// one more draw of the same kind; among all controls each counts once. Fisher's exact test (one-sided, towards the aim) and the exact binomial test against the upper Clopper-Pearson limit of
/// all controls pooled; for each kind McNemar against the strongest control of that kind, one-sided towards the aim
/// (p = P(X >= b), X ~ Binomial(b + c, 1/2)). Always in this order, 4 + 2 kinds of them; without controls p is NaN.
std::vector<SteeringTest> steering_tests(const std::string& intervention, Direction aim, std::span<const std::uint8_t> before,
                                         std::span<const std::uint8_t> after, std::span<const ControlOutcomes> controls);

/// The binomial tests of the published study, by name, each with what is wrong with it. `control`: outcomes of the one control
/// that it looked at; may be empty.
std::vector<SteeringTest> published_steering_tests(const std::string& intervention, std::span<const std::uint8_t> before,
                                                   std::span<const std::uint8_t> after, std::span<const std::uint8_t> control, Direction aim);

/// Fills holm and q over all tests that are not `published` and have a p; NaN for the others.
void adjust_for_many_tests(std::vector<SteeringTest>& tests);

/// Cosine of two vectors, in float64; 0 where one is zero. InternalError for unequal lengths.
double cosine(std::span<const float> a, std::span<const float> b);
/// "same" above 0.7, "related" from 0.3 on, else "different", by the size of the cosine: the published study's words.
const char* cosine_word(double cosine);

/// `n` unit vectors of independent directions, uniform on the sphere: normal numbers by Marsaglia's polar method from the
/// Philox stream (seed, stream, number).
std::vector<std::vector<float>> random_unit_vectors(std::size_t width, std::uint32_t n, std::uint64_t seed, std::uint64_t stream);

/// What decides whether a latent can stand as a control of another.
struct ControlCandidate {
    std::uint32_t latent = 0;
    double score = 0;            ///< signed
    std::uint64_t fired_rows = 0;
};

/// Latents that say little and fire about as often: of the `share` of candidates with the lowest |score| (of the n lowest
/// where that is fewer) the `n` whose ln(fired_rows + 1) is nearest to that of `fired_rows`; ties by lower |score|, then
/// lower index.
/// `excluded` (ascending) are left out before. Fewer than n where there are no more.
std::vector<std::uint32_t> low_score_controls(std::span<const ControlCandidate> candidates, std::uint64_t fired_rows, std::span<const std::uint32_t> excluded,
                                              std::uint32_t n, double share = 0.25);

}  // namespace pva::analysis
