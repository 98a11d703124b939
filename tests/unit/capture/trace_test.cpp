// Everything of one sequence: against the forward pass, the capture of rows, and a loss computed another way.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "../model/model_copy.h"
#include "pva/capture/capture.h"
#include "pva/capture/trace.h"
#include "pva/core/error.h"
#include "pva/model/load.h"

using namespace pva;
using model::CaptureRequest;
using model::Site;

namespace {

model::Model load(const std::string& name, const model::Placement& placement = {}) {
    return model::load_model(model_copy::golden_folder(name).string(), placement);
}

const std::vector<std::int32_t> tokens = {4, 7, 9, 11, 30};

}  // namespace

BOOST_AUTO_TEST_SUITE(trace)

BOOST_AUTO_TEST_CASE(logits_and_sites_of_one_sequence) {
    for (const std::string name : {"odd_heads", "neox_serial", "llama_biases"}) {
        for (const model::Dtype dtype : {model::Dtype::float32, model::Dtype::bfloat16}) {
            const model::Model model = load(name, {dtype, model::Device::cpu, -1});
            const std::vector<CaptureRequest> requests = {
                {Site::z, {1, 0}}, {Site::final_norm, {0}}, {Site::resid_post, {}}, {Site::resid_pre, {1}}};
            const capture::Trace found = capture::trace_sequence(model, tokens, requests);
            const std::vector<std::vector<std::int32_t>> rows = {tokens};
            const at::Tensor logits = model.forward(rows).to(at::kFloat).contiguous();
            BOOST_REQUIRE_EQUAL(found.logits.size(), static_cast<std::size_t>(logits.numel()));
            BOOST_TEST(std::equal(found.logits.begin(), found.logits.end(), logits.const_data_ptr<float>()));
            BOOST_REQUIRE_EQUAL(found.sites.size(), requests.size());
            std::vector<std::vector<float>> expected(requests.size());
            std::size_t index = 0;
            for (const CaptureRequest& request : requests) {
                if (!request.layers.empty()) {
                    capture::capture_rows(
                        model, rows, std::vector{request}, {}, [&](const capture::CapturedRows& captured) {
                            expected[index].insert(expected[index].end(), captured.rows.begin(), captured.rows.end());
                        });
                }
                BOOST_TEST((found.sites[index] == expected[index]), name << " " << model::site_name(request.site));
                ++index;
            }
            BOOST_TEST(found.sites[0].size() ==
                       2 * 5 * static_cast<std::size_t>(model::site_width(model.config(), Site::z)));
            BOOST_TEST((capture::trace_sequence(model, tokens, {}).logits == found.logits));
            BOOST_TEST(capture::trace_sequence(model, tokens, {}).sites.empty());
        }
    }
}

BOOST_AUTO_TEST_CASE(loss_of_a_model) {
    const model::Model model = load("odd_heads");
    const capture::Trace found = capture::trace_sequence(model, tokens, {});
    const std::vector<std::vector<std::int32_t>> rows = {tokens};
    const at::Tensor probabilities = at::log_softmax(model.forward(rows)[0].to(at::kDouble), -1);
    double expected = 0;
    for (std::int64_t t = 0; t < 4; ++t)
        expected -= probabilities[t][tokens[static_cast<std::size_t>(t) + 1]].item<double>();
    BOOST_TEST(std::abs(capture::summed_loss(found.logits, tokens) - expected) < 1e-10 * expected);
    BOOST_TEST(expected > 1.0);
}

BOOST_AUTO_TEST_CASE(loss_of_known_logits) {
    const std::vector<std::int32_t> two = {0, 2};
    const std::vector<float> even(8, 3.0F);  // four tokens alike
    BOOST_TEST(std::abs(capture::summed_loss(even, two) - std::log(4.0)) < 1e-12);
    const std::vector<float> large = {0, 0, 1e4F, 0, 7, 7, 7, 7};  // no overflow
    BOOST_TEST(capture::summed_loss(large, two) == 0.0);
    const std::vector<float> sure_of_another = {1e4F, 0, 0, 0, 7, 7, 7, 7};
    BOOST_TEST(capture::summed_loss(sure_of_another, two) == 1e4);
    BOOST_TEST(capture::summed_loss(std::vector<float>{1, 2, 3}, std::vector<std::int32_t>{1}) == 0.0);
    BOOST_CHECK_THROW(capture::summed_loss(std::vector<float>{1, 2}, std::vector<std::int32_t>{0, 1}), pva::InternalError);
    BOOST_CHECK_THROW(capture::summed_loss(even, {}), InternalError);
    BOOST_CHECK_THROW(capture::summed_loss(std::vector<float>(7), two), InternalError);
}

BOOST_AUTO_TEST_CASE(refusals) {
    const model::Model model = load("neox_serial");
    BOOST_CHECK_THROW(capture::trace_sequence(model, {}, {}), InputError);
    BOOST_CHECK_THROW(capture::trace_sequence(model, std::vector<std::int32_t>{79}, {}), InputError);
    BOOST_CHECK_THROW(capture::trace_sequence(model, std::vector<std::int32_t>(65, 1), {}), InputError);
    for (const CaptureRequest& bad : {CaptureRequest{Site::resid_mid, {0}}, {Site::resid_post, {3}}, {Site::z, {0, 0}}})
        BOOST_CHECK_THROW(capture::trace_sequence(model, tokens, std::vector{bad}), UsageError);
}

BOOST_AUTO_TEST_SUITE_END()
