// What the intervals and tests promise, by seeded simulation: approximate 95 % intervals cover 93 to 97 %, exact ones
// at least 95 %; p-values of approximate tests are uniform under the null hypothesis, those of exact ones are p <= a in
// at most a share a of studies. The bounds leave three standard errors of the simulation itself.
#define BOOST_TEST_MODULE stats_simulation
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <numeric>
#include <vector>

#include "pva/core/philox.h"
#include "pva/stats/auroc_permutation.h"
#include "pva/stats/binomial_test.h"
#include "pva/stats/cluster_bootstrap.h"
#include "pva/stats/controls.h"
#include "pva/stats/fisher.h"
#include "pva/stats/intervals.h"
#include "pva/stats/multiple.h"
#include "pva/stats/paired_outcomes.h"
#include "pva/stats/power.h"
#include "pva/stats/trend.h"

using namespace pva::stats;
using pva::PhiloxStream;

namespace {

constexpr std::uint64_t seed = 20260115;

double normal(PhiloxStream& random) {
    return std::sqrt(-2 * std::log(1 - random.uniform())) * std::cos(2 * 3.14159265358979323846 * random.uniform());
}

std::uint64_t binomial(PhiloxStream& random, std::uint64_t trials, double rate) {
    std::uint64_t successes = 0;
    for (std::uint64_t i = 0; i < trials; ++i)
        successes += random.uniform() < rate;
    return successes;
}

double share_below(const std::vector<double>& p_values, double level) {
    return static_cast<double>(std::count_if(p_values.begin(), p_values.end(), [&](double p) { return p <= level; })) /
           static_cast<double>(p_values.size());
}

double noise(double level, std::size_t n) {
    return 3 * std::sqrt(level * (1 - level) / static_cast<double>(n));
}

// P(p <= a) <= a for an exact test.
void expect_valid(const std::vector<double>& p_values, const char* what) {
    for (const double level : {0.01, 0.05, 0.1, 0.25, 0.5}) {
        BOOST_TEST(share_below(p_values, level) <= level + noise(level, p_values.size()),
                   what << " at " << level << ": " << share_below(p_values, level));
    }
}

// P(p <= a) near a for an approximate one: within the noise and `slack`.
void expect_uniform(const std::vector<double>& p_values, const char* what, double slack = 0.01) {
    for (const double level : {0.05, 0.1, 0.25, 0.5, 0.75, 0.9}) {
        BOOST_TEST(std::fabs(share_below(p_values, level) - level) <= slack + noise(level, p_values.size()),
                   what << " at " << level << ": " << share_below(p_values, level));
    }
    BOOST_TEST_MESSAGE(what << ": share of p <= 0.05 is " << share_below(p_values, 0.05));
}

void expect_coverage(std::size_t covered, std::size_t n, double least, double most, const char* what) {
    const double share = static_cast<double>(covered) / static_cast<double>(n);
    BOOST_TEST_MESSAGE(what << ": covers " << share);
    BOOST_TEST((share >= least - noise(0.95, n) && share <= most + noise(0.95, n)), what << ": covers " << share);
}

bool holds(const Interval& interval, double truth) {
    return interval.lower <= truth && truth <= interval.upper;
}

}  // namespace

BOOST_AUTO_TEST_CASE(proportions) {
    // True rates are spread, because the coverage of one rate jumps with the discreteness of the counts.
    constexpr std::size_t n = 20000;
    std::size_t wilson_covers = 0, exact_covers = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
        PhiloxStream random(seed, 1, i);
        const double rate = 0.02 + 0.96 * random.uniform();
        const std::uint64_t successes = binomial(random, 116, rate);
        wilson_covers += holds(wilson(successes, 116), rate);
        exact_covers += holds(clopper_pearson(successes, 116), rate);
    }
    expect_coverage(wilson_covers, n, 0.93, 0.97, "Wilson");
    expect_coverage(exact_covers, n, 0.95, 1, "Clopper-Pearson");
}

