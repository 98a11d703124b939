// What the tests of phase 2 promise, by seeded simulation: with labels that mean nothing q-values and family-wise p-values
// claim something in about 5 % of studies or fewer, and with planted latents the share of false finds stays at the rate.
// And what the rank of steering among latents chosen on shuffled labels promises.
#define BOOST_TEST_MODULE simulation
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>
#include <vector>

#include "pva/analysis/latent_permutation.h"
#include "pva/analysis/selection.h"
#include "pva/analysis/steering.h"
#include "pva/core/philox.h"

using namespace pva::analysis;
namespace stats = pva::stats;

namespace {

constexpr std::uint32_t n_latents = 1500;
constexpr std::size_t n_rows = 240;
constexpr std::uint32_t n_permutations = 199;

struct Outcome {
    int finds = 0;        // q < 0.05
    int false_finds = 0;  // of them not planted
    int family = 0;       // family-wise p < 0.05
    int false_family = 0;
    int uncorrected = 0;  // p < 0.05 of a tested latent that is not planted
    int tested = 0;
};

// Most latents fire seldom, some often, with many ties; neighbours are correlated. The first `planted` fire more often and
// more strongly on right rows.
Outcome study(std::uint64_t seed, std::uint32_t planted, TestFor test) {
    pva::PhiloxStream random(seed, 1, 0);
    std::vector<std::uint8_t> labels;
    for (std::size_t row = 0; row < n_rows; ++row) labels.push_back(random.uniform() < 0.35);
    std::vector<double> rate;
    for (std::uint32_t j = 0; j < n_latents; ++j) rate.push_back(j < planted ? 0.3 : 0.4 * std::pow(random.uniform(), 4));
    std::vector<std::uint64_t> offsets = {0};
    std::vector<std::uint32_t> latents;
    std::vector<float> values;
    for (std::size_t row = 0; row < n_rows; ++row) {
        double shared = random.uniform();
        for (std::uint32_t j = 0; j < n_latents; ++j) {
            if (j % 8 == 0) shared = random.uniform();
            const bool lifted = j < planted && labels[row] == 1;
            if (0.5 * (shared + random.uniform()) >= rate[j] + (lifted ? 0.25 : 0.0)) continue;
            latents.push_back(j);
            values.push_back(static_cast<float>(1 + random.below(20)) / 4 + (lifted ? 1.0F : 0.0F));
        }
        offsets.push_back(latents.size());
    }
    const stats::CsrView codes{offsets, latents, values, n_latents};
    const stats::SparseColumns columns = stats::sparse_columns(codes, 0, n_latents);
    const auto statistics = latent_statistics(columns, labels);
    SelectionRule rule;
    rule.q_from = test;
    std::vector<std::uint8_t> tested;
    for (const LatentStatistics& s : statistics) tested.push_back(s.fired_rows >= rule.min_rows);
    const stats::LabelPermutations permutations(labels, {}, n_permutations, seed, 2);
    const PermutedColumns permuted = permute_columns(columns, labels, tested, permutations, Score::auroc);
    std::vector<double> permutation_p;
    for (const std::uint64_t count : permuted.exceedances) permutation_p.push_back(stats::permutation_p(count, n_permutations));
    const auto family = stats::max_statistic_p(permuted.observed, permuted.maxima);
    const std::vector<double> rates(n_latents, 0.0);
    const std::vector<LayerStatistics> layers = {{0, statistics, rates, permutation_p}};
    const auto right = static_cast<std::uint64_t>(std::count(labels.begin(), labels.end(), std::uint8_t{1}));
    const Selection selection = rank_latents(layers, right, n_rows - right, rule);
    Outcome outcome;
    for (std::uint32_t j = 0; j < n_latents; ++j) {
        if (tested[j] == 0) continue;
        const bool find = selection.q_values[0][j] < 0.05;
        outcome.finds += find;
        outcome.false_finds += find && j >= planted;
        outcome.family += family[j] < 0.05 + 1e-12;
        outcome.false_family += family[j] < 0.05 + 1e-12 && j >= planted;
        if (j >= planted) {
            ++outcome.tested;
            outcome.uncorrected += (test == TestFor::permutation ? permutation_p[j] : statistics[j].mann_whitney_p) < 0.05;
        }
    }
    return outcome;
}

}  // namespace

