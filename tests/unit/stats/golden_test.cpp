// Agreement with SciPy, scikit-learn and brute force: tests/golden/stats.json (made by
// tests/reference/stats/make_golden.py).
#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "close_to.h"
#include "pva/stats/classification.h"
#include "pva/stats/intervals.h"
#include "pva/stats/moments.h"
#include "pva/stats/multiple.h"
#include "pva/stats/ranks.h"
#include "pva/stats/thresholds.h"

using namespace pva::stats;
using nlohmann::json;

namespace {

const json& golden() {
    static const json document = golden_document("stats.json");
    return document;
}

void expect_counts(const ConfusionCounts& c, const json& expected, const std::string& what) {
    BOOST_CHECK_MESSAGE(c.true_positives == expected["tp"] && c.false_positives == expected["fp"] &&
                            c.true_negatives == expected["tn"] && c.false_negatives == expected["fn"],
                        what << ": confusion counts differ");
    expect_close(precision(c), expected["precision"], what + " precision");
    expect_close(recall(c), expected["recall"], what + " recall");
    expect_close(f1(c), expected["f1"], what + " F1");
    expect_close(balanced_accuracy(c), expected["balanced_accuracy"], what + " balanced accuracy");
    expect_close(mcc(c), expected["mcc"], what + " MCC", 1e-3);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(golden_suite)

BOOST_AUTO_TEST_CASE(two_groups) {
    BOOST_REQUIRE(golden()["two_groups"].size() >= 18u);
    for (const auto& [name, expected] : golden()["two_groups"].items()) {
        const auto scores = expected["scores"].get<std::vector<double>>();
        const auto labels = expected["labels"].get<std::vector<std::uint8_t>>();
        const TwoGroups groups = split_by_label(scores, labels);
        const Moments a = moments(groups.positives);
        const Moments b = moments(groups.negatives);
        for (const auto& [m, key] : {std::pair{a, "positives"}, std::pair{b, "negatives"}}) {
            BOOST_TEST(m.count == expected[key]["count"].get<std::uint64_t>());
            expect_close(m.mean, expected[key]["mean"], name + " mean");
            if (expected[key].contains("variance")) {
                expect_close(m.variance(), expected[key]["variance"], name + " variance");
            }
        }
        if (expected.contains("welch")) {
            const WelchTest welch = welch_t(a, b);
            expect_close(welch.t, expected["welch"]["t"], name + " t");
            expect_close(welch.df, expected["welch"]["df"], name + " df");
            expect_close(welch.p, expected["welch"]["p"], name + " p");
            expect_close(cohens_d(a, b), expected["cohens_d"], name + " d");
            expect_close(hedges_g(a, b), expected["hedges_g"], name + " g");
        }
        const auto ranks = expected["midranks"].get<std::vector<double>>();
        BOOST_TEST(midranks(scores) == ranks, boost::test_tools::per_element());
        if (expected.contains("mann_whitney")) {
            const MannWhitney plain = mann_whitney(groups.positives, groups.negatives);
            expect_close(plain.u, expected["mann_whitney"]["u"], name + " U");
            expect_close(plain.p, expected["mann_whitney"]["p"], name + " p of U");
            const MannWhitney corrected = mann_whitney(groups.positives, groups.negatives, ContinuityCorrection::half);
            expect_close(corrected.p, expected["mann_whitney_corrected"]["p"], name + " corrected p of U");
        }
        expect_close(auroc(groups.positives, groups.negatives), expected["auroc"], name + " AUROC");
        expect_close(average_precision(scores, labels), expected["average_precision"], name + " average precision");
        if (expected.contains("delong")) {
            const DelongAuroc result = delong(groups.positives, groups.negatives);
            expect_close(result.variance, expected["delong"]["variance"], name + " DeLong variance", 1e-6);
            const Interval interval = delong_interval(result);
            BOOST_TEST((interval.lower >= 0 && interval.lower <= result.auroc));
            BOOST_TEST((interval.upper <= 1 && interval.upper >= result.auroc));
            if (expected["delong"].contains("interval")) {
                expect_close(interval.lower, expected["delong"]["interval"][0], name + " lower limit");
                expect_close(interval.upper, expected["delong"]["interval"][1], name + " upper limit");
            }
        }
        const std::vector<double> candidates = candidate_thresholds(scores);
        BOOST_TEST(candidates == expected["candidates"].get<std::vector<double>>(), boost::test_tools::per_element());
        const Threshold best_f1 = f1_optimal_threshold(scores, labels);
        BOOST_TEST(best_f1.value == expected["f1"]["threshold"].get<double>(), name << " F1 threshold");
        expect_counts(best_f1.counts, expected["f1"], name + " at the best F1");
        const Threshold best_youden = youden_threshold(scores, labels);
        BOOST_TEST(best_youden.value == expected["youden"]["threshold"].get<double>(), name << " Youden threshold");
        expect_counts(best_youden.counts, expected["youden"], name + " at the best Youden index");
        expect_counts(confusion(scores, labels, best_f1.value), expected["f1"], name + " confusion");
    }
}

BOOST_AUTO_TEST_CASE(paired_delong) {
    for (const json& expected : golden()["paired_delong"]) {
        const auto a = expected["a"].get<std::vector<double>>();
        const auto b = expected["b"].get<std::vector<double>>();
        const PairedDelong result = delong_paired(a, b, expected["labels"].get<std::vector<std::uint8_t>>());
        expect_close(result.auroc_a, expected["auroc_a"], "first AUROC");
        expect_close(result.auroc_b, expected["auroc_b"], "second AUROC");
        expect_close(result.variance, expected["variance"], "variance of the difference");
        expect_close(result.z, expected["z"], "z");
        expect_close(result.p, expected["p"], "p");
    }
}

BOOST_AUTO_TEST_CASE(proportions) {
    for (const json& expected : golden()["proportions"]) {
        const auto k = expected["successes"].get<std::uint64_t>();
        const auto n = expected["trials"].get<std::uint64_t>();
        for (const auto& [level, suffix] : {std::pair{0.95, "95"}, std::pair{0.99, "99"}}) {
            const std::string what = std::to_string(k) + "/" + std::to_string(n) + " at " + suffix;
            const json& w = expected["wilson_" + std::string(suffix)];
            expect_close(wilson(k, n, level).lower, w[0], "Wilson lower " + what, 1e-6);
            expect_close(wilson(k, n, level).upper, w[1], "Wilson upper " + what);
            const json& c = expected["clopper_pearson_" + std::string(suffix)];
            expect_close(clopper_pearson(k, n, level).lower, c[0], "Clopper-Pearson lower " + what);
            expect_close(clopper_pearson(k, n, level).upper, c[1], "Clopper-Pearson upper " + what);
        }
    }
}

BOOST_AUTO_TEST_CASE(benjamini_hochberg_lists) {
    for (const json& expected : golden()["benjamini_hochberg"]) {
        const std::vector<double> q = benjamini_hochberg(expected["p"].get<std::vector<double>>());
        BOOST_REQUIRE(q.size() == expected["q"].size());
        for (std::size_t i = 0; i < q.size(); ++i)
            expect_close(q[i], expected["q"][i], "q-value");
    }
}

BOOST_AUTO_TEST_SUITE_END()