BOOST_AUTO_TEST_CASE(paired_net_change) {
    constexpr std::size_t n = 8000;
    std::size_t covered = 0;
    std::vector<double> exact, mid;
    for (std::uint32_t i = 0; i < n; ++i) {
        PhiloxStream random(seed, 2, i);
        const double fixed = 0.01 + 0.1 * random.uniform(), broken = 0.01 + 0.1 * random.uniform();
        std::uint64_t counts[4] = {0, 0, 0, 0};
        for (int item = 0; item < 388; ++item) {
            const double u = random.uniform();
            ++counts[u < fixed ? 1 : u < fixed + broken ? 2 : u < fixed + broken + 0.3 ? 0 : 3];
        }
        covered += holds(newcombe_paired({counts[0], counts[1], counts[2], counts[3]}), fixed - broken);
        // Under the null hypothesis each changed item is fixed or broken with equal chance.
        const std::uint64_t changed = binomial(random, 388, 0.08);
        const std::uint64_t gained = binomial(random, changed, 0.5);
        exact.push_back(mcnemar(gained, changed - gained).p);
        mid.push_back(mcnemar(gained, changed - gained).mid_p);
    }
    expect_coverage(covered, n, 0.93, 0.97, "Newcombe, paired");
    expect_valid(exact, "McNemar exact");
    // Mid-p is discrete: only its small values are claimed to be near their level.
    BOOST_TEST(std::fabs(share_below(mid, 0.05) - 0.05) <= 0.01 + noise(0.05, n));
    BOOST_TEST_MESSAGE("McNemar: share of p <= 0.05 is " << share_below(exact, 0.05) << ", of mid-p "
                                                         << share_below(mid, 0.05));
}

BOOST_AUTO_TEST_CASE(exact_tests_of_shares) {
    constexpr std::size_t n = 8000;
    std::vector<double> fisher, fisher_greater, one_binomial, pooled, rank;
    for (std::uint32_t i = 0; i < n; ++i) {
        PhiloxStream random(seed, 3, i);
        const double rate = 0.02 + 0.3 * random.uniform();
        const std::uint64_t a = binomial(random, 120, rate), b = binomial(random, 90, rate);
        fisher.push_back(fisher_exact_p({a, 120 - a, b, 90 - b}));
        fisher_greater.push_back(fisher_exact_p({a, 120 - a, b, 90 - b}, Alternative::greater));
        one_binomial.push_back(binomial_p(a, 120, rate, Alternative::greater));
        std::vector<Share> controls;
        std::vector<double> effects;
        for (int control = 0; control < 20; ++control) {
            controls.push_back({binomial(random, 120, rate), 120});
            effects.push_back(static_cast<double>(controls.back().successes));
        }
        pooled.push_back(compare_with_pooled_controls({a, 120}, controls).p_upper_bound);
        rank.push_back(rank_among_controls(static_cast<double>(a), effects).p);
    }
    expect_valid(fisher, "Fisher");
    expect_valid(fisher_greater, "Fisher, one-sided");
    expect_valid(one_binomial, "binomial");
    expect_valid(pooled, "pooled upper bound");
    expect_valid(rank, "rank among controls");
}

BOOST_AUTO_TEST_CASE(trends) {
    constexpr std::size_t n = 6000;
    std::vector<double> shares, estimates;
    const std::vector<double> scores = {0, 1, 2, 3};
    const std::vector<std::uint64_t> trials = {100, 140, 90, 60};
    const std::vector<double> errors = {0.03, 0.05, 0.02, 0.06};
    for (std::uint32_t i = 0; i < n; ++i) {
        PhiloxStream random(seed, 4, i);
        const double rate = 0.2 + 0.6 * random.uniform();
        std::vector<std::uint64_t> successes;
        std::vector<double> values;
        for (std::size_t group = 0; group < 4; ++group) {
            successes.push_back(binomial(random, trials[group], rate));
            values.push_back(0.6 + errors[group] * normal(random));
        }
        shares.push_back(cochran_armitage(successes, trials, scores).p);
        estimates.push_back(weighted_trend(scores, values, errors).p);
    }
    expect_uniform(shares, "Cochran-Armitage");
    expect_uniform(estimates, "trend of estimates");
}