// 100 studies without any effect: at a true rate of 5 % at most 11 of them find something with probability 0.994.
BOOST_AUTO_TEST_CASE(nothing_is_found_where_nothing_is) {
    for (const TestFor test : {TestFor::mann_whitney, TestFor::permutation}) {
        int studies = 0, family = 0, uncorrected = 0, tested = 0;
        for (std::uint64_t seed = 1; seed <= 100; ++seed) {
            const Outcome outcome = study(seed, 0, test);
            studies += outcome.finds > 0;
            family += outcome.family > 0;
            uncorrected += outcome.uncorrected;
            tested += outcome.tested;
        }
        const double share = static_cast<double>(uncorrected) / tested;
        BOOST_TEST_MESSAGE(studies << " of 100 studies have a q below 0.05, " << family << " a family-wise p of at most 0.05; " << share << " of " << tested << " p-values are below 0.05");
        BOOST_TEST(studies <= 11);
        BOOST_TEST(family <= 11);
        BOOST_TEST(family >= 1);  // exact up to the grid of 200: it is not merely conservative
        // Discrete p-values stay below their level, not far below.
        BOOST_TEST(share < 0.052);
        BOOST_TEST(share > 0.025);
    }
}

BOOST_AUTO_TEST_CASE(planted_latents_are_found_and_few_others) {
    constexpr std::uint32_t planted = 30;
    double false_share = 0;
    int found = 0, false_family = 0;
    constexpr int studies = 60;
    for (std::uint64_t seed = 1001; seed <= 1000 + studies; ++seed) {
        const Outcome outcome = study(seed, planted, TestFor::mann_whitney);
        found += outcome.finds - outcome.false_finds;
        false_share += outcome.finds == 0 ? 0.0 : static_cast<double>(outcome.false_finds) / outcome.finds;
        false_family += outcome.false_family > 0;
    }
    BOOST_TEST_MESSAGE(found << " of " << studies * planted << " planted latents found; mean share of false finds " << false_share / studies << "; " << false_family << " of " << studies
                             << " studies with a false family-wise find");
    BOOST_TEST(found > 0.9 * studies * planted);
    BOOST_TEST(false_share / studies < 0.065);
    BOOST_TEST(false_family <= 8);
}

// The chosen latent is one more draw of what chance chooses, and of 40 latents those that are chosen often also move most. Ranks
// that count draws keep their level; ranks among the different latents that were drawn would not.
BOOST_AUTO_TEST_CASE(rank_among_latents_chosen_on_shuffled_labels) {
    constexpr int n = 40, wanted = 20, studies = 2000;
    std::vector<double> cumulative;
    for (int i = 0; i < n; ++i) cumulative.push_back((i > 0 ? cumulative.back() : 0) + 1.0 / (i + 1));
    std::vector<std::vector<std::uint8_t>> passed(n, std::vector<std::uint8_t>(60, 0));
    for (int i = 0; i < n; ++i) std::fill_n(passed[static_cast<std::size_t>(i)].begin(), n - i, std::uint8_t{1});
    const std::vector<std::uint8_t> before(60, 0);
    int by_draws = 0, by_list = 0;
    for (int study = 0; study < studies; ++study) {
        pva::PhiloxStream random(77, 0, static_cast<std::uint32_t>(study));
        const auto draw = [&] { return static_cast<std::int32_t>(std::lower_bound(cumulative.begin(), cumulative.end(), random.uniform() * cumulative.back()) - cumulative.begin()); };
        const std::int32_t chosen = draw();
        ControlOutcomes controls{.kind = "shuffled"};
        std::map<std::int32_t, std::size_t> place;
        for (int b = 0; b < 10 * wanted && place.size() < wanted; ++b) {
            const std::int32_t one = draw();
            if (one == chosen) {
                ++controls.own_draws;
            } else if (const auto known = place.find(one); known != place.end()) {
                ++controls.draws[known->second];
            } else {
                place[one] = controls.draws.size();
                controls.passed.push_back(passed[static_cast<std::size_t>(one)]);
                controls.latents.push_back(one);
                controls.draws.push_back(1);
            }
        }
        const auto p_of = [&](const ControlOutcomes& kind) {
            return steering_tests("one", Direction::right, before, passed[static_cast<std::size_t>(chosen)], std::vector{kind}).at(1).p;
        };
        by_draws += p_of(controls) <= 0.05;
        controls.draws.clear();
        controls.own_draws = 0;
        by_list += p_of(controls) <= 0.05;
    }
    BOOST_TEST_MESSAGE("p of at most 0.05 in " << by_draws << " of " << studies << " studies by draws, in " << by_list << " by the list of different latents");
    BOOST_TEST(by_draws <= 0.05 * studies);
    BOOST_TEST(by_list > 0.15 * studies);
}
