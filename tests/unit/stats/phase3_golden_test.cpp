// Exact tests, trends, curves, power, corrections and bootstraps over problems against SciPy, scikit-learn and
// statsmodels: tests/golden/stats_phase3.json (made by tests/reference/stats/make_phase3_golden.py).
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "close_to.h"
#include "pva/stats/binomial_test.h"
#include "pva/stats/cluster_bootstrap.h"
#include "pva/stats/curves.h"
#include "pva/stats/fisher.h"
#include "pva/stats/multiple.h"
#include "pva/stats/one_standard_error.h"
#include "pva/stats/paired_outcomes.h"
#include "pva/stats/power.h"
#include "pva/stats/trend.h"

using namespace pva::stats;
using nlohmann::json;

namespace {

const json& golden() {
    static const json document = golden_document("stats_phase3.json");
    return document;
}

constexpr std::pair<Alternative, const char*> sides[] = {
    {Alternative::two_sided, "two_sided"}, {Alternative::less, "less"}, {Alternative::greater, "greater"}};

}  // namespace

BOOST_AUTO_TEST_SUITE(phase3_golden)

BOOST_AUTO_TEST_CASE(mcnemar_counts) {
    BOOST_REQUIRE(golden()["mcnemar"].size() >= 13u);
    for (const json& expected : golden()["mcnemar"]) {
        const McNemar test = mcnemar(expected["gained"], expected["lost"]);
        expect_close(test.p, expected["p"], "McNemar " + expected.dump());
        expect_close(test.mid_p, expected["mid_p"], "McNemar mid-p " + expected.dump());
        BOOST_TEST(mcnemar(expected["lost"], expected["gained"]).p == test.p);
    }
}

BOOST_AUTO_TEST_CASE(newcombe_intervals) {
    BOOST_REQUIRE(golden()["newcombe"].size() >= 26u);
    for (const json& expected : golden()["newcombe"]) {
        const auto counts = expected["counts"].get<std::vector<std::uint64_t>>();
        const PairedOutcomes outcomes{counts[0], counts[1], counts[2], counts[3]};
        const Interval interval = newcombe_paired(outcomes, expected["confidence"]);
        expect_close(interval.lower, expected["interval"][0], "Newcombe lower " + expected.dump(), 1);
        expect_close(interval.upper, expected["interval"][1], "Newcombe upper " + expected.dump(), 1);
        expect_close(net_change(outcomes), expected["net"], "net change");
        expect_close(net_change_standard_error(outcomes), expected["standard_error"], "standard error of net change",
                     1e-3);
    }
}

BOOST_AUTO_TEST_CASE(fisher_tables) {
    BOOST_REQUIRE(golden()["fisher"].size() >= 15u);
    for (const json& expected : golden()["fisher"]) {
        const auto t = expected["table"].get<std::vector<std::uint64_t>>();
        for (const auto& [side, name] : sides) {
            expect_close(fisher_exact_p({t[0], t[1], t[2], t[3]}, side), expected[name], name + expected.dump());
            // The same table seen from its other margin.
            expect_close(fisher_exact_p({t[0], t[2], t[1], t[3]}, side), expected[name],
                         name + (" turned " + expected.dump()));
        }
    }
}

BOOST_AUTO_TEST_CASE(binomial_tests) {
    BOOST_REQUIRE(golden()["binomial"].size() >= 18u);
    for (const json& expected : golden()["binomial"]) {
        for (const auto& [side, name] : sides)
            expect_close(binomial_p(expected["successes"], expected["trials"], expected["rate"], side), expected[name],
                         name + expected.dump());
    }
}

BOOST_AUTO_TEST_CASE(holm_lists) {
    for (const json& expected : golden()["holm"])
        expect_close(holm(expected["p"].get<std::vector<double>>()), expected["adjusted"], "Holm");
}

BOOST_AUTO_TEST_CASE(trends_of_shares) {
    BOOST_REQUIRE(golden()["cochran_armitage"].size() >= 7u);
    for (const json& expected : golden()["cochran_armitage"]) {
        const auto successes = expected["successes"].get<std::vector<std::uint64_t>>();
        const auto trials = expected["trials"].get<std::vector<std::uint64_t>>();
        const auto scores = expected["scores"].get<std::vector<double>>();
        const TrendTest test = cochran_armitage(successes, trials, scores);
        expect_close(test.z, expected["z"], "trend z " + expected.dump(), 1e-3);
        expect_close(test.p, expected["p"], "trend p " + expected.dump());
        expect_close(cochran_armitage(successes, trials, scores, Alternative::greater).p, expected["greater"],
                     "trend, greater");
        expect_close(cochran_armitage(successes, trials, scores, Alternative::less).p, expected["less"], "trend, less");
    }
}

BOOST_AUTO_TEST_CASE(trends_of_estimates) {
    for (const json& expected : golden()["weighted_trend"]) {
        const auto errors = expected["standard_errors"].get<std::vector<double>>();
        const auto scores = expected["scores"].get<std::vector<double>>();
        const auto estimates = expected["estimates"].get<std::vector<double>>();
        const LinearTrend trend = weighted_trend(scores, estimates, errors);
        expect_close(trend.slope, expected["slope"], "slope");
        expect_close(trend.standard_error, expected["standard_error"], "standard error of the slope");
        expect_close(trend.z, expected["z"], "z of the slope");
        expect_close(trend.p, expected["p"], "p of the slope");
        std::vector<double> weights;
        for (const double error : errors)
            weights.push_back(1 / (error * error));
        expect_close(weighted_slope(scores, estimates, weights), expected["slope"], "slope alone");
    }
}

