// Effects, choice, controls and tests of steering, on counts whose answers are known.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <numeric>

#include "pva/analysis/mass_mean.h"
#include "pva/analysis/steering.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"

using namespace pva::analysis;
namespace stats = pva::stats;
namespace tt = boost::test_tools;

namespace {

// 272 wrong and 116 right programs, 11 of the ones fixed and 17 of the others broken: the published study's counts.
struct Outcomes {
    std::vector<std::uint8_t> before, after;
};
Outcomes outcomes_of(std::size_t wrong, std::size_t fixed, std::size_t right, std::size_t broken) {
    Outcomes o;
    for (std::size_t i = 0; i < wrong; ++i) {
        o.before.push_back(0);
        o.after.push_back(i < fixed ? 1 : 0);
    }
    for (std::size_t i = 0; i < right; ++i) {
        o.before.push_back(1);
        o.after.push_back(i < broken ? 0 : 1);
    }
    return o;
}

const SteeringTest& find(const std::vector<SteeringTest>& tests, const std::string& name) {
    for (const SteeringTest& test : tests) {
        if (test.name == name) return test;
    }
    throw std::runtime_error("no test " + name);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(steering_suite)

BOOST_AUTO_TEST_CASE(published_counts_with_intervals) {
    const Outcomes o = outcomes_of(272, 11, 116, 17);
    const SteeringFigures f = steering_figures(o.before, o.after, {2000, 1, 0});
    BOOST_TEST(f.correction.rate == 11.0 / 272);
    BOOST_TEST(f.corruption.rate == 17.0 / 116);
    BOOST_TEST(f.preservation.rate == 99.0 / 116);
    BOOST_TEST(f.net == -6.0 / 388, tt::tolerance(1e-12));
    // Wilson's intervals and McNemar's p as published (program-validity tables): 0.0227-0.0710, 0.0936-0.2222, 0.345.
    BOOST_TEST(std::abs(f.correction.wilson.lower - 0.0227) < 5e-5);
    BOOST_TEST(std::abs(f.correction.wilson.upper - 0.0710) < 5e-5);
    BOOST_TEST(std::abs(f.corruption.wilson.lower - 0.0936) < 5e-5);
    BOOST_TEST(std::abs(f.corruption.wilson.upper - 0.2222) < 5e-5);
    BOOST_TEST(std::abs(f.mcnemar.p - 0.345) < 5e-4);
    // The bootstrap draws within classes: its spread is that of a binomial share.
    const double spread = std::sqrt(11.0 / 272 * (1 - 11.0 / 272) / 272);
    BOOST_TEST(std::abs(f.correction.bootstrap.lower - (11.0 / 272 - 1.96 * spread)) < spread);
    BOOST_TEST(std::abs(f.correction.bootstrap.upper - (11.0 / 272 + 1.96 * spread)) < spread);
    BOOST_TEST(f.preservation.bootstrap.lower == 1 - f.corruption.bootstrap.upper);
    BOOST_TEST(f.net_bootstrap.lower < f.net);
    BOOST_TEST(f.net_bootstrap.upper > f.net);
    BOOST_TEST(aimed_effect(f.outcomes, Direction::wrong) == -f.net);
    BOOST_TEST(aimed_share(f.outcomes, Direction::wrong).successes == 17u);
    BOOST_TEST(aimed_share(f.outcomes, Direction::right).trials == 272u);
    // Nothing of a class: no rate, and no failure.
    const Outcomes one = outcomes_of(3, 1, 0, 0);
    const SteeringFigures g = steering_figures(one.before, one.after, {10, 1, 0});
    BOOST_TEST(std::isnan(g.corruption.rate));
    BOOST_TEST(g.corruption.wilson.upper == 1.0);
    BOOST_CHECK_THROW(steering_figures(std::vector<std::uint8_t>{1}, std::vector<std::uint8_t>{1, 0}, {10, 1, 0}), pva::InputError);
}

BOOST_AUTO_TEST_CASE(the_weakest_coefficient_that_is_as_good_as_the_best) {
    std::vector<stats::PairedOutcomes> curve;
    const auto add = [&](std::size_t fixed, std::size_t broken) {
        const Outcomes o = outcomes_of(60, fixed, 40, broken);
        curve.push_back(stats::paired_outcomes(o.before, o.after));
    };
    add(0, 0);
    add(8, 1);
    add(10, 1);
    add(10, 20);
    const std::vector<double> coefficients = {1, 2, 4, 8};
    const CoefficientChoice right = choose_coefficient(coefficients, curve, Direction::right);
    BOOST_TEST(right.choice.best == 2u);
    BOOST_TEST(right.choice.chosen == 1u);
    BOOST_TEST(!right.none_is_as_good);
    const CoefficientChoice wrong = choose_coefficient(coefficients, curve, Direction::wrong);
    BOOST_TEST(wrong.choice.chosen == 3u);
    const CoefficientChoice weak = choose_coefficient(std::vector<double>{1}, std::vector{curve[0]}, Direction::right);
    BOOST_TEST(weak.none_is_as_good);
    BOOST_CHECK_THROW(choose_coefficient(std::vector<double>{1, 2}, std::vector{curve[0]}, Direction::right), pva::InternalError);
}

BOOST_AUTO_TEST_CASE(tests_against_controls) {
    const Outcomes o = outcomes_of(272, 11, 116, 17);
    const Outcomes weak = outcomes_of(272, 3, 116, 9);
    std::vector<ControlOutcomes> controls = {{"random vectors", std::vector<std::vector<std::uint8_t>>(20, weak.after)}, {"low-score latents", {}}};
    std::vector<SteeringTest> tests = steering_tests("right", Direction::right, o.before, o.after, controls);
    BOOST_TEST(tests.size() == 4 + 2 * controls.size());
    BOOST_TEST(std::abs(find(tests, "McNemar exact, against no steering").p - 0.345) < 5e-4);
    // 11 - 17 and 3 - 9 fixed less broken: a tie, which counts against the effect.
    BOOST_TEST(find(tests, "rank among random vectors").p == 1.0);
    BOOST_TEST(find(tests, "rank among random vectors").smallest_p == 1.0 / 21, tt::tolerance(1e-12));
    BOOST_TEST(std::isnan(find(tests, "rank among low-score latents").p));
    BOOST_TEST(find(tests, "rank among all controls").p == 1.0);
    BOOST_TEST(std::isnan(find(tests, "McNemar exact, against the strongest of low-score latents").p));
    // The first three fixed are the same, eight more by the latent alone; and eight more broken.
    BOOST_TEST(std::abs(find(tests, "McNemar exact, against the strongest of random vectors").p - 0.5982) < 2e-4);
    const Outcomes strong = outcomes_of(272, 60, 116, 0);
    tests = steering_tests("right", Direction::right, strong.before, strong.after, controls);
    BOOST_TEST(find(tests, "rank among random vectors").p == 1.0 / 21, tt::tolerance(1e-12));
    BOOST_TEST(find(tests, "Fisher exact, against all controls pooled").p < 1e-10);
    BOOST_TEST(find(tests, "McNemar exact, against the strongest of random vectors").p < 1e-10);
    for (const SteeringTest& more : published_steering_tests("right", strong.before, strong.after, weak.after, Direction::right)) tests.push_back(more);
    adjust_for_many_tests(tests);
    for (const SteeringTest& test : tests) {
        if (test.published || std::isnan(test.p)) {
            BOOST_TEST(!test.note.empty());
            BOOST_TEST(std::isnan(test.holm));
            BOOST_TEST(std::isnan(test.q));
        } else {
            BOOST_TEST(test.holm >= test.p);
            BOOST_TEST(test.q >= test.p);
            BOOST_TEST(test.q <= test.holm);
        }
    }
    // The published test calls any fixed program significant.
    const Outcomes single = outcomes_of(272, 1, 116, 0);
    BOOST_TEST(find(published_steering_tests("right", single.before, single.after, {}, Direction::right), "published: binomial, correction against 0").p == 0.0);
}

BOOST_AUTO_TEST_CASE(tests_without_controls_leave_the_others_alone) {
    const Outcomes o = outcomes_of(272, 20, 116, 2);
    std::vector<SteeringTest> tests = steering_tests("right", Direction::right, o.before, o.after, std::vector<ControlOutcomes>{{"random vectors", {}}});
    adjust_for_many_tests(tests);
    const SteeringTest& alone = find(tests, "McNemar exact, against no steering");
    BOOST_TEST(alone.holm == alone.p);
    BOOST_TEST(alone.q == alone.p);
    for (const SteeringTest& test : tests) BOOST_TEST(std::isnan(test.p) == (test.name != alone.name), test.name);
}

BOOST_AUTO_TEST_CASE(controls_count_as_often_as_they_were_drawn) {
    const Outcomes own = outcomes_of(272, 20, 116, 0);
    const Outcomes weak = outcomes_of(272, 5, 116, 0);
    const Outcomes strong = outcomes_of(272, 30, 116, 0);
    // Latent 7 four times, latent 8 twice, the intervention's own three times: 2 and 3 of 9 draws are at least as strong.
    ControlOutcomes shuffled{.kind = "shuffled", .passed = {weak.after, strong.after}, .latents = {7, 8}, .draws = {4, 2}, .own_draws = 3};
    // Latent 8 stands here, too, beside another weak one.
    const ControlOutcomes low{.kind = "low-score", .passed = {strong.after, weak.after}, .latents = {8, 9}};
    const std::vector<SteeringTest> tests = steering_tests("right", Direction::right, own.before, own.after, std::vector{low, shuffled});
    BOOST_TEST(find(tests, "rank among shuffled").p == 6.0 / 10, tt::tolerance(1e-12));
    BOOST_TEST(find(tests, "rank among shuffled").smallest_p == 4.0 / 10, tt::tolerance(1e-12));
    BOOST_TEST(find(tests, "rank among shuffled").note == "rank 6 of 10");
    BOOST_TEST(find(tests, "rank among low-score").p == 2.0 / 3, tt::tolerance(1e-12));
    BOOST_TEST(find(tests, "rank among all controls").note == "rank 2 of 4");
    BOOST_TEST(find(tests, "Fisher exact, against all controls pooled").note == "20 of 272 against 40 of 816 of all controls, one-sided");
    shuffled.draws = {4};
    BOOST_CHECK_THROW(steering_tests("right", Direction::right, own.before, own.after, std::vector{shuffled}), pva::InternalError);
}

BOOST_AUTO_TEST_CASE(random_vectors_are_units_and_uniform) {
    const auto vectors = random_unit_vectors(64, 200, 3, 7);
    double mean_square_of_first = 0;
    double largest_cosine = 0;
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        double squares = 0;
        for (const float value : vectors[i]) squares += static_cast<double>(value) * static_cast<double>(value);
        BOOST_TEST(std::abs(squares - 1) < 1e-5);
        mean_square_of_first += static_cast<double>(vectors[i][0]) * static_cast<double>(vectors[i][0]) / 200;
        for (std::size_t j = 0; j < i; ++j) largest_cosine = std::max(largest_cosine, std::abs(cosine(vectors[i], vectors[j])));
    }
    BOOST_TEST(std::abs(mean_square_of_first * 64 - 1) < 0.35);
    BOOST_TEST(largest_cosine < 0.7);
    // A vector depends on its own number alone.
    BOOST_TEST(random_unit_vectors(64, 5, 3, 7)[4] == vectors[4], tt::per_element());
    BOOST_TEST((random_unit_vectors(64, 1, 4, 7)[0] != vectors[0]));
    BOOST_TEST(random_unit_vectors(3, 1, 3, 7)[0].size() == 3u);
    BOOST_CHECK_THROW(cosine(vectors[0], std::vector<float>{1}), pva::InternalError);
    BOOST_TEST(cosine_word(-0.71) == std::string("same"));
    BOOST_TEST(cosine_word(0.3) == std::string("related"));
    BOOST_TEST(cosine_word(0.29) == std::string("different"));
}

BOOST_AUTO_TEST_CASE(controls_say_little_and_fire_alike) {
    std::vector<ControlCandidate> candidates;
    for (std::uint32_t j = 0; j < 40; ++j) candidates.push_back({j, (j % 2 == 0 ? 1.0 : -1.0) * j / 100.0, 10 + j});
    // The lowest quarter of |score| is 0 to 9; 3 is excluded; the nearest to 16 fired rows are 6, then 5 and 7, 4 and 8.
    const std::vector<std::uint32_t> excluded = {3, 39};
    const auto chosen = low_score_controls(candidates, 16, excluded, 3);
    BOOST_TEST(chosen == (std::vector<std::uint32_t>{6, 7, 5}), tt::per_element());
    BOOST_TEST(low_score_controls(candidates, 16, excluded, 100).size() == 38u);
    // More than a quarter are wanted: the lowest of all.
    const auto twelve = low_score_controls(candidates, 16, excluded, 12);
    BOOST_TEST(twelve.size() == 12u);
    BOOST_TEST(*std::max_element(twelve.begin(), twelve.end()) == 12u);
    BOOST_TEST(low_score_controls({}, 16, excluded, 3).empty());
}

BOOST_AUTO_TEST_CASE(mass_mean_probe_by_both_ways) {
    // n > d and n < d must agree with (S + r I) w = difference.
    for (const std::size_t n : {30U, 6U}) {
        const std::size_t d = 8;
        std::vector<float> rows;
        std::vector<std::uint8_t> labels;
        pva::PhiloxStream random(1, 2, static_cast<std::uint32_t>(n));
        for (std::size_t i = 0; i < n; ++i) {
            labels.push_back(static_cast<std::uint8_t>(i % 2));
            for (std::size_t k = 0; k < d; ++k) rows.push_back(static_cast<float>(random.uniform() + (k == 0 && i % 2 == 1 ? 1.0 : 0.0)));
        }
        const std::vector<double> w = mass_mean_probe(rows, d, labels, 0.01);
        const std::vector<double> difference = difference_of_means(rows, d, labels);
        BOOST_TEST(std::abs(difference[0] - 1) < 0.6);
        // Multiply back.
        std::vector<double> mean[2] = {std::vector<double>(d), std::vector<double>(d)};
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t k = 0; k < d; ++k) mean[labels[i]][k] += static_cast<double>(rows[i * d + k]) * 2 / static_cast<double>(n);
        }
        std::vector<double> back(d);
        for (std::size_t a = 0; a < d; ++a) {
            back[a] = 0.01 * w[a];
            for (std::size_t b = 0; b < d; ++b) {
                double s = 0;
                for (std::size_t i = 0; i < n; ++i) s += (static_cast<double>(rows[i * d + a]) - mean[labels[i]][a]) * (static_cast<double>(rows[i * d + b]) - mean[labels[i]][b]);
                back[a] += s / static_cast<double>(n - 2) * w[b];
            }
        }
        double product = 0, one = 0, other = 0;
        for (std::size_t k = 0; k < d; ++k) {
            product += back[k] * difference[k];
            one += back[k] * back[k];
            other += difference[k] * difference[k];
        }
        BOOST_TEST(std::abs(product / std::sqrt(one * other) - 1) < 1e-10);
    }
    BOOST_CHECK_THROW(mass_mean_probe(std::vector<float>{1, 2, 3}, 1, std::vector<std::uint8_t>{1, 1, 0}), pva::InputError);
    BOOST_CHECK_THROW(difference_of_means(std::vector<float>{1, 2}, 1, std::vector<std::uint8_t>{1, 1}), pva::InputError);
}

BOOST_AUTO_TEST_SUITE_END()