BOOST_AUTO_TEST_CASE(auroc_of_one_and_two_detectors) {
    // True AUROC of two normal classes a distance m apart: Phi(m / sqrt(2)).
    constexpr std::size_t n = 3000, n1 = 60, n0 = 120;
    const double truth = 0.65, distance = 0.3853204664075676 * std::sqrt(2.0);
    std::size_t covered = 0;
    std::vector<double> paired;
    const std::vector<std::uint8_t> labels = [] {
        std::vector<std::uint8_t> all(n1 + n0, 0);
        std::fill_n(all.begin(), n1, 1);
        return all;
    }();
    for (std::uint32_t i = 0; i < n; ++i) {
        PhiloxStream random(seed, 5, i);
        std::vector<double> a, b;
        for (const std::uint8_t label : labels) {
            const double shared = normal(random);
            // Equally good scores, correlated by what they share.
            a.push_back(std::sqrt(0.5) * (shared + normal(random)) + distance * label);
            b.push_back(std::sqrt(0.5) * (shared + normal(random)) + distance * label);
        }
        const TwoGroups groups = split_by_label(a, labels);
        covered += holds(delong_interval(delong(groups.positives, groups.negatives)), truth);
        paired.push_back(delong_paired(a, b, labels).p);
    }
    expect_coverage(covered, n, 0.93, 0.97, "DeLong, logit");
    expect_uniform(paired, "paired DeLong", 0.015);
}

BOOST_AUTO_TEST_CASE(smallest_auroc_is_found_as_often_as_said) {
    constexpr std::size_t n = 3000, n1 = 116, n0 = 272;
    const double smallest = smallest_detectable_auroc(n1, n0);
    // Negative-exponential classes, on which Hanley and McNeil's standard error rests: P(x > y) = r / (1 + r) for the
    // ratio r.
    const double ratio = smallest / (1 - smallest);
    std::size_t found = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
        PhiloxStream random(seed, 6, i);
        std::vector<double> positives, negatives;
        for (std::size_t row = 0; row < n1; ++row)
            positives.push_back(-ratio * std::log(1 - random.uniform()));
        for (std::size_t row = 0; row < n0; ++row)
            negatives.push_back(-std::log(1 - random.uniform()));
        const MannWhitney test = mann_whitney(positives, negatives);
        found += test.p <= 0.05 && test.z > 0;
    }
    const double power = static_cast<double>(found) / n;
    BOOST_TEST_MESSAGE("smallest detectable AUROC " << smallest << ": found in a share " << power);
    BOOST_TEST(std::fabs(power - 0.8) <= 0.02 + noise(0.8, n));
}

