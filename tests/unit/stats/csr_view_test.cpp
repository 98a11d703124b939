// Checks of the sparse-row layout: every way it can be wrong is found and named.
#include <boost/test/unit_test.hpp>
#include <limits>
#include <string>
#include <vector>

#include "pva/core/error.h"
#include "pva/stats/csr_view.h"

using pva::stats::CsrView;

namespace {

struct Rows {
    std::vector<std::uint64_t> offsets = {0, 2, 2, 3};
    std::vector<std::uint32_t> latents = {1, 4, 0};
    std::vector<float> values = {0.5f, 2.0f, 1.0f};

    CsrView view() const { return {offsets, latents, values, 5}; }
};

void expect_refusal(const Rows& rows, const std::string& part) {
    BOOST_CHECK_EXCEPTION(pva::stats::check(rows.view()), pva::InputError, [&](const pva::InputError& error) {
        BOOST_TEST_MESSAGE(error.what());
        return std::string(error.what()).find(part) != std::string::npos;
    });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(csr_view_suite)

BOOST_AUTO_TEST_CASE(good_rows) {
    const Rows rows;
    BOOST_TEST(rows.view().n_rows() == 3u);
    BOOST_CHECK_NO_THROW(pva::stats::check(rows.view()));
    const Rows none{{0}, {}, {}};
    BOOST_TEST(none.view().n_rows() == 0u);
    BOOST_CHECK_NO_THROW(pva::stats::check(none.view()));
    const Rows empty_rows{{0, 0, 0}, {}, {}};
    BOOST_TEST(empty_rows.view().n_rows() == 2u);
    BOOST_CHECK_NO_THROW(pva::stats::check(empty_rows.view()));
}

BOOST_AUTO_TEST_CASE(bad_rows) {
    expect_refusal({{}, {}, {}}, "without row offsets");
    expect_refusal({{0, 2}, {1, 4}, {0.5f}}, "2 latent numbers but 1 values");
    expect_refusal({{0, 3}, {1, 4}, {0.5f, 2.0f}}, "expected 0 to 2");
    expect_refusal({{1, 2}, {1, 4}, {0.5f, 2.0f}}, "run from 1");
    expect_refusal({{0, 2, 1, 2}, {1, 4}, {0.5f, 2.0f}}, "row 1");
    expect_refusal({{0, 9, 2}, {1, 4}, {0.5f, 2.0f}}, "row 0");
    expect_refusal({{0, 2}, {1, 5}, {0.5f, 2.0f}}, "latent 5 of 5");
    expect_refusal({{0, 2}, {4, 1}, {0.5f, 2.0f}}, "ascending");
    expect_refusal({{0, 2}, {4, 4}, {0.5f, 2.0f}}, "ascending");
    expect_refusal({{0, 1}, {4}, {std::numeric_limits<float>::quiet_NaN()}}, "not a finite number");
    expect_refusal({{0, 1}, {4}, {std::numeric_limits<float>::infinity()}}, "not a finite number");
}

BOOST_AUTO_TEST_SUITE_END()
