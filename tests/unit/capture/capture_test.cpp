// Capture of given texts: sites, layers, positions, BOS, batches, refusals. Values are compared in golden.models.
#define BOOST_TEST_MODULE capture
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>

#include "../model/model_copy.h"
#include "pva/capture/capture.h"
#include "pva/core/error.h"
#include "pva/model/load.h"
#include "pva/model/threads.h"

using namespace pva;
using capture::CapturedRows;
using capture::CaptureSettings;
using model::CaptureRequest;
using model::Site;
using Sequences = std::vector<std::vector<std::int32_t>>;

namespace {

const std::vector<std::string> one_of_each = {"odd_heads", "neox_serial", "llama_biases", "mistral_window",
                                              "qwen2_windowed"};

model::Model load(const std::string& name, const model::Placement& placement = {}) {
    return model::load_model(model_copy::golden_folder(name).string(), placement);
}

struct Captured {
    std::vector<std::int64_t> positions;
    std::vector<float> rows;
    bool operator==(const Captured&) const = default;
};
using Key = std::tuple<std::size_t, Site, int>;
using Rows = std::map<Key, Captured>;

Rows collect(const model::Model& model, const Sequences& sequences, const std::vector<CaptureRequest>& requests,
             const CaptureSettings& settings) {
    Rows rows;
    capture::capture_rows(model, sequences, requests, settings, [&](const CapturedRows& captured) {
        BOOST_TEST(captured.rows.size() == captured.positions.size() * static_cast<std::size_t>(model::site_width(
                                                                           model.config(), captured.site)));
        const bool is_new = rows.emplace(Key(captured.sequence, captured.site, captured.layer),
                                         Captured{{captured.positions.begin(), captured.positions.end()},
                                                  {captured.rows.begin(), captured.rows.end()}})
                                .second;
        BOOST_TEST(is_new);
    });
    return rows;
}

std::vector<CaptureRequest> every_site(const model::ModelConfig& config) {
    std::vector<CaptureRequest> requests;
    for (const Site site : model::all_sites()) {
        if (site == Site::resid_mid && !config.has_resid_mid) continue;
        requests.push_back(model::site_has_layers(site) ? CaptureRequest{site, {1, 0}} : CaptureRequest{site, {0}});
    }
    return requests;
}

CaptureSettings in_batches_of(int batch_rows) {
    CaptureSettings settings;
    settings.batch_rows = batch_rows;
    return settings;
}

CaptureSettings with_bos() {
    CaptureSettings settings;
    settings.skip_bos = false;
    return settings;
}

bool is_bfloat16(float value) {
    return (std::bit_cast<std::uint32_t>(value) & 0xFFFFU) == 0;
}

// One thread: these models are tiny, and on a busy machine threads would mostly wait for one another.
struct OneThread {
    OneThread() { model::set_threads(1); }
};
BOOST_TEST_GLOBAL_FIXTURE(OneThread);

}  // namespace

BOOST_AUTO_TEST_CASE(bos_is_left_out_where_it_is) {
    const model::Model model = load("odd_heads");
    const Sequences sequences = {{2, 7, 9}, {7, 9}, {2}, {7, 2, 9}, {2, 2, 7}};
    using Positions = std::vector<std::vector<std::int64_t>>;
    const auto positions = [&](const CaptureSettings& settings) {
        Positions found;
        for (const auto& [key, captured] : collect(model, sequences, {{Site::resid_post, {1}}}, settings))
            found.push_back(captured.positions);
        return found;
    };
    BOOST_TEST((positions({}) == Positions{{1, 2}, {0, 1}, {}, {0, 1, 2}, {1, 2}}));
    BOOST_TEST((positions(with_bos()) == Positions{{0, 1, 2}, {0, 1}, {0}, {0, 1, 2}, {0, 1, 2}}));
    // Leaving it out changes nothing about the others.
    const Rows with = collect(model, sequences, {{Site::resid_post, {1}}}, with_bos());
    const Rows without = collect(model, sequences, {{Site::resid_post, {1}}}, {});
    const auto& all = with.at({0, Site::resid_post, 1}).rows;
    BOOST_TEST((without.at({0, Site::resid_post, 1}).rows == std::vector<float>(all.begin() + 48, all.end())));
    // A model that names no BOS token has none to leave out.
    const model_copy::ModelCopy copy("odd_heads");
    copy.set("bos_token_id", nullptr);
    BOOST_TEST(collect(copy.load(), {{2, 7}}, {{Site::resid_post, {1}}}, {}).begin()->second.positions.size() == 2u);
}