BOOST_AUTO_TEST_CASE(bootstrap_over_problems) {
    // 80 problems of three samples: the score belongs to the problem, the labels of its samples are alike.
    constexpr std::size_t n = 3000;
    constexpr std::uint32_t problems = 80, samples = 3;
    const auto study = [](PhiloxStream& random, std::uint32_t n_problems, std::vector<double>& scores,
                          std::vector<std::uint8_t>& labels, std::vector<std::uint32_t>& clusters) {
        for (std::uint32_t problem = 0; problem < n_problems; ++problem) {
            const double score = normal(random), rate = 1 / (1 + std::exp(-(0.8 * score + 2 * normal(random))));
            for (std::uint32_t sample = 0; sample < samples; ++sample) {
                scores.push_back(score);
                labels.push_back(random.uniform() < rate);
                clusters.push_back(problem);
            }
        }
    };
    // The truth from one very large study.
    std::vector<double> scores;
    std::vector<std::uint8_t> labels;
    std::vector<std::uint32_t> clusters;
    PhiloxStream large(seed, 7, 0);
    study(large, 400000, scores, labels, clusters);
    const double truth = auroc_or_nan(ClusteredScores(scores, labels, clusters, 400000).tie_groups());
    std::size_t percentile = 0, bca = 0, rows = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
        PhiloxStream random(seed, 8, i);
        scores.clear();
        labels.clear();
        clusters.clear();
        study(random, problems, scores, labels, clusters);
        const ClusterBootstrap result =
            cluster_bootstrap(ClusteredScores(scores, labels, clusters, problems), {}, {1000, seed, i}, auroc_or_nan);
        percentile += holds(result.percentile, truth);
        bca += holds(result.bca, truth);
        const TwoGroups groups = split_by_label(scores, labels);
        rows += holds(delong_interval(delong(groups.positives, groups.negatives)), truth);
    }
    expect_coverage(percentile, n, 0.93, 0.97, "bootstrap over problems, percentile");
    expect_coverage(bca, n, 0.93, 0.97, "bootstrap over problems, BCa");
    // Taking samples for independent is what the problems are drawn for: that interval is too narrow.
    BOOST_TEST_MESSAGE("rows taken as independent: covers " << static_cast<double>(rows) / n);
    BOOST_TEST(static_cast<double>(rows) / n < 0.9);
}

BOOST_AUTO_TEST_CASE(holm_keeps_the_family) {
    // 15 true null hypotheses with dependent p-values (one-sided normal, correlation 1/2) and 5 false ones.
    constexpr std::size_t n = 4000;
    std::size_t any_false = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
        PhiloxStream random(seed, 9, i);
        const double shared = normal(random);
        std::vector<double> p_values;
        for (int test = 0; test < 20; ++test) {
            const double z = std::sqrt(0.5) * (shared + normal(random)) + (test < 5 ? 3.0 : 0.0);
            p_values.push_back(0.5 * std::erfc(z / std::sqrt(2.0)));
        }
        const std::vector<double> adjusted = holm(p_values);
        any_false += std::any_of(adjusted.begin() + 5, adjusted.end(), [](double p) { return p <= 0.05; });
    }
    BOOST_TEST(static_cast<double>(any_false) / n <= 0.05 + noise(0.05, n));
    BOOST_TEST_MESSAGE("Holm: any false find in a share " << static_cast<double>(any_false) / n);
}

BOOST_AUTO_TEST_CASE(permutations_of_problems) {
    // Scores of problems that say nothing, samples of a problem with like labels: whole problems are exchanged.
    constexpr std::size_t n = 2000;
    std::vector<double> whole, rows;
    for (std::uint32_t i = 0; i < n; ++i) {
        PhiloxStream random(seed, 10, i);
        std::vector<double> scores;
        std::vector<std::uint8_t> labels;
        std::vector<std::uint32_t> clusters;
        for (std::uint32_t problem = 0; problem < 40; ++problem) {
            const double score = normal(random), rate = 1 / (1 + std::exp(-2 * normal(random)));
            for (int sample = 0; sample < 3; ++sample) {
                scores.push_back(score);
                labels.push_back(random.uniform() < rate);
                clusters.push_back(problem);
            }
        }
        whole.push_back(auroc_permutation_test(scores, labels, clusters, 40, {}, {199, seed, i}).p);
        rows.push_back(auroc_permutation_test(scores, labels, {}, 0, {}, {199, seed, i}).p);
    }
    expect_valid(whole, "permuted problems");
    BOOST_TEST_MESSAGE("p <= 0.05: problems " << share_below(whole, 0.05) << ", rows " << share_below(rows, 0.05));
    // Rows taken as free claim too much.
    BOOST_TEST(share_below(rows, 0.05) > 0.1);
}
