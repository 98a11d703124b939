// Statistics of latents: sparse against dense and slow, ranges, constant latents, bad input.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "pva/analysis/latent_statistics.h"
#include "pva/core/error.h"
#include "pva/stats/moments.h"
#include "pva/stats/ranks.h"

using namespace pva::analysis;
namespace tt = boost::test_tools;

namespace {

struct Codes {
    std::uint32_t n_latents = 0;
    std::vector<std::vector<float>> dense;  // [rows][latents]
    std::vector<std::uint64_t> offsets = {0};
    std::vector<std::uint32_t> latents;
    std::vector<float> values;

    explicit Codes(std::uint32_t n) : n_latents(n) {}

    void add(const std::vector<float>& row, bool keep_zeros = false) {
        dense.push_back(row);
        for (std::uint32_t j = 0; j < n_latents; ++j) {
            if (row[j] == 0 && !keep_zeros) continue;
            latents.push_back(j);
            values.push_back(row[j]);
        }
        offsets.push_back(latents.size());
    }

    pva::stats::CsrView view() const { return {offsets, latents, values, n_latents}; }
};

// std::mt19937 itself is the same everywhere; the distributions of the standard library are not, so none is used.
Codes random_codes(std::mt19937& generator, std::size_t rows, std::uint32_t columns, bool negative) {
    Codes codes(columns);
    for (std::size_t r = 0; r < rows; ++r) {
        std::vector<float> row(columns);
        for (std::uint32_t j = 0; j < columns; ++j) {
            const bool fires = generator() % 100 < (j * 100) / columns;  // from never to nearly always
            float value = fires ? static_cast<float>(generator() % 7 + 1) * 0.3f : 0.0f;
            if (negative && generator() % 2) value = -value;
            row[j] = value;
        }
        codes.add(row);
    }
    return codes;
}

std::vector<std::uint8_t> random_labels(std::mt19937& generator, std::size_t rows) {
    std::vector<std::uint8_t> labels(rows);
    for (auto& label : labels)
        label = generator() % 3 == 0;
    labels[0] = labels[1] = 1;
    labels[2] = labels[3] = 0;
    return labels;
}

// Plain sums and all pairs: slow, and nothing shared with the code under test but Welch's p.
LatentStatistics slow_statistics(const Codes& codes, const std::vector<std::uint8_t>& labels, std::uint32_t latent) {
    std::vector<double> x[2];
    LatentStatistics s;
    for (std::size_t r = 0; r < labels.size(); ++r)
        x[labels[r]].push_back(codes.dense[r][latent]);
    double mean[2] = {}, variance[2] = {}, fired[2] = {};
    for (int c = 0; c < 2; ++c) {
        const double n = static_cast<double>(x[c].size());
        for (double v : x[c])
            mean[c] += v / n;
        for (double v : x[c])
            variance[c] += (v - mean[c]) * (v - mean[c]) / (n - 1);
        for (double v : x[c])
            fired[c] += v != 0;
        s.fired_rows += static_cast<std::uint64_t>(fired[c]);
    }
    const double n1 = static_cast<double>(x[1].size()), n0 = static_cast<double>(x[0].size());
    s.firing_share_right = fired[1] / n1;
    s.firing_share_wrong = fired[0] / n0;
    s.mean_right = mean[1];
    s.mean_wrong = mean[0];
    s.variance_right = variance[1];
    s.variance_wrong = variance[0];
    if (variance[1] + variance[0] > 0) {
        s.cohens_d = (mean[1] - mean[0]) / std::sqrt(((n1 - 1) * variance[1] + (n0 - 1) * variance[0]) / (n1 + n0 - 2));
        s.welch_t = (mean[1] - mean[0]) / std::sqrt(variance[1] / n1 + variance[0] / n0);
    }
    const auto wins = [](double a, double b) { return a > b ? 1.0 : (a == b ? 0.5 : 0.0); };
    double u = 0, squares1 = 0, squares0 = 0;
    for (double a : x[1]) {
        for (double b : x[0])
            u += wins(a, b);
    }
    s.auroc = u / (n1 * n0);
    for (double a : x[1]) {
        double v = 0;
        for (double b : x[0])
            v += wins(a, b) / n0;
        squares1 += (v - s.auroc) * (v - s.auroc) / (n1 - 1);
    }
    for (double b : x[0]) {
        double v = 0;
        for (double a : x[1])
            v += wins(a, b) / n1;
        squares0 += (v - s.auroc) * (v - s.auroc) / (n0 - 1);
    }
    s.auroc_standard_error = std::sqrt(squares1 / n1 + squares0 / n0);
    return s;
}

void expect_close(double computed, double expected, const char* what, std::uint32_t latent) {
    BOOST_CHECK_MESSAGE(std::fabs(computed - expected) <= 1e-12 * std::max(1.0, std::fabs(expected)),
                        what << " of latent " << latent << ": " << computed << ", expected " << expected);
}

bool all_equal(const LatentStatistics& a, const LatentStatistics& b) {
    return a.fired_rows == b.fired_rows && a.firing_share_right == b.firing_share_right &&
           a.firing_share_wrong == b.firing_share_wrong && a.mean_right == b.mean_right &&
           a.mean_wrong == b.mean_wrong && a.variance_right == b.variance_right &&
           a.variance_wrong == b.variance_wrong && a.cohens_d == b.cohens_d && a.welch_t == b.welch_t &&
           a.welch_df == b.welch_df && a.welch_p == b.welch_p && a.auroc == b.auroc &&
           a.auroc_standard_error == b.auroc_standard_error && a.auroc_low == b.auroc_low &&
           a.auroc_high == b.auroc_high && a.mann_whitney_z == b.mann_whitney_z &&
           a.mann_whitney_p == b.mann_whitney_p && a.mann_whitney_exact == b.mann_whitney_exact;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(latent_statistics_suite)

BOOST_AUTO_TEST_CASE(agrees_with_dense_and_slow) {
    std::mt19937 generator(7);
    for (std::size_t rows : {4, 5, 17, 80}) {
        for (bool negative : {false, true}) {
            const Codes codes = random_codes(generator, rows, 25, negative);
            const auto labels = random_labels(generator, rows);
            const auto computed = latent_statistics(codes.view(), labels, 0, 25);
            BOOST_REQUIRE(computed.size() == 25u);
            for (std::uint32_t j = 0; j < 25; ++j) {
                const LatentStatistics slow = slow_statistics(codes, labels, j);
                BOOST_TEST(computed[j].fired_rows == slow.fired_rows);
                expect_close(computed[j].firing_share_right, slow.firing_share_right, "firing share, right", j);
                expect_close(computed[j].firing_share_wrong, slow.firing_share_wrong, "firing share, wrong", j);
                expect_close(computed[j].mean_right, slow.mean_right, "mean, right", j);
                expect_close(computed[j].mean_wrong, slow.mean_wrong, "mean, wrong", j);
                expect_close(computed[j].variance_right, slow.variance_right, "variance, right", j);
                expect_close(computed[j].variance_wrong, slow.variance_wrong, "variance, wrong", j);
                expect_close(computed[j].auroc, slow.auroc, "AUROC", j);
                expect_close(computed[j].auroc_standard_error, slow.auroc_standard_error, "standard error", j);
                if (std::isfinite(computed[j].welch_t) && slow.variance_right + slow.variance_wrong > 1e-12) {
                    expect_close(computed[j].cohens_d, slow.cohens_d, "Cohen's d", j);
                    expect_close(computed[j].welch_t, slow.welch_t, "Welch's t", j);
                }
                BOOST_TEST((computed[j].welch_p >= 0 && computed[j].welch_p <= 1));
                BOOST_TEST(!std::isnan(computed[j].welch_df));
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(ranges_do_not_change_results) {
    std::mt19937 generator(11);
    const Codes codes = random_codes(generator, 50, 30, true);
    const auto labels = random_labels(generator, 50);
    const auto whole = latent_statistics(codes.view(), labels, 0, 30);
    for (std::uint32_t width : {1u, 7u, 13u, 29u}) {
        for (std::uint32_t first = 0; first < 30; first += width) {
            const std::uint32_t last = std::min(first + width, 30u);
            const auto part = latent_statistics(codes.view(), labels, first, last);
            BOOST_REQUIRE(part.size() == last - first);
            for (std::uint32_t j = first; j < last; ++j)
                BOOST_TEST(all_equal(part[j - first], whole[j]));
        }
    }
    BOOST_TEST(latent_statistics(codes.view(), labels, 5, 5).empty());
    BOOST_TEST(latent_statistics(codes.view(), labels, 30, 30).empty());
}

BOOST_AUTO_TEST_CASE(constant_latents) {
    // Latent 0 never fires, 1 has the same value everywhere, 2 fires with one value on the right class only.
    Codes codes(3);
    const std::vector<std::uint8_t> labels = {1, 0, 1, 0, 0, 1, 0};
    for (std::uint8_t label : labels)
        codes.add({0, 0.1f, label ? 2.0f : 0.0f});
    const auto s = latent_statistics(codes.view(), labels, 0, 3);
    for (int j : {0, 1}) {
        BOOST_TEST(s[j].cohens_d == 0.0);
        BOOST_TEST(s[j].welch_t == 0.0);
        BOOST_TEST(s[j].welch_df == 5.0);
        BOOST_TEST(s[j].welch_p == 1.0);
        BOOST_TEST(s[j].auroc == 0.5);
        BOOST_TEST(s[j].auroc_standard_error == 0.0);
        BOOST_TEST(s[j].variance_right == 0.0);
        BOOST_TEST(s[j].variance_wrong == 0.0);
    }
    BOOST_TEST(s[0].fired_rows == 0u);
    BOOST_TEST(s[1].fired_rows == 7u);
    BOOST_TEST(s[1].firing_share_right == 1.0);
    BOOST_TEST(s[1].mean_wrong == static_cast<double>(0.1f));
    BOOST_TEST(s[2].auroc == 1.0);
    BOOST_TEST(s[2].firing_share_right == 1.0);
    BOOST_TEST(s[2].firing_share_wrong == 0.0);
    BOOST_TEST(s[2].welch_t == std::numeric_limits<double>::infinity());
    BOOST_TEST(s[2].cohens_d == std::numeric_limits<double>::infinity());
    BOOST_TEST(s[2].welch_p == 0.0);
}

BOOST_AUTO_TEST_CASE(stored_zeros_are_zeros) {
    std::mt19937 generator(3);
    const Codes sparse = random_codes(generator, 20, 9, true);
    Codes stored(9);
    for (const auto& row : sparse.dense)
        stored.add(row, true);
    BOOST_TEST(stored.values.size() > sparse.values.size());
    const auto labels = random_labels(generator, 20);
    const auto a = latent_statistics(sparse.view(), labels, 0, 9);
    const auto b = latent_statistics(stored.view(), labels, 0, 9);
    for (std::size_t j = 0; j < 9; ++j)
        BOOST_TEST(all_equal(a[j], b[j]));
}

BOOST_AUTO_TEST_CASE(too_few_rows_of_a_class) {
    Codes codes(1);
    for (int i = 0; i < 4; ++i)
        codes.add({static_cast<float>(i)});
    const std::vector<std::vector<std::uint8_t>> cases = {{1, 1, 1, 1}, {0, 0, 0, 0}};
    for (const auto& labels : cases) {
        BOOST_CHECK_THROW(latent_statistics(codes.view(), labels, 0, 1), pva::InputError);
    }
    BOOST_CHECK_EXCEPTION(latent_statistics(codes.view(), cases[1], 0, 1), pva::InputError,
                          [](const pva::InputError& error) {
                              const std::string message = error.what();
                              return message.find("0 passing and 4 failing") != std::string::npos &&
                                     message.find("generate more problems") != std::string::npos;
                          });
    // With one row of a class there are ranks, but no variance.
    const auto one = latent_statistics(codes.view(), std::vector<std::uint8_t>{0, 0, 0, 1}, 0, 1);
    BOOST_TEST(one[0].auroc == 1.0);
    BOOST_TEST(one[0].mann_whitney_p == 0.5);
    BOOST_TEST(std::isnan(one[0].welch_t));
    BOOST_TEST(std::isnan(one[0].auroc_low));
    BOOST_TEST(one[0].variance_wrong == 1.0);
    const Codes none(1);
    BOOST_CHECK_THROW(latent_statistics(none.view(), {}, 0, 1), pva::InputError);
}

BOOST_AUTO_TEST_CASE(bad_input) {
    Codes codes(2);
    for (int i = 0; i < 4; ++i)
        codes.add({1.0f, 2.0f});
    const std::vector<std::uint8_t> labels = {0, 1, 0, 1};
    BOOST_CHECK_THROW(latent_statistics(codes.view(), std::vector<std::uint8_t>{0, 1, 0}, 0, 2), pva::InputError);
    BOOST_CHECK_THROW(latent_statistics(codes.view(), std::vector<std::uint8_t>{0, 1, 0, 2}, 0, 2), pva::InputError);
    BOOST_CHECK_THROW(latent_statistics(codes.view(), labels, 0, 3), pva::InternalError);
    BOOST_CHECK_THROW(latent_statistics(codes.view(), labels, 2, 1), pva::InternalError);
    codes.values[5] = std::numeric_limits<float>::quiet_NaN();
    BOOST_CHECK_EXCEPTION(latent_statistics(codes.view(), labels, 0, 2), pva::InputError,
                          [](const pva::InputError& error) {
                              return std::string(error.what()).find("row 2, latent 1") != std::string::npos;
                          });
}

BOOST_AUTO_TEST_SUITE_END()