BOOST_AUTO_TEST_CASE(batch_size_changes_rounding_only) {
    for (const std::string& name : one_of_each) {
        const model::Model model = load(name);
        const Sequences sequences = {
            {2, 7, 9}, {2, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39}, {2, 5}, {2, 11, 12, 13}, {2, 60}};
        const std::vector<CaptureRequest> requests = every_site(model.config());
        const Rows one = collect(model, sequences, requests, in_batches_of(1));
        BOOST_TEST(one.size() == 5 * (2 * requests.size() - 2));
        for (const int batch_rows : {2, 5, 100}) {
            const Rows many = collect(model, sequences, requests, in_batches_of(batch_rows));
            BOOST_REQUIRE_EQUAL(many.size(), one.size());
            for (const auto& [key, captured] : one) {
                const Captured& other = many.at(key);
                BOOST_TEST((captured.positions == other.positions));
                double largest = 0;
                for (std::size_t i = 0; i < captured.rows.size(); ++i)
                    largest = std::max(largest, std::abs(static_cast<double>(captured.rows[i]) - other.rows[i]));
                BOOST_TEST(largest < 1e-4, name);
            }
            BOOST_TEST(
                (many == collect(model, sequences, requests, in_batches_of(batch_rows))));  // and the same bytes again
        }
    }
}