BOOST_AUTO_TEST_CASE(power_of_an_auroc) {
    int unreachable = 0;
    for (const json& expected : golden()["power"]) {
        const std::uint64_t n1 = expected["n_positives"], n0 = expected["n_negatives"];
        const PowerSettings settings{expected["alpha"], expected["power"]};
        const double smallest = smallest_detectable_auroc(n1, n0, settings);
        if (expected["auroc"].is_null()) {
            BOOST_TEST(std::isnan(smallest));
            ++unreachable;
        } else {
            expect_close(smallest, expected["auroc"], "smallest AUROC " + expected.dump());
            BOOST_TEST(auroc_power(smallest, n1, n0, settings.alpha) == settings.power,
                       boost::test_tools::tolerance(1e-8));
        }
        expect_close(hanley_mcneil_standard_error(0.6, n1, n0), expected["standard_error_060"],
                     "standard error at 0.6");
        expect_close(hanley_mcneil_standard_error(0.5, n1, n0), expected["standard_error_null"],
                     "standard error at 0.5");
        expect_close(auroc_power(0.6, n1, n0, settings.alpha), expected["power_060"], "power at 0.6");
    }
    BOOST_TEST(unreachable == 3);
}

BOOST_AUTO_TEST_CASE(curves_of_a_detector) {
    for (const json& expected : golden()["curves"]) {
        const auto scores = expected["scores"].get<std::vector<double>>();
        const auto labels = expected["labels"].get<std::vector<std::uint8_t>>();
        const ThresholdCurve curve = threshold_curve(scores, labels);
        BOOST_TEST(std::isinf(curve.thresholds.front()));
        const std::vector<double> thresholds(curve.thresholds.begin() + 1, curve.thresholds.end());
        BOOST_TEST(thresholds == expected["thresholds"].get<std::vector<double>>(), boost::test_tools::per_element());
        expect_close(roc_curve(curve).x, expected["fpr"], "false-positive rate");
        expect_close(roc_curve(curve).y, expected["tpr"], "true-positive rate");
        expect_close(precision_recall_curve(curve).x, expected["recall"], "recall");
        expect_close(precision_recall_curve(curve).y, expected["precision"], "precision");
        expect_close(f1_curve(curve), expected["f1"], "F1");
        for (std::size_t i = 0; i < curve.size(); ++i) {
            const ConfusionCounts direct = confusion(scores, labels, curve.thresholds[i]);
            BOOST_TEST((direct.true_positives == curve.counts(i).true_positives &&
                        direct.false_negatives == curve.counts(i).false_negatives &&
                        direct.true_negatives == curve.counts(i).true_negatives &&
                        direct.false_positives == curve.counts(i).false_positives));
        }
        const double ap = expected["average_precision"], base = expected["base_rate"];
        expect_close(average_precision_lift(average_precision(scores, labels), base), ap / base, "lift");
    }
}

BOOST_AUTO_TEST_CASE(one_standard_error_curves) {
    for (const json& expected : golden()["one_standard_error"]) {
        std::vector<CurvePoint> points;
        for (std::size_t i = 0; i < expected["settings"].size(); ++i)
            points.push_back({expected["settings"][i], expected["estimates"][i], expected["standard_errors"][i]});
        const OneStandardErrorChoice choice = one_standard_error_choice(points);
        BOOST_TEST(choice.best == expected["best"].get<std::size_t>());
        BOOST_TEST(choice.chosen == expected["chosen"].get<std::size_t>());
        expect_close(choice.bar, expected["bar"], "bar", 1e-2);
    }
}

BOOST_AUTO_TEST_CASE(draws_of_problems) {
    for (const json& expected : golden()["cluster_bootstrap"]) {
        const auto labels = expected["labels"].get<std::vector<std::uint8_t>>();
        const auto clusters = expected["clusters"].get<std::vector<std::uint32_t>>();
        const std::uint32_t n = expected["n_clusters"];
        const ClusteredScores a(expected["a"].get<std::vector<double>>(), labels, clusters, n);
        const ClusteredScores b(expected["b"].get<std::vector<double>>(), labels, clusters, n);
        expect_close(auroc_or_nan(a.tie_groups()), expected["auroc_a"], "AUROC of all problems");
        for (const json& draw : expected["draws"]) {
            const auto drawn = draw["drawn"].get<std::vector<std::uint32_t>>();
            expect_close(auroc_or_nan(a.tie_groups(drawn)), draw["auroc_a"], "AUROC of a draw");
            expect_close(auroc_or_nan(b.tie_groups(drawn)), draw["auroc_b"], "AUROC of a draw, other score");
            expect_close(average_precision_or_nan(a.tie_groups(drawn)), draw["average_precision_a"],
                         "average precision of a draw");
        }
        for (std::uint32_t c = 0; c < n; ++c)
            expect_close(auroc_or_nan(a.tie_groups_without(c)), expected["auroc_a_without"][c],
                         "AUROC without a problem");
    }
}

BOOST_AUTO_TEST_SUITE_END()
