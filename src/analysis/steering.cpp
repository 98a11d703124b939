// Rates, tests and controls of steering.
#include "pva/analysis/steering.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/stats/binomial_test.h"
#include "pva/stats/fisher.h"
#include "pva/stats/multiple.h"
#include "pva/stats/permutation.h"

namespace pva::analysis {

namespace {

RateFigures rate_of(std::uint64_t successes, std::uint64_t trials) {
    RateFigures figures;
    figures.share = {successes, trials};
    if (trials > 0) figures.rate = static_cast<double>(successes) / static_cast<double>(trials);
    figures.wilson = stats::wilson(successes, trials);
    return figures;
}

stats::Interval share_of_draws(std::vector<double> draws, std::uint64_t trials) {
    for (double& draw : draws) draw /= static_cast<double>(trials);
    return stats::percentile_interval(draws);
}

// Probability of at least `successes` of fair coins.
double one_sided_sign_p(std::uint64_t successes, std::uint64_t trials) {
    return stats::binomial_p(successes, trials, 0.5, stats::Alternative::greater);
}

}  // namespace

SteeringFigures steering_figures(std::span<const std::uint8_t> before, std::span<const std::uint8_t> after, const stats::BootstrapDraws& draws) {
    SteeringFigures figures;
    const stats::PairedOutcomes outcomes = stats::paired_outcomes(before, after);
    figures.outcomes = outcomes;
    figures.correction = rate_of(outcomes.gained, outcomes.no_before());
    figures.corruption = rate_of(outcomes.lost, outcomes.yes_before());
    figures.preservation = rate_of(outcomes.stayed_yes, outcomes.yes_before());
    figures.net = stats::net_change(outcomes);
    figures.net_standard_error = stats::net_change_standard_error(outcomes);
    figures.net_newcombe = stats::newcombe_paired(outcomes);
    figures.mcnemar = stats::mcnemar(outcomes.gained, outcomes.lost);

    const std::vector<std::uint32_t> strata(before.begin(), before.end());
    const auto n = static_cast<std::uint32_t>(before.size());
    const auto count = [&](std::uint8_t was, std::uint8_t is) {
        return stats::bootstrap(n, strata, draws, [&](std::span<const std::uint32_t> units) {
            std::uint64_t sum = 0;
            for (const std::uint32_t unit : units) sum += before[unit] == was && after[unit] == is ? 1 : 0;
            return static_cast<double>(sum);
        });
    };
    // The same draws for both.
    const std::vector<double> fixed = count(0, 1);
    const std::vector<double> broken = count(1, 0);
    if (outcomes.no_before() > 0) figures.correction.bootstrap = share_of_draws(fixed, outcomes.no_before());
    if (outcomes.yes_before() > 0) {
        figures.corruption.bootstrap = share_of_draws(broken, outcomes.yes_before());
        figures.preservation.bootstrap = {1 - figures.corruption.bootstrap.upper, 1 - figures.corruption.bootstrap.lower};
    }
    if (n > 0) {
        std::vector<double> net(fixed.size());
        for (std::size_t i = 0; i < net.size(); ++i) net[i] = fixed[i] - broken[i];
        figures.net_bootstrap = share_of_draws(net, n);
    }
    return figures;
}

double aimed_effect(const stats::PairedOutcomes& outcomes, Direction aim) {
    const double net = stats::net_change(outcomes);
    return aim == Direction::right ? net : 0.0 - net;
}

stats::Share aimed_share(const stats::PairedOutcomes& outcomes, Direction aim) {
    if (aim == Direction::right) return {outcomes.gained, outcomes.no_before()};
    return {outcomes.lost, outcomes.yes_before()};
}

CoefficientChoice choose_coefficient(std::span<const double> coefficients, std::span<const stats::PairedOutcomes> outcomes, Direction aim) {
    if (coefficients.size() != outcomes.size()) throw InternalError("a coefficient without outcomes");
    std::vector<stats::CurvePoint> points;
    for (std::size_t i = 0; i < coefficients.size(); ++i)
        points.push_back({coefficients[i], aimed_effect(outcomes[i], aim), stats::net_change_standard_error(outcomes[i])});
    CoefficientChoice result;
    result.choice = stats::one_standard_error_choice(points);
    result.none_is_as_good = 0 >= result.choice.bar;
    return result;
}

std::vector<SteeringTest> steering_tests(const std::string& intervention, Direction aim, std::span<const std::uint8_t> before,
                                         std::span<const std::uint8_t> after, std::span<const ControlOutcomes> controls) {
    const stats::PairedOutcomes outcomes = stats::paired_outcomes(before, after);
    const double effect = aimed_effect(outcomes, aim);
    const stats::Share share = aimed_share(outcomes, aim);
    std::vector<SteeringTest> tests;
    const auto add = [&](const std::string& name, double p, double smallest, const std::string& note) {
        SteeringTest test;
        test.intervention = intervention;
        test.name = name;
        test.p = p;
        test.smallest_p = smallest;
        test.note = note;
        tests.push_back(std::move(test));
    };
    const std::uint64_t changed = outcomes.gained + outcomes.lost;
    add("McNemar exact, against no steering", stats::mcnemar(outcomes.gained, outcomes.lost).p, changed > 0 ? std::min(1.0, std::ldexp(1.0, 1 - static_cast<int>(std::min<std::uint64_t>(changed, 1000)))) : 1.0,
        std::to_string(outcomes.gained) + " fixed, " + std::to_string(outcomes.lost) + " broken, two-sided");

    const double none = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> all_effects;
    std::vector<stats::Share> all_shares;
    std::set<std::int32_t> seen;
    const auto rank = [&](const std::string& name, const std::vector<double>& effects, std::uint64_t ties) {
        if (effects.size() == ties) return add(name, none, none, "no controls");
        const stats::ControlRank place = stats::rank_among_controls(effect, effects);
        add(name, place.p, stats::permutation_p(ties, place.controls), "rank " + std::to_string(place.rank()) + " of " + std::to_string(place.controls + 1));
    };
    for (const ControlOutcomes& kind : controls) {
        if ((!kind.latents.empty() && kind.latents.size() != kind.passed.size()) || (!kind.draws.empty() && kind.draws.size() != kind.passed.size()))
            throw InternalError("controls of the kind " + kind.kind + " without a latent or a number of draws");
        std::vector<double> effects(kind.own_draws, effect);
        for (std::size_t i = 0; i < kind.passed.size(); ++i) {
            const stats::PairedOutcomes control = stats::paired_outcomes(before, kind.passed[i]);
            const double one = aimed_effect(control, aim);
            effects.insert(effects.end(), kind.draws.empty() ? 1 : kind.draws[i], one);
            const std::int32_t latent = kind.latents.empty() ? -1 : kind.latents[i];
            if (latent >= 0 && !seen.insert(latent).second) continue;
            all_effects.push_back(one);
            all_shares.push_back(aimed_share(control, aim));
        }
        rank("rank among " + kind.kind, effects, kind.own_draws);
    }
    rank("rank among all controls", all_effects, 0);

    const stats::PooledComparison pooled = stats::compare_with_pooled_controls(share, all_shares);
    const std::string rate = std::to_string(share.successes) + " of " + std::to_string(share.trials) + " against " + std::to_string(pooled.pooled.successes) + " of " +
                             std::to_string(pooled.pooled.trials) + " of all controls";
    add("Fisher exact, against all controls pooled", all_shares.empty() ? none : pooled.p_fisher, none, rate + ", one-sided");
    add("binomial, against the pool's upper Clopper-Pearson limit", all_shares.empty() ? none : pooled.p_upper_bound, none, rate + ", one-sided");

    for (const ControlOutcomes& kind : controls) {
        std::size_t strongest = 0;
        double most = -2;
        for (std::size_t i = 0; i < kind.passed.size(); ++i) {
            const double one = aimed_effect(stats::paired_outcomes(before, kind.passed[i]), aim);
            if (one > most) {
                most = one;
                strongest = i;
            }
        }
        const std::string name = "McNemar exact, against the strongest of " + kind.kind;
        if (kind.passed.empty()) {
            add(name, none, none, "no controls");
            continue;
        }
        const stats::PairedOutcomes paired = stats::paired_outcomes(kind.passed[strongest], after);
        const std::uint64_t better = aim == Direction::right ? paired.gained : paired.lost;
        const std::uint64_t worse = aim == Direction::right ? paired.lost : paired.gained;
        add(name, one_sided_sign_p(better, better + worse), std::ldexp(1.0, -static_cast<int>(std::min<std::uint64_t>(better + worse, 1000))),
            std::to_string(better) + " problems go the way aimed at with the latent alone, " + std::to_string(worse) + " with the control alone, one-sided");
    }
    return tests;
}

std::vector<SteeringTest> published_steering_tests(const std::string& intervention, std::span<const std::uint8_t> before,
                                                   std::span<const std::uint8_t> after, std::span<const std::uint8_t> control, Direction aim) {
    const stats::PairedOutcomes outcomes = stats::paired_outcomes(before, after);
    std::vector<SteeringTest> tests;
    const auto add = [&](const std::string& name, stats::PublishedBinomialTest which, std::uint64_t successes, std::uint64_t trials, double rate) {
        SteeringTest test;
        test.intervention = intervention;
        test.name = name;
        test.p = stats::published_binomial_p(which, successes, trials, rate);
        test.holm = test.q = std::numeric_limits<double>::quiet_NaN();
        test.published = true;
        test.note = std::string(stats::fault_of(which));
        tests.push_back(std::move(test));
    };
    using Which = stats::PublishedBinomialTest;
    add("published: binomial, correction against 0", Which::correction_from_zero, outcomes.gained, outcomes.no_before(), 0);
    add("published: binomial, corruption against 0", Which::corruption_from_zero, outcomes.lost, outcomes.yes_before(), 0);
    add("published: binomial, preservation against 1", Which::preservation_from_one, outcomes.stayed_yes, outcomes.yes_before(), 0);
    const stats::Share share = aimed_share(outcomes, aim);
    double control_rate = 0;
    if (!control.empty()) {
        const stats::Share other = aimed_share(stats::paired_outcomes(before, control), aim);
        if (other.trials > 0) control_rate = static_cast<double>(other.successes) / static_cast<double>(other.trials);
    }
    add("published: binomial, against one control's rate", Which::above_control_rate, share.successes, share.trials, control_rate);
    return tests;
}

void adjust_for_many_tests(std::vector<SteeringTest>& tests) {
    const auto counts = [](const SteeringTest& test) { return !test.published && !std::isnan(test.p); };
    std::vector<double> p;
    for (const SteeringTest& test : tests) {
        if (counts(test)) p.push_back(test.p);
    }
    const std::vector<double> holm = stats::holm(p);
    const std::vector<double> q = stats::benjamini_hochberg(p);
    std::size_t at = 0;
    for (SteeringTest& test : tests) {
        if (!counts(test)) {
            test.holm = test.q = std::numeric_limits<double>::quiet_NaN();
            continue;
        }
        test.holm = holm[at];
        test.q = q[at];
        ++at;
    }
}

double cosine(std::span<const float> a, std::span<const float> b) {
    if (a.size() != b.size()) throw InternalError("a cosine of vectors of different lengths");
    double product = 0;
    double a_squares = 0;
    double b_squares = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        product += static_cast<double>(a[i]) * static_cast<double>(b[i]);
        a_squares += static_cast<double>(a[i]) * static_cast<double>(a[i]);
        b_squares += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    return a_squares > 0 && b_squares > 0 ? product / std::sqrt(a_squares * b_squares) : 0.0;
}

const char* cosine_word(double cosine) {
    const double size = std::abs(cosine);
    return size > 0.7 ? "same" : size >= 0.3 ? "related" : "different";
}

std::vector<std::vector<float>> random_unit_vectors(std::size_t width, std::uint32_t n, std::uint64_t seed, std::uint64_t stream) {
    std::vector<std::vector<float>> vectors;
    for (std::uint32_t number = 0; number < n; ++number) {
        PhiloxStream random(seed, stream, number);
        std::vector<double> values;
        while (values.size() < width) {
            const double u = 2 * random.uniform() - 1;
            const double v = 2 * random.uniform() - 1;
            const double s = u * u + v * v;
            if (s >= 1 || s == 0) continue;
            const double factor = std::sqrt(-2 * std::log(s) / s);
            values.push_back(u * factor);
            values.push_back(v * factor);
        }
        values.resize(width);
        double squares = 0;
        for (const double value : values) squares += value * value;
        std::vector<float> unit;
        for (const double value : values) unit.push_back(static_cast<float>(value / std::sqrt(squares)));
        vectors.push_back(std::move(unit));
    }
    return vectors;
}

std::vector<std::uint32_t> low_score_controls(std::span<const ControlCandidate> candidates, std::uint64_t fired_rows, std::span<const std::uint32_t> excluded,
                                              std::uint32_t n, double share) {
    std::vector<ControlCandidate> left;
    for (const ControlCandidate& candidate : candidates) {
        if (!std::binary_search(excluded.begin(), excluded.end(), candidate.latent)) left.push_back(candidate);
    }
    std::sort(left.begin(), left.end(), [](const ControlCandidate& a, const ControlCandidate& b) {
        return std::abs(a.score) != std::abs(b.score) ? std::abs(a.score) < std::abs(b.score) : a.latent < b.latent;
    });
    const auto lowest = static_cast<std::size_t>(std::ceil(share * static_cast<double>(left.size())));
    left.resize(std::min(left.size(), std::max<std::size_t>(lowest, n)));
    const auto distance = [&](const ControlCandidate& one) {
        return std::abs(std::log(static_cast<double>(one.fired_rows) + 1) - std::log(static_cast<double>(fired_rows) + 1));
    };
    std::sort(left.begin(), left.end(), [&](const ControlCandidate& a, const ControlCandidate& b) {
        const double da = distance(a);
        const double db = distance(b);
        if (da != db) return da < db;
        if (std::abs(a.score) != std::abs(b.score)) return std::abs(a.score) < std::abs(b.score);
        return a.latent < b.latent;
    });
    std::vector<std::uint32_t> chosen;
    for (const ControlCandidate& one : left) {
        if (chosen.size() == n) break;
        chosen.push_back(one.latent);
    }
    return chosen;
}

}  // namespace pva::analysis
