// Agreement with SciPy and scikit-learn: tests/golden/analysis.json (made by tests/reference/analysis/make_golden.py).
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../golden_document.h"
#include "pva/analysis/bag_of_words.h"
#include "pva/analysis/detection.h"
#include "pva/analysis/latent_statistics.h"
#include "pva/stats/ranks.h"

using namespace pva::analysis;
using nlohmann::json;

namespace {

const json& golden() {
    static const json document = golden_document("analysis.json");
    return document;
}

// 1e-10 relative, and as much absolute for differences that can vanish.
void expect_close(double computed, const json& expected, const std::string& what) {
    ::expect_close(computed, expected, what, 1e-4);
}

double auroc_of(const std::vector<double>& scores, const std::vector<std::uint8_t>& labels) {
    const pva::stats::TwoGroups groups = pva::stats::split_by_label(scores, labels);
    return pva::stats::auroc(groups.positives, groups.negatives);
}

// Largest difference between two lists of decision values.
double largest_difference(const std::vector<double>& computed, const std::vector<double>& expected) {
    BOOST_REQUIRE(computed.size() == expected.size());
    double largest = 0;
    for (std::size_t i = 0; i < computed.size(); ++i)
        largest = std::max(largest, std::fabs(computed[i] - expected[i]));
    return largest;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(golden_suite)

BOOST_AUTO_TEST_CASE(latents) {
    for (const json& matrix : golden()["latent_statistics"]) {
        const auto offsets = matrix["row_offsets"].get<std::vector<std::uint64_t>>();
        const auto latents = matrix["latents"].get<std::vector<std::uint32_t>>();
        const auto values = matrix["values"].get<std::vector<float>>();
        const auto labels = matrix["labels"].get<std::vector<std::uint8_t>>();
        const auto n_latents = matrix["n_latents"].get<std::uint32_t>();
        const auto computed = latent_statistics({offsets, latents, values, n_latents}, labels, 0, n_latents);
        for (std::uint32_t j = 0; j < n_latents; ++j) {
            const json& expected = matrix["expected"][j];
            const std::string where = " of latent " + std::to_string(j);
            const LatentStatistics& s = computed[j];
            BOOST_TEST(s.fired_rows == expected["fired_rows"].get<std::uint64_t>());
            expect_close(s.firing_share_right, expected["firing_share_right"], "firing share, right," + where);
            expect_close(s.firing_share_wrong, expected["firing_share_wrong"], "firing share, wrong," + where);
            expect_close(s.mean_right, expected["mean_right"], "mean, right," + where);
            expect_close(s.mean_wrong, expected["mean_wrong"], "mean, wrong," + where);
            expect_close(s.variance_right, expected["variance_right"], "variance, right," + where);
            expect_close(s.variance_wrong, expected["variance_wrong"], "variance, wrong," + where);
            expect_close(s.cohens_d, expected["cohens_d"], "Cohen's d" + where);
            expect_close(s.welch_t, expected["welch_t"], "t" + where);
            expect_close(s.welch_df, expected["welch_df"], "df" + where);
            expect_close(s.welch_p, expected["welch_p"], "p" + where);
            expect_close(s.auroc, expected["auroc"], "AUROC" + where);
            expect_close(s.auroc_standard_error, expected["auroc_standard_error"], "standard error" + where);
        }
    }
}

BOOST_AUTO_TEST_CASE(detection) {
    for (const json& c : golden()["detection"]) {
        const auto tuning = c["tuning"].get<std::vector<double>>();
        const auto tuning_passed = c["tuning_passed"].get<std::vector<std::uint8_t>>();
        const auto analysis = c["analysis"].get<std::vector<double>>();
        const auto analysis_passed = c["analysis_passed"].get<std::vector<std::uint8_t>>();
        const Direction positive = c["positive_class"] == "right" ? Direction::right : Direction::wrong;
        const DetectionResult r = detect({tuning, tuning_passed}, {analysis, analysis_passed}, positive);
        const json& expected = c["expected"];
        BOOST_TEST(r.threshold == expected["threshold"].get<double>());
        expect_close(r.tuning_f1, expected["tuning_f1"], "F1 on the tuning part");
        BOOST_TEST(r.counts.true_positives == expected["tp"].get<std::uint64_t>());
        BOOST_TEST(r.counts.false_positives == expected["fp"].get<std::uint64_t>());
        BOOST_TEST(r.counts.true_negatives == expected["tn"].get<std::uint64_t>());
        BOOST_TEST(r.counts.false_negatives == expected["fn"].get<std::uint64_t>());
        expect_close(r.base_rate, expected["base_rate"], "base rate");
        expect_close(r.auroc, expected["auroc"], "AUROC");
        expect_close(r.auroc_standard_error, expected["auroc_standard_error"], "standard error");
        expect_close(r.auroc_interval.lower, expected["lower"], "lower limit");
        expect_close(r.auroc_interval.upper, expected["upper"], "upper limit");
        expect_close(r.f1, expected["f1"], "F1");
        expect_close(r.always_positive_f1, expected["always_positive_f1"], "always-positive F1");
        expect_close(r.precision, expected["precision"], "precision");
        expect_close(r.recall, expected["recall"], "recall");
        expect_close(r.balanced_accuracy, expected["balanced_accuracy"], "balanced accuracy");
        expect_close(r.mcc, expected["mcc"], "MCC");
        expect_close(r.average_precision, expected["average_precision"], "average precision");
    }
}

BOOST_AUTO_TEST_CASE(bag_of_words) {
    const json& c = golden()["bag_of_words"];
    const auto train = c["train"].get<std::vector<std::string>>();
    const auto held_out = c["held_out"].get<std::vector<std::string>>();
    const BagOfWords model = fit_bag_of_words(train, c["train_labels"].get<std::vector<std::uint8_t>>());
    BOOST_TEST(model.vocabulary == c["vocabulary"].get<std::vector<std::string>>(), boost::test_tools::per_element());
    BOOST_TEST(std::fabs(model.intercept - c["intercept"].get<double>()) < 1e-6);
    const std::vector<double> values = decision_values(model, held_out);
    const double train_difference =
        largest_difference(decision_values(model, train), c["train_values"].get<std::vector<double>>());
    const double difference = largest_difference(values, c["held_out_values"].get<std::vector<double>>());
    BOOST_TEST_MESSAGE("decision values differ by at most " << train_difference << " and " << difference);
    BOOST_TEST(train_difference < 1e-6);
    BOOST_TEST(difference < 1e-6);
    BOOST_TEST(auroc_of(values, c["held_out_labels"].get<std::vector<std::uint8_t>>()) ==
               c["held_out_auroc"].get<double>());
}

BOOST_AUTO_TEST_CASE(bag_of_words_of_mbpp) {
    std::ifstream file(PVA_SOURCE_DIR "/../shared/data/mbpp/mbpp.jsonl");
    if (!file) {
        std::printf("skipped: no MBPP file beside the checkout\n");
        BOOST_TEST_MESSAGE("skipped");
        return;
    }
    const json& c = golden()["bag_of_words_mbpp"];
    std::vector<std::string> texts[2];
    std::vector<std::uint8_t> labels[2];
    std::size_t row = 0;
    for (std::string line; std::getline(file, line); ++row) {
        const json problem = json::parse(line);
        const std::string code = problem["code"];
        texts[row % 2].push_back(problem["text"]);
        labels[row % 2].push_back(std::count(code.begin(), code.end(), '\n') < 8);
    }
    const BagOfWords model = fit_bag_of_words(texts[0], labels[0]);
    BOOST_TEST(model.vocabulary.size() == c["n_terms"].get<std::size_t>());
    const std::vector<double> values = decision_values(model, texts[1]);
    const double difference = largest_difference(values, c["held_out_values"].get<std::vector<double>>());
    BOOST_TEST_MESSAGE("decision values differ by at most " << difference);
    BOOST_TEST(difference < 1e-6);
    BOOST_TEST(auroc_of(values, labels[1]) == c["held_out_auroc"].get<double>());
}

BOOST_AUTO_TEST_SUITE_END()