BOOST_AUTO_TEST_CASE(all_in_one_pass_is_what_single_passes_give) {
    for (const std::string& name : one_of_each) {
        const model::Model model = load(name);
        const Sequences sequences = {{2, 7, 9, 4}, {2, 5}, {3, 8, 8}};
        const std::vector<CaptureRequest> requests = every_site(model.config());
        const Rows together = collect(model, sequences, requests, {});
        Rows single;
        for (const CaptureRequest& request : requests) {
            for (const int layer : request.layers)
                single.merge(collect(model, sequences, {{request.site, {layer}}}, {}));
        }
        BOOST_TEST(single.size() == together.size());
        for (const auto& [key, captured] : together)
            BOOST_TEST((single.at(key) == captured), name << " " << model::site_name(std::get<1>(key)));
        // And what a hook on the whole forward pass sees.
        std::map<std::pair<Site, int>, at::Tensor> seen;
        model.forward(sequences, [&](const model::SiteContext& context, at::Tensor& values) {
            seen[{context.site, context.layer}] = values.contiguous();
        });
        for (const auto& [key, captured] : together) {
            const at::Tensor values = seen.at({std::get<1>(key), std::get<2>(key)});
            const auto width = static_cast<std::size_t>(values.size(2));
            for (std::size_t i = 0; i < captured.positions.size(); ++i) {
                const at::Tensor row =
                    values.select(0, static_cast<std::int64_t>(std::get<0>(key))).select(0, captured.positions[i]);
                BOOST_TEST(std::equal(captured.rows.begin() + static_cast<std::ptrdiff_t>(i * width),
                                      captured.rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * width),
                                      row.const_data_ptr<float>()));
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(widths) {
    const model::Model model = load("odd_heads");  // 3 heads of 20 beside a stream of 48
    std::map<Site, std::size_t> width;
    for (const auto& [key, captured] : collect(model, {{7, 9}}, every_site(model.config()), {}))
        width[std::get<1>(key)] = captured.rows.size() / 2;
    BOOST_TEST(width.size() == 8u);
    for (const auto& [site, found] : width)
        BOOST_TEST(found == (site == Site::z ? 60u : 48u), model::site_name(site));
}

BOOST_AUTO_TEST_CASE(resid_pre_is_resid_post_of_the_layer_before) {
    const model::Model model = load("odd_heads");
    const Sequences sequences = {{2, 7, 9}, {2, 5}};
    const Rows rows = collect(
        model, sequences, {{Site::resid_pre, {0, 1, 2}}, {Site::resid_post, {0, 1, 2}}, {Site::embedding, {0}}}, {});
    for (const std::size_t s : {0u, 1u}) {
        BOOST_TEST((rows.at({s, Site::resid_pre, 1}) == rows.at({s, Site::resid_post, 0})));
        BOOST_TEST((rows.at({s, Site::resid_pre, 2}) == rows.at({s, Site::resid_post, 1})));
        BOOST_TEST((rows.at({s, Site::resid_pre, 0}) == rows.at({s, Site::embedding, 0})));
        BOOST_TEST((rows.at({s, Site::resid_pre, 0}) != rows.at({s, Site::resid_post, 0})));
    }
}

// The final norm stands behind the last block, whatever else is asked for.
BOOST_AUTO_TEST_CASE(final_norm_alone) {
    for (const std::string& name : one_of_each) {
        const model::Model model = load(name);
        const Sequences sequences = {{2, 7, 9, 4}, {2, 5}};
        const int last = static_cast<int>(model.config().num_hidden_layers) - 1;
        const Rows alone = collect(model, sequences, {{Site::final_norm, {0}}}, {});
        const Rows with_first = collect(model, sequences, {{Site::final_norm, {0}}, {Site::resid_post, {0}}}, {});
        const Rows with_last = collect(model, sequences, {{Site::final_norm, {0}}, {Site::resid_post, {last}}}, {});
        for (const std::size_t s : {0u, 1u}) {
            const Key key{s, Site::final_norm, 0};
            BOOST_TEST((alone.at(key) == with_last.at(key)), name);
            BOOST_TEST((with_first.at(key) == with_last.at(key)), name);
            BOOST_TEST((alone.at(key).rows != with_last.at({s, Site::resid_post, last}).rows));
        }
    }
}

BOOST_AUTO_TEST_CASE(order_of_the_rows) {
    const model::Model model = load("odd_heads");
    const Sequences sequences = {{2, 7}, {5}, {6, 8, 9}};
    const std::vector<CaptureRequest> requests = {{Site::mlp_out, {2, 0}},
                                                  {Site::final_norm, {0}},
                                                  {Site::resid_post, {}},
                                                  {Site::embedding, {0}},
                                                  {Site::z, {1}}};
    std::vector<Key> expected;
    for (const std::size_t s : {0u, 1u, 2u})
        expected.insert(expected.end(), {{s, Site::mlp_out, 2},
                                         {s, Site::mlp_out, 0},
                                         {s, Site::final_norm, 0},
                                         {s, Site::embedding, 0},
                                         {s, Site::z, 1}});
    for (const int batch_rows : {1, 2, 8}) {
        std::vector<Key> seen;
        capture::capture_rows(model, sequences, requests, in_batches_of(batch_rows), [&](const CapturedRows& captured) {
            seen.emplace_back(captured.sequence, captured.site, captured.layer);
        });
        BOOST_TEST((seen == expected));
    }
}

BOOST_AUTO_TEST_CASE(chosen_positions) {
    const model::Model model = load("odd_heads");
    const Sequences sequences = {{2, 7, 9, 4}, {5, 6}, {2, 8, 3}};
    const std::vector<CaptureRequest> requests = {{Site::resid_post, {2}}, {Site::z, {1}}};
    const Rows all = collect(model, sequences, requests, with_bos());
    std::vector<std::pair<std::size_t, std::size_t>> asked;
    CaptureSettings settings;
    settings.batch_rows = 2;
    settings.positions = [&](std::size_t sequence, std::size_t length) -> std::vector<std::int64_t> {
        asked.emplace_back(sequence, length);
        if (sequence == 0) return {0, 3};
        if (sequence == 1) return {};
        return {0, 1, 2};
    };
    const auto check = [&](const std::vector<std::vector<std::int64_t>>& expected) {
        const Rows chosen = collect(model, sequences, requests, settings);
        BOOST_TEST(chosen.size() == 6u);
        for (const auto& [key, captured] : chosen) {
            BOOST_TEST((captured.positions == expected[std::get<0>(key)]));
            const std::size_t width = std::get<1>(key) == Site::z ? 60 : 48;
            for (std::size_t i = 0; i < captured.positions.size(); ++i) {
                const auto from = static_cast<std::size_t>(captured.positions[i]) * width;
                for (std::size_t channel = 0; channel < width; ++channel)
                    BOOST_TEST(std::abs(captured.rows[i * width + channel] - all.at(key).rows[from + channel]) < 1e-4);
            }
        }
    };
    check({{3}, {}, {1, 2}});
    BOOST_TEST((asked == std::vector<std::pair<std::size_t, std::size_t>>{{0, 4}, {1, 2}, {2, 3}}));
    settings.skip_bos = false;
    check({{0, 3}, {}, {0, 1, 2}});
    // Position 0 goes only where it holds BOS, and only if it was chosen.
    settings.skip_bos = true;
    settings.positions = [](std::size_t, std::size_t) -> std::vector<std::int64_t> { return {1}; };
    check({{1}, {1}, {1}});
    settings.positions = [](std::size_t, std::size_t) -> std::vector<std::int64_t> { return {0}; };
    check({{}, {0}, {}});
    for (const std::vector<std::int64_t>& bad : {std::vector<std::int64_t>{-1}, {2}, {1, 0}, {1, 1}}) {
        settings.positions = [&](std::size_t, std::size_t) { return bad; };
        BOOST_CHECK_THROW(collect(model, {{5, 6}}, requests, settings), InternalError);
    }
}

BOOST_AUTO_TEST_CASE(a_bfloat16_model_gives_its_own_values) {
    for (const std::string& name : one_of_each) {
        const model::Model half = load(name, {model::Dtype::bfloat16, model::Device::cpu, -1});
        const Sequences sequences = {{4, 7, 9, 4}, {5, 6}};  // no BOS of any of them
        const Rows rows = collect(half, sequences, every_site(half.config()), {});
        std::map<std::pair<Site, int>, at::Tensor> seen;
        half.forward(sequences, [&](const model::SiteContext& context, at::Tensor& values) {
            seen[{context.site, context.layer}] = values;
        });
        bool narrow = true;
        for (const auto& [key, captured] : rows) {
            narrow = narrow && std::all_of(captured.rows.begin(), captured.rows.end(), is_bfloat16);
            const at::Tensor values = seen.at({std::get<1>(key), std::get<2>(key)});
            BOOST_TEST((values.scalar_type() == at::kBFloat16));
            const at::Tensor row = values.select(0, static_cast<std::int64_t>(std::get<0>(key)))
                                       .narrow(0, 0, static_cast<std::int64_t>(captured.positions.size()))
                                       .to(at::kFloat)
                                       .contiguous();
            BOOST_TEST(std::equal(captured.rows.begin(), captured.rows.end(), row.const_data_ptr<float>()),
                       name << " " << model::site_name(std::get<1>(key)));
        }
        BOOST_TEST(narrow);
        const Rows wide = collect(load(name), sequences, every_site(half.config()), {});
        BOOST_TEST((wide != rows));
    }
}

// A weight of block 2 that makes every number of it overflow is not noticed by a capture that ends before it.
BOOST_AUTO_TEST_CASE(blocks_nobody_asked_for_do_not_run) {
    const model_copy::ModelCopy copy("odd_heads");
    auto tensors = copy.tensors();
    auto& norm = tensors.at("model.layers.2.input_layernorm.weight");
    std::vector<float> huge(norm.bytes.size() / 4, 3e38F);
    norm.bytes.assign(reinterpret_cast<const char*>(huge.data()), norm.bytes.size());
    copy.set_tensors(tensors);
    const model::Model broken = copy.load();
    const Sequences sequences = {{2, 7, 9}};
    const auto finite = [](const Rows& rows) {
        return std::all_of(rows.begin(), rows.end(), [](const auto& entry) {
            return std::all_of(entry.second.rows.begin(), entry.second.rows.end(),
                               [](float value) { return std::isfinite(value); });
        });
    };
    const std::vector<CaptureRequest> early = {{Site::resid_post, {1}}, {Site::embedding, {0}}};
    BOOST_TEST(finite(collect(broken, sequences, early, {})));
    BOOST_TEST((collect(broken, sequences, early, {}) == collect(load("odd_heads"), sequences, early, {})));
    BOOST_TEST(!finite(collect(broken, sequences, {{Site::resid_post, {2}}}, {})));
    // Blocks that a pass of a given depth shows.
    int calls = 0;
    broken.run(sequences, model::depth_of(early), [&](const model::SiteContext&, at::Tensor&) { ++calls; });
    BOOST_TEST(calls == 1 + 2 * 6);
    calls = 0;
    broken.run(sequences, model::depth_of(std::vector<CaptureRequest>{{Site::embedding, {0}}}),
               [&](const model::SiteContext&, at::Tensor&) { ++calls; });
    BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE(nothing_and_bad_requests) {
    const model::Model model = load("odd_heads");
    const Sequences one = {{2, 7}};
    const auto never = [](const CapturedRows&) { BOOST_ERROR("called"); };
    const auto capture = [&](const Sequences& sequences, const std::vector<CaptureRequest>& requests,
                             const CaptureSettings& settings = {}) {
        capture::capture_rows(model, sequences, requests, settings, never);
    };
    capture({}, {{Site::resid_post, {0}}});
    for (const CaptureRequest& bad : {CaptureRequest{Site::resid_post, {3}},
                                      {Site::resid_post, {-1}},
                                      {Site::resid_post, {}},
                                      {Site::resid_post, {1, 1}},
                                      {Site::embedding, {1}}}) {
        BOOST_CHECK_THROW(capture(one, {bad}), UsageError);
        if (!bad.layers.empty()) BOOST_CHECK_THROW(capture(one, {{Site::z, {0}}, bad}), UsageError);
    }
    BOOST_CHECK_THROW(capture(one, {}), UsageError);
    for (const int batch_rows : {0, -1})
        BOOST_CHECK_THROW(capture(one, {{Site::resid_post, {0}}}, in_batches_of(batch_rows)), UsageError);
    BOOST_CHECK_EXCEPTION(capture({{2}, {2, 3}, {}}, {{Site::resid_post, {0}}}), InputError, [](const InputError& error) {
        return std::string(error.what()).find("sequence 2") != std::string::npos;
    });
    BOOST_CHECK_THROW(capture({{}}, {{Site::resid_post, {0}}}), InputError);
    BOOST_CHECK_THROW(capture({{2, 384}}, {{Site::resid_post, {0}}}), InputError);
    BOOST_CHECK_THROW(capture({std::vector<std::int32_t>(129, 5)}, {{Site::resid_post, {0}}}), InputError);
    const model::Model neox = load("neox_serial");
    BOOST_CHECK_THROW(collect(neox, one, {{Site::resid_mid, {0}}}, {}), UsageError);
}
