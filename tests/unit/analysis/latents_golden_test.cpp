// Agreement of latent statistics, comparisons within groups, logistic probes and published scores with SciPy, scikit-learn
// and statsmodels: tests/golden/latents.json (made by tests/reference/analysis/make_latents_golden.py).
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "../golden_document.h"
#include "pva/analysis/baselines.h"
#include "pva/analysis/latent_permutation.h"
#include "pva/analysis/latent_statistics.h"
#include "pva/analysis/logistic.h"
#include "pva/analysis/score.h"
#include "pva/analysis/selection.h"
#include "pva/analysis/within_groups.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"

using namespace pva::analysis;
using nlohmann::json;
namespace stats = pva::stats;
namespace tt = boost::test_tools;

namespace {

const json& golden() {
    static const json document = golden_document("latents.json");
    return document;
}

// 1e-10 relative, and as much absolute for differences that can vanish; null is NaN, "inf" infinity.
void expect_close(double computed, const json& expected, const std::string& what) {
    if (expected.is_null()) {
        BOOST_CHECK_MESSAGE(std::isnan(computed), what << ": computed " << computed << ", expected NaN");
        return;
    }
    if (expected.is_string()) {
        BOOST_CHECK_MESSAGE(std::isinf(computed) && (computed > 0) == (expected == "inf"), what << ": computed " << computed << ", expected " << expected);
        return;
    }
    ::expect_close(computed, expected, what, 1e-4);
}

struct Matrix {
    std::vector<std::uint64_t> offsets;
    std::vector<std::uint32_t> latents;
    std::vector<float> values;
    std::vector<std::uint8_t> labels;
    std::uint32_t n_latents;
    stats::CsrView view() const { return {offsets, latents, values, n_latents}; }
};

Matrix matrix_of(const json& j) {
    return {j["row_offsets"].get<std::vector<std::uint64_t>>(), j["latents"].get<std::vector<std::uint32_t>>(), j["values"].get<std::vector<float>>(),
            j["labels"].get<std::vector<std::uint8_t>>(), j["n_latents"].get<std::uint32_t>()};
}

DenseRows dense_rows(const json& j) {
    DenseRows x{j.size(), j[0].size(), {}};
    for (const json& row : j) {
        for (const json& value : row) x.values.push_back(value.get<double>());
    }
    return x;
}

std::vector<double> dense_column(const stats::SparseColumns& columns, std::size_t column) {
    std::vector<double> values(columns.n_rows, 0.0);
    for (std::size_t i = 0; i < columns.rows_of(column).size(); ++i) values[columns.rows_of(column)[i]] = columns.values_of(column)[i];
    return values;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
    BOOST_REQUIRE(a.size() == b.size());
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
    return largest;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(latents_golden_suite)

BOOST_AUTO_TEST_CASE(statistics) {
    int exact = 0, one_member = 0;
    for (const json& j : golden()["latents"]) {
        const Matrix m = matrix_of(j);
        const auto computed = latent_statistics(m.view(), m.labels, 0, m.n_latents);
        const auto columns = stats::sparse_columns(m.view(), 0, m.n_latents);
        for (std::uint32_t k = 0; k < m.n_latents; ++k) {
            const json& expected = j["expected"][k];
            const LatentStatistics dense = score_statistics(dense_column(columns, k), m.labels);
            for (const LatentStatistics& s : {computed[k], dense}) {
                const std::string where = " of latent " + std::to_string(k) + " of " + std::to_string(m.labels.size()) + " rows";
                expect_close(s.frequency_difference, expected["frequency_difference"], "frequency difference" + where);
                expect_close(s.auroc, expected["auroc"], "AUROC" + where);
                expect_close(s.mann_whitney_z, expected["z"], "z" + where);
                if (expected.contains("welch_t")) {  // a class of one row: NaN
                    ++one_member;
                    expect_close(s.cohens_d, expected["cohens_d"], "d" + where);
                    expect_close(s.welch_t, expected["welch_t"], "t" + where);
                    expect_close(s.welch_df, expected["welch_df"], "df" + where);
                    expect_close(s.welch_p, expected["welch_p"], "p of t" + where);
                    expect_close(s.variance_right, expected["variance_right"], "variance, right," + where);
                    expect_close(s.variance_wrong, expected["variance_wrong"], "variance, wrong," + where);
                }
                expect_close(s.auroc_standard_error, expected["auroc_standard_error"], "standard error" + where);
                if (expected.contains("auroc_low")) {
                    expect_close(s.auroc_low, expected["auroc_low"], "lower limit" + where);
                    expect_close(s.auroc_high, expected["auroc_high"], "upper limit" + where);
                }
                if (s.mann_whitney_exact != 0) {
                    if (expected.contains("exact_p")) {
                        ++exact;
                        expect_close(s.mann_whitney_p, expected["exact_p"], "exact p" + where);
                    }
                } else {
                    BOOST_TEST(!expected.contains("exact_p"), "p should be exact" + where);
                    expect_close(s.mann_whitney_p, expected["asymptotic_p"], "p" + where);
                }
            }
        }
    }
    BOOST_TEST(exact > 30);
    BOOST_TEST(one_member == 32);
}

BOOST_AUTO_TEST_CASE(comparisons_within_groups) {
    for (const json& j : golden()["latents"]) {
        const Matrix m = matrix_of(j);
        const auto groups = j["groups"].get<std::vector<std::uint32_t>>();
        const auto n_groups = j["n_groups"].get<std::uint32_t>();
        const auto columns = stats::sparse_columns(m.view(), 0, m.n_latents);
        const auto computed = within_groups(columns, m.labels, groups, n_groups);
        for (std::uint32_t k = 0; k < m.n_latents; ++k) {
            const json& expected = j["within"][k];
            for (const WithinGroups& w : {computed[k], within_groups(dense_column(columns, k), m.labels, groups, n_groups)}) {
                const std::string where = " within groups of latent " + std::to_string(k) + " of " + std::to_string(m.labels.size()) + " rows";
                expect_close(w.auroc, expected["auroc"], "AUROC" + where);
                expect_close(w.p, expected["p"], "p" + where);
                expect_close(w.frequency_difference, expected["frequency_difference"], "frequency difference" + where);
                if (expected.contains("t")) {
                    expect_close(w.t, expected["t"], "t" + where);
                    expect_close(w.cohens_d, expected["cohens_d"], "d" + where);
                }
            }
        }
    }
    const std::vector<double> scores = {1, 2};
    const std::vector<std::uint8_t> labels = {0, 1};
    // Different groups: nothing can be compared.
    BOOST_TEST(within_groups(scores, labels, std::vector<std::uint32_t>{0, 1}, 2).auroc == 0.5);
    BOOST_TEST(within_groups(scores, labels, std::vector<std::uint32_t>{0, 0}, 1).auroc == 1.0);
    BOOST_CHECK_THROW(within_groups(scores, labels, std::vector<std::uint32_t>{0, 2}, 2), pva::InputError);
    BOOST_CHECK_THROW(within_groups(scores, labels, std::vector<std::uint32_t>{0}, 2), pva::InputError);
}

BOOST_AUTO_TEST_CASE(logistic_regression) {
    for (const json& j : golden()["logistic"]) {
        const DenseRows x = dense_rows(j["x"]);
        const auto labels = j["labels"].get<std::vector<std::uint8_t>>();
        std::vector<std::uint32_t> rows(x.n);
        std::iota(rows.begin(), rows.end(), 0U);
        const LogisticFit fit = fit_logistic(x, rows, labels, j["C"], 1e-12);
        std::vector<double> decisions;
        for (std::size_t i = 0; i < x.n; ++i) decisions.push_back(decision_value(fit, x.row(i)));
        double scale = 1;
        for (const json& value : j["decisions"]) scale = std::max(scale, std::fabs(value.get<double>()));
        BOOST_TEST(largest_difference(decisions, j["decisions"]) < 1e-10 * scale);
        BOOST_TEST(largest_difference(fit.weights, j["weights"]) < 1e-10 * scale);
        BOOST_TEST(std::fabs(fit.intercept - j["intercept"].get<double>()) < 1e-10 * scale);
        // The same inner products, the same decisions.
        const DenseRows z = with_fewer_features(x);
        BOOST_TEST(z.d == std::min(x.n, x.d));
        const LogisticFit other = fit_logistic(z, rows, labels, j["C"], 1e-12);
        std::vector<double> others;
        for (std::size_t i = 0; i < z.n; ++i) others.push_back(decision_value(other, z.row(i)));
        BOOST_TEST(largest_difference(others, j["decisions"]) < 1e-8 * scale);
        // From another start to the same end.
        const LogisticFit far = fit_logistic(x, rows, labels, 10 * j["C"].get<double>(), 1e-3);
        BOOST_TEST(largest_difference(fit_logistic(x, rows, labels, j["C"], 1e-12, &far).weights, j["weights"]) < 1e-9 * scale);
    }
    const DenseRows x{2, 1, {1, 2}};
    const std::vector<std::uint32_t> rows = {0, 1};
    BOOST_CHECK_THROW(fit_logistic(x, rows, std::vector<std::uint8_t>{1, 1}, 1), pva::InputError);
}

BOOST_AUTO_TEST_CASE(nested_cross_validation) {
    const json& j = golden()["nested"];
    const DenseRows x = dense_rows(j["x"]);
    const auto labels = j["labels"].get<std::vector<std::uint8_t>>();
    ProbeSettings settings;
    settings.C = j["grid"].get<std::vector<double>>();
    settings.seed = j["seed"];
    settings.stream = j["stream"];
    settings.tolerance = 1e-9;
    const Probe probe = nested_probe(x, labels, settings);
    BOOST_TEST(probe.folds == j["folds"].get<std::vector<std::uint32_t>>(), tt::per_element());
    BOOST_TEST(probe.fold_C == j["fold_C"].get<std::vector<double>>(), tt::per_element());
    BOOST_TEST(largest_difference(probe.held_out, j["held_out"]) < 1e-6);
    BOOST_TEST(fold_auroc(probe.held_out, labels, probe.folds).auroc == j["auroc"].get<double>(), tt::tolerance(1e-12));
    BOOST_TEST(probe.C == j["C"].get<double>());
    BOOST_TEST(largest_difference(probe_weights(probe, x), j["weights"]) < 1e-6);
    BOOST_TEST(std::fabs(probe.intercept - j["intercept"].get<double>()) < 1e-6);
    // A tolerance for everyday use orders the rows the same way.
    settings.tolerance = ProbeSettings().tolerance;
    BOOST_TEST(std::fabs(fold_auroc(nested_probe(x, labels, settings).held_out, labels, probe.folds).auroc - j["auroc"].get<double>()) < 2e-3);
    BOOST_CHECK_THROW(nested_probe({3, 1, {1, 2, 3}}, std::vector<std::uint8_t>{1, 0, 0}, settings), pva::InputError);
    // Two rows of a class: two outer folds, no inner ones.
    BOOST_TEST(nested_probe({5, 1, {1, 2, 3, 4, 5}}, std::vector<std::uint8_t>{1, 1, 0, 0, 0}, settings).held_out.size() == 5u);
}

BOOST_AUTO_TEST_CASE(published_scores) {
    const json& j = golden()["published"];
    const auto labels = j["labels"].get<std::vector<std::uint8_t>>();
    std::vector<LatentStatistics> latents;
    for (std::size_t k = 0; k < 4; ++k) {
        std::vector<double> column;
        for (const json& row : j["dense"]) column.push_back(row[k].get<double>());
        latents.push_back(score_statistics(column, labels));
        const std::string where = " of column " + std::to_string(k);
        expect_close(std::fabs(signed_score(Score::notebook_d, latents[k], 3, 4)), j["notebook_d"][k], "notebook d" + where);
        expect_close(signed_score(Score::frequency_difference, latents[k], 3, 4), j["frequency_difference"][k], "frequency difference" + where);
        expect_close(signed_score(Score::welch_t, latents[k], 3, 4), j["welch_t"][k], "t" + where);
    }
    // By hand: column 2 is 0 1 0 against 5 6 7 8, means 1/3 and 6.5, variances 1/3 and 5/3; (2/3 + 5)/5 = 17/15.
    BOOST_TEST(std::fabs(signed_score(Score::notebook_d, latents[2], 3, 4)) == (6.5 - 1.0 / 3) / std::sqrt(17.0 / 15), tt::tolerance(1e-7));
    // It fires on 1 of 3 and 4 of 4; t = (1/3 - 6.5) / sqrt(1/9 + 5/12).
    BOOST_TEST(signed_score(Score::frequency_difference, latents[2], 3, 4) == 1.0 / 3 - 1, tt::tolerance(1e-14));
    BOOST_TEST(signed_score(Score::welch_t, latents[2], 3, 4) == (1.0 / 3 - 6.5) / std::sqrt(1.0 / 9 + 5.0 / 12), tt::tolerance(1e-14));
    const SeparationSummary summary = separation_summary(latents, 3, 4, Score::notebook_d, 4);
    BOOST_TEST(summary.dimensions == 4u);
    expect_close(summary.mean, j["mean"], "mean");
    expect_close(summary.standard_deviation, j["standard_deviation"], "standard deviation");
    expect_close(summary.max, j["max"], "maximum");
    BOOST_TEST(summary.top_indices == j["top_indices"].get<std::vector<std::uint32_t>>(), tt::per_element());
}

// Permutations against the slow way: relabel, compute the statistics anew.
BOOST_AUTO_TEST_CASE(permuted_scores_are_scores_of_permuted_labels) {
    const json& j = golden()["latents"][0];
    const Matrix m = matrix_of(j);
    const auto columns = stats::sparse_columns(m.view(), 0, m.n_latents);
    const stats::LabelPermutations permutations(m.labels, {}, 70, 3, 4);
    std::vector<std::uint8_t> tested(m.n_latents, 1);
    tested[5] = 0;
    const auto n1 = static_cast<std::uint64_t>(std::count(m.labels.begin(), m.labels.end(), std::uint8_t{1}));
    for (const Score score : {Score::auroc, Score::cohens_d, Score::welch_t, Score::frequency_difference}) {
        const PermutedColumns computed = permute_columns(columns, m.labels, tested, permutations, score);
        const auto scores_of = [&](const std::vector<std::uint8_t>& labels) {
            std::vector<double> values;
            for (const LatentStatistics& s : latent_statistics(columns, labels)) values.push_back(std::fabs(signed_score(score, s, n1, labels.size() - n1)));
            return values;
        };
        const auto observed = scores_of(m.labels);
        std::vector<std::uint64_t> exceedances(m.n_latents, 0);
        for (std::uint32_t b = 0; b < permutations.size(); ++b) {
            std::vector<std::uint8_t> labels;
            for (std::size_t row = 0; row < m.labels.size(); ++row) labels.push_back(permutations.positive(b, row));
            const auto values = scores_of(labels);
            double largest = 0;
            for (std::uint32_t k = 0; k < m.n_latents; ++k) {
                if (tested[k] == 0) continue;
                largest = std::max(largest, values[k]);
                exceedances[k] += values[k] >= observed[k] * (1 - 1e-10);
            }
            if (std::isinf(largest)) {
                BOOST_TEST(std::isinf(computed.maxima[b]));
            } else {
                BOOST_TEST(computed.maxima[b] == largest, tt::tolerance(1e-9));
            }
        }
        for (std::uint32_t k = 0; k < m.n_latents; ++k) {
            if (tested[k] == 0) {
                BOOST_TEST(computed.exceedances[k] == 0u);
            } else if (!std::isinf(observed[k])) {
                BOOST_TEST(computed.exceedances[k] == exceedances[k], score_name(score) << " of latent " << k);
                BOOST_TEST(computed.observed[k] == observed[k], tt::tolerance(1e-9));
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(score_names_go_both_ways) {
    for (const std::string& name : score_names()) BOOST_TEST(score_name(score_from_name(name)) == name);
    BOOST_CHECK_THROW(score_from_name("best"), pva::UsageError);
}

// A direction that separates is found by every baseline that may find it; labels without any are not.
BOOST_AUTO_TEST_CASE(baselines_of_a_layer) {
    const std::size_t n = 120, m = 60, d = 30;
    pva::PhiloxStream random(5, 6, 7);
    std::vector<float> rows((n + m) * d);
    std::vector<std::uint8_t> labels;
    for (std::size_t i = 0; i < n + m; ++i) {
        labels.push_back(static_cast<std::uint8_t>(random.below(2)));
        for (std::size_t k = 0; k < d; ++k) rows[i * d + k] = static_cast<float>(random.uniform() * 4 - 2 + (k == 3 ? 2.0 * labels[i] : 0.0) + (k == 7 ? 100.0 : 0.0));
    }
    const std::vector<std::uint8_t> part(labels.begin(), labels.begin() + n), held_out(labels.begin() + n, labels.end());
    BaselineSettings settings;
    settings.random_directions = 20;
    const LayerBaselines found = layer_baselines(std::span(rows).first(n * d), d, part, std::span(rows).subspan(n * d), 2, settings);
    BOOST_REQUIRE(found.scores.size() == 4u);
    BOOST_TEST(found.scores[2].name == "best dimension");
    BOOST_TEST(found.scores[2].index == 3);
    for (std::size_t i = 0; i < 3; ++i) {
        const BaselineFigures figures = baseline_figures(found.scores[i], part, held_out);
        BOOST_TEST(figures.auroc > 0.78, found.scores[i].name << " " << figures.auroc);
        BOOST_TEST(figures.held_out_auroc > 0.75, found.scores[i].name << " " << figures.held_out_auroc);
        BOOST_TEST((figures.low < figures.auroc && figures.auroc < figures.high));
        BOOST_TEST((figures.held_out_low < figures.held_out_auroc && figures.held_out_auroc < figures.held_out_high));
    }
    BOOST_TEST(found.random.mean < found.random.share_95);
    BOOST_TEST(found.random.share_95 <= found.random.largest);
    // The best random direction is the best of them on the part.
    BOOST_TEST(baseline_figures(found.scores[3], part, held_out).auroc == 0.5 + found.random.largest, tt::tolerance(1e-12));
    // Labels that know nothing: fitted baselines are measured on rows they have not seen, so they stay near one half.
    std::vector<std::uint8_t> noise;
    for (std::size_t i = 0; i < n; ++i) noise.push_back(static_cast<std::uint8_t>(random.below(2)));
    // The same fits made alone: directions of the rows as they are, and the strength that cross-validation chose.
    const auto part_rows = std::span<const float>(rows).first(n * d);
    const auto held_out_rows = std::span<const float>(rows).subspan(n * d);
    const LayerDirections directions = layer_directions(part_rows, d, part, 2, settings.probe);
    BOOST_TEST(largest_difference(linear_scores(directions.difference_of_means, held_out_rows), found.scores[0].held_out) == 0.0);
    BOOST_TEST(largest_difference(linear_scores(directions.probe, held_out_rows), found.scores[1].held_out) < 1e-9);
    BOOST_TEST(largest_difference(linear_scores(fit_probe(part_rows, d, part, found.scores[1].C), held_out_rows), found.scores[1].held_out) < 1e-9);
    BOOST_TEST(directions.difference_of_means_auroc == fold_auroc(found.scores[0].part, part, found.scores[0].folds).auroc);
    BOOST_TEST(directions.probe_auroc >= 0.5);
    BOOST_CHECK_THROW(fit_difference_of_means(part_rows, d, std::vector<std::uint8_t>(n, 1)), pva::InputError);
    const LayerBaselines nothing = layer_baselines(std::span(rows).first(n * d), d, noise, {}, 2, settings);
    for (std::size_t i = 0; i < 2; ++i) {
        const BaselineFigures figures = baseline_figures(nothing.scores[i], noise, {});
        BOOST_TEST(std::fabs(figures.auroc - 0.5) < 0.17, nothing.scores[i].name << " " << figures.auroc);
        BOOST_TEST(std::isnan(figures.held_out_auroc));
    }
}

BOOST_AUTO_TEST_CASE(words_of_the_text_are_measured_on_texts_not_seen) {
    std::vector<std::string> texts;
    std::vector<std::uint8_t> labels;
    for (int i = 0; i < 60; ++i) {
        texts.push_back((i % 3 == 0 ? "sort the list number " : "reverse the string number ") + std::to_string(i % 7));
        labels.push_back(i % 3 == 0);
    }
    const BaselineScores scores = words_baseline(texts, labels, std::vector<std::string>{"sort the list", "reverse it"}, {});
    BOOST_TEST(baseline_figures(scores, labels, std::vector<std::uint8_t>{1, 0}).auroc == 1.0);
    BOOST_TEST(scores.held_out[0] > scores.held_out[1]);
    BOOST_TEST(scores.folds.size() == 60u);
}

BOOST_AUTO_TEST_SUITE_END()
