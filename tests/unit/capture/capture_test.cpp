// Capture of given texts: order, BOS, batches, refusals. Values are compared in golden.gemma2.
#define BOOST_TEST_MODULE capture
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <filesystem>
#include <map>
#include <vector>

#include "pva/capture/capture.h"
#include "pva/core/error.h"
#include "pva/model/load.h"
#include "pva/model/threads.h"

namespace fs = std::filesystem;
using namespace pva;

namespace {

const fs::path golden_model = fs::path(PVA_SOURCE_DIR) / "tests/golden/gemma2/odd_heads";
constexpr std::size_t d_model = 48;

using Rows = std::map<std::pair<std::size_t, int>, std::vector<float>>;

Rows collect(const model::Gemma2& gemma, const std::vector<std::vector<std::int32_t>>& sequences,
             const model::CaptureRequest& request, const capture::CaptureSettings& settings) {
    Rows rows;
    capture::capture_rows(gemma, sequences, request, settings, [&](const capture::CapturedRows& captured) {
        BOOST_TEST(captured.rows.size() == (sequences[captured.sequence].size() - captured.first_position) * d_model);
        const bool is_new = rows.emplace(std::pair(captured.sequence, captured.layer),
                                         std::vector<float>(captured.rows.begin(), captured.rows.end()))
                                .second;
        BOOST_TEST(is_new);
    });
    return rows;
}

// One thread: these models are tiny, and on a busy machine threads would mostly wait for one another.
struct OneThread {
    OneThread() { model::set_threads(1); }
};
BOOST_TEST_GLOBAL_FIXTURE(OneThread);

}  // namespace

BOOST_AUTO_TEST_CASE(bos_is_left_out_where_it_is) {
    const model::Gemma2 gemma = model::load_model(golden_model.string());
    const std::vector<std::vector<std::int32_t>> sequences = {{2, 7, 9}, {7, 9}, {2}};
    std::vector<std::size_t> first;
    std::vector<std::size_t> sizes;
    capture::capture_rows(gemma, sequences, {model::Site::resid_post, {1}}, {},
                          [&](const capture::CapturedRows& captured) {
                              first.push_back(captured.first_position);
                              sizes.push_back(captured.rows.size() / d_model);
                          });
    BOOST_TEST((first == std::vector<std::size_t>{1, 0, 1}));
    BOOST_TEST((sizes == std::vector<std::size_t>{2, 2, 0}));
}

BOOST_AUTO_TEST_CASE(batch_size_changes_rounding_only) {
    const model::Gemma2 gemma = model::load_model(golden_model.string());
    const std::vector<std::vector<std::int32_t>> sequences = {
        {2, 7, 9}, {2, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39}, {2, 5}, {2, 11, 12, 13}, {2, 200}};
    const model::CaptureRequest request{model::Site::resid_post, {2, 0}};
    const Rows one = collect(gemma, sequences, request, {1, true});
    BOOST_TEST(one.size() == 10u);
    for (const int batch_rows : {2, 5, 100}) {
        const Rows many = collect(gemma, sequences, request, {batch_rows, true});
        BOOST_REQUIRE_EQUAL(many.size(), one.size());
        for (const auto& [key, rows] : one) {
            const auto& other = many.at(key);
            for (std::size_t i = 0; i < rows.size(); ++i)
                BOOST_TEST(std::abs(rows[i] - other[i]) < 1e-4);
        }
        BOOST_TEST((many == collect(gemma, sequences, request, {batch_rows, true})));  // and the same bytes again
    }
}

BOOST_AUTO_TEST_CASE(resid_pre_is_resid_post_of_the_layer_before) {
    const model::Gemma2 gemma = model::load_model(golden_model.string());
    const std::vector<std::vector<std::int32_t>> sequences = {{2, 7, 9}, {2, 5}};
    const Rows pre = collect(gemma, sequences, {model::Site::resid_pre, {0, 1, 2}}, {});
    const Rows post = collect(gemma, sequences, {model::Site::resid_post, {0, 1, 2}}, {});
    for (const std::size_t s : {0u, 1u}) {
        BOOST_TEST((pre.at({s, 1}) == post.at({s, 0})));
        BOOST_TEST((pre.at({s, 2}) == post.at({s, 1})));
        BOOST_TEST((pre.at({s, 0}) != post.at({s, 0})));
    }
}

BOOST_AUTO_TEST_CASE(nothing_and_bad_requests) {
    const model::Gemma2 gemma = model::load_model(golden_model.string());
    const std::vector<std::vector<std::int32_t>> one = {{2, 7}};
    const auto never = [](const capture::CapturedRows&) { BOOST_ERROR("called"); };
    capture::capture_rows(gemma, {}, {model::Site::resid_post, {0}}, {}, never);
    BOOST_CHECK_THROW(capture::capture_rows(gemma, one, {model::Site::resid_post, {3}}, {}, never), UsageError);
    BOOST_CHECK_THROW(capture::capture_rows(gemma, one, {model::Site::resid_post, {}}, {}, never), UsageError);
    BOOST_CHECK_THROW(capture::capture_rows(gemma, one, {model::Site::resid_post, {0}}, {0, true}, never), UsageError);
    const std::vector<std::vector<std::int32_t>> empty = {{}};
    BOOST_CHECK_THROW(capture::capture_rows(gemma, empty, {model::Site::resid_post, {0}}, {}, never), InputError);
    const std::vector<std::vector<std::int32_t>> unknown = {{2, 384}};
    BOOST_CHECK_THROW(capture::capture_rows(gemma, unknown, {model::Site::resid_post, {0}}, {}, never), InputError);
}
