// Filtering and ranking of latents: order, ties, limits of the filters, counts, bad input.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "pva/analysis/selection.h"
#include "pva/core/error.h"

using namespace pva::analysis;
namespace tt = boost::test_tools;

namespace {

LatentStatistics latent(double auroc, std::uint64_t fired_rows = 50, double p = 0.5) {
    LatentStatistics statistics;
    statistics.auroc = auroc;
    statistics.fired_rows = fired_rows;
    statistics.mann_whitney_p = p;
    return statistics;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(selection_suite)

BOOST_AUTO_TEST_CASE(two_ranked_lists_over_all_layers) {
    const std::vector<LatentStatistics> a = {latent(0.75), latent(0.25), latent(0.5), latent(0.625)};
    const std::vector<LatentStatistics> b = {latent(0.125), latent(0.75), latent(0.625), latent(0.875)};
    const std::vector<double> rates(4, 0.0);
    const std::vector<LayerStatistics> layers = {{9, b, rates, {}}, {2, a, rates, {}}};
    const Selection selection = rank_latents(layers, 10, 10);
    BOOST_TEST(selection.n_latents == 8u);
    BOOST_TEST(selection.n_kept == 8u);
    // 0.875, then the ties 0.75 and 0.625 by layer.
    const std::vector<std::pair<std::uint32_t, std::uint32_t>> right = {{9, 3}, {2, 0}, {9, 1}, {2, 3}, {9, 2}};
    BOOST_REQUIRE(selection.right.size() == right.size());
    for (std::size_t i = 0; i < right.size(); ++i) {
        BOOST_TEST(selection.right[i].layer == right[i].first);
        BOOST_TEST(selection.right[i].latent == right[i].second);
        BOOST_TEST((selection.right[i].direction == Direction::right));
        BOOST_TEST(selection.right[i].score == selection.right[i].statistics.auroc - 0.5);
    }
    BOOST_REQUIRE(selection.wrong.size() == 2u);
    BOOST_TEST(selection.wrong[0].layer == 9u);
    BOOST_TEST(selection.wrong[0].score == 0.375);
    BOOST_TEST(selection.wrong[1].layer == 2u);
    BOOST_TEST(selection.wrong[1].latent == 1u);
    BOOST_TEST((selection.wrong[1].direction == Direction::wrong));
}

BOOST_AUTO_TEST_CASE(ties_within_a_layer_by_latent) {
    const std::vector<LatentStatistics> a(30, latent(0.75));
    const std::vector<double> rates(30, 0.0);
    const std::vector<LayerStatistics> layers = {{0, a, rates, {}}};
    SelectionRule rule;
    rule.top_k = 7;
    const Selection selection = rank_latents(layers, 10, 10, rule);
    BOOST_REQUIRE(selection.right.size() == 7u);
    for (std::uint32_t i = 0; i < 7; ++i)
        BOOST_TEST(selection.right[i].latent == i);
    BOOST_TEST(selection.wrong.empty());
    rule.top_k = 0;
    BOOST_TEST(rank_latents(layers, 10, 10, rule).right.empty());
}

BOOST_AUTO_TEST_CASE(filters_include_their_limits) {
    // 20 of 1000 positions is 2 % exactly, and kept; 5 rows are kept, 4 are not.
    const std::vector<LatentStatistics> a = {latent(0.6), latent(0.7), latent(0.8, 5), latent(0.9, 4), latent(0.99, 4)};
    const std::vector<double> rates = {20.0 / 1000, 21.0 / 1000, 0, 0, 0.9};
    const std::vector<LayerStatistics> layers = {{0, a, rates, {}}};
    const Selection selection = rank_latents(layers, 10, 10);
    BOOST_TEST(selection.n_latents == 5u);
    BOOST_TEST(selection.n_dropped_rare == 2u);
    BOOST_TEST(selection.n_dropped_general_text == 1u);
    BOOST_TEST(selection.n_kept == 2u);
    BOOST_REQUIRE(selection.right.size() == 2u);
    BOOST_TEST(selection.right[0].latent == 2u);
    BOOST_TEST(selection.right[1].latent == 0u);
    BOOST_TEST(selection.right[1].general_text_rate == 0.02);
}

BOOST_AUTO_TEST_CASE(published_rule_filters_after_taking_the_first) {
    // Strictly below the limit, and latents beyond the first three are not looked at even when others are dropped.
    const std::vector<LatentStatistics> a = {latent(0.9), latent(0.8), latent(0.7), latent(0.65), latent(0.6)};
    const std::vector<double> rates = {0.5, 0.02, 0.01, 0, 0};
    const std::vector<LayerStatistics> layers = {{0, a, rates, {}}};
    SelectionRule rule;
    rule.strict = true;
    rule.min_rows = 0;
    rule.filter_after = 3;
    const Selection selection = rank_latents(layers, 10, 10, rule);
    BOOST_REQUIRE(selection.right.size() == 1u);
    BOOST_TEST(selection.right[0].latent == 2u);
    BOOST_TEST(selection.n_dropped_general_text == 2u);
    BOOST_TEST((selection.kept[0][1] == Kept::general_text));
    rule.filter_after = 0;
    BOOST_TEST(rank_latents(layers, 10, 10, rule).right.size() == 3u);
}

BOOST_AUTO_TEST_CASE(other_scores_rank_otherwise) {
    std::vector<LatentStatistics> a = {latent(0.9), latent(0.6), latent(0.7)};
    a[0].cohens_d = 0.1;
    a[1].cohens_d = 0.9;
    a[2].cohens_d = -2;
    a[2].frequency_difference = 0.25;
    const std::vector<double> rates(3, 0.0);
    const std::vector<LayerStatistics> layers = {{0, a, rates, {}}};
    SelectionRule rule;
    rule.score = Score::cohens_d;
    const Selection by_d = rank_latents(layers, 10, 10, rule);
    BOOST_REQUIRE(by_d.right.size() == 2u);
    BOOST_TEST(by_d.right[0].latent == 1u);
    BOOST_REQUIRE(by_d.wrong.size() == 1u);
    BOOST_TEST(by_d.wrong[0].score == 2.0);
    rule.score = Score::frequency_difference;
    BOOST_TEST(rank_latents(layers, 10, 10, rule).right.size() == 1u);
}

BOOST_AUTO_TEST_CASE(q_values_may_come_from_permutations) {
    const std::vector<LatentStatistics> a = {latent(0.6, 50, 0.9), latent(0.4, 50, 0.9)};
    const std::vector<double> rates(2, 0.0), p = {0.01, 0.04};
    SelectionRule rule;
    rule.q_from = TestFor::permutation;
    const std::vector<LayerStatistics> layers = {{0, a, rates, p}};
    BOOST_TEST(rank_latents(layers, 10, 10, rule).q_values[0][0] == 0.02, tt::tolerance(1e-15));
    const std::vector<LayerStatistics> without = {{0, a, rates, {}}};
    BOOST_CHECK_THROW(rank_latents(without, 10, 10, rule), pva::InputError);
}

BOOST_AUTO_TEST_CASE(q_values_count_tested_latents_only) {
    const std::vector<LatentStatistics> a = {latent(0.6, 50, 0.01), latent(0.4, 50, 0.04), latent(0.9, 0, 0.0)};
    const std::vector<double> rates(3, 0.0);
    const std::vector<LayerStatistics> layers = {{0, a, rates, {}}};
    const Selection selection = rank_latents(layers, 10, 10);
    BOOST_TEST(selection.right[0].q_value == 0.02, tt::tolerance(1e-15));
    BOOST_TEST(selection.wrong[0].q_value == 0.04, tt::tolerance(1e-15));
    BOOST_TEST(std::isnan(selection.q_values[0][2]));
    // Latents of general language are tested too.
    const std::vector<double> high(3, 0.5);
    const std::vector<LayerStatistics> general = {{0, a, high, {}}};
    BOOST_TEST(rank_latents(general, 10, 10).q_values[0][0] == 0.02, tt::tolerance(1e-15));
}

BOOST_AUTO_TEST_CASE(nothing_left) {
    BOOST_TEST(rank_latents({}, 10, 10).n_latents == 0u);
    const std::vector<LatentStatistics> a = {latent(0.9, 0)};
    const std::vector<double> rates = {0};
    const std::vector<LayerStatistics> layers = {{0, a, rates, {}}};
    BOOST_TEST(rank_latents(layers, 10, 10).right.empty());
    BOOST_TEST(rank_latents(layers, 10, 10).n_dropped_rare == 1u);
}

BOOST_AUTO_TEST_CASE(bad_input) {
    const std::vector<LatentStatistics> a = {latent(0.6), latent(0.7)};
    const std::vector<double> good = {0, 0}, short_rates = {0}, not_measured = {0, std::nan("")}, too_high = {0, 1.5};
    const auto refused = [](const std::vector<LayerStatistics>& layers, const std::string& part) {
        BOOST_CHECK_EXCEPTION(rank_latents(layers, 10, 10), pva::InputError, [&](const pva::InputError& error) {
            return std::string(error.what()).find(part) != std::string::npos;
        });
    };
    refused({{3, a, short_rates, {}}}, "layer 3 has statistics of 2 latents but firing rates on general text of 1");
    refused({{3, a, not_measured, {}}}, "layer 3, latent 1");
    refused({{3, a, too_high, {}}}, "layer 3, latent 1");
    refused({{3, a, good, {}}, {3, a, good, {}}}, "layer 3 is given twice");
    const std::vector<LayerStatistics> layers = {{3, a, good, {}}};
    SelectionRule rule;
    rule.max_general_text_rate = -0.1;
    BOOST_CHECK_THROW(rank_latents(layers, 10, 10, rule), pva::InputError);
}

BOOST_AUTO_TEST_SUITE_END()
