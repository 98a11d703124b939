// What a hook sees and may do, and interventions against changes written by hand.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "model_copy.h"
#include "pva/core/error.h"
#include "pva/model/kv_cache.h"
#include "pva/model/load.h"
#include "pva/model/sites.h"
#include "pva/model/threads.h"

using namespace pva;
using model::Intervention;
using model::Site;
using model::SiteContext;
using model::SiteHook;
using Rows = std::vector<std::vector<std::int32_t>>;

namespace {

const std::vector<std::string> one_of_each = {"odd_heads",    "neox_serial",    "neox_pythia",
                                              "llama_biases", "mistral_window", "qwen2_windowed"};
const Rows ragged = {{2, 7, 11, 30, 4, 9}, {2, 5, 8}, {2}};

model::Model load(const std::string& name, const model::Placement& placement = {}) {
    return model::load_model(model_copy::golden_folder(name).string(), placement);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    const at::Tensor first = a.contiguous();
    const at::Tensor second = b.contiguous();
    return first.sizes() == second.sizes() && first.scalar_type() == second.scalar_type() &&
           std::memcmp(first.const_data_ptr(), second.const_data_ptr(), first.nbytes()) == 0;
}

std::vector<Site> residual_sites(const model::ModelConfig& config) {
    if (config.has_resid_mid) return {Site::resid_pre, Site::resid_mid, Site::resid_post};
    return {Site::resid_pre, Site::resid_post};
}

// The names of all sites of a pass in order.
std::vector<std::pair<Site, int>> expected_order(const model::ModelConfig& config) {
    std::vector<std::pair<Site, int>> order = {{Site::embedding, 0}};
    for (int layer = 0; layer < config.num_hidden_layers; ++layer) {
        order.insert(order.end(), {{Site::resid_pre, layer}, {Site::z, layer}, {Site::attn_out, layer}});
        if (config.has_resid_mid) order.emplace_back(Site::resid_mid, layer);
        order.insert(order.end(), {{Site::mlp_out, layer}, {Site::resid_post, layer}});
    }
    order.emplace_back(Site::final_norm, 0);
    return order;
}

at::Tensor twice_plus_one(const at::Tensor& rows) {
    return rows * 2.0 + 1.0;
}

/// The hand-written form of an intervention: row `slot` of every slot from position `first` on, of one site and layer.
SiteHook by_hand(Site site, std::vector<int> layers, std::int64_t row, std::int64_t first) {
    return [=](const SiteContext& context, at::Tensor& stream) {
        if (context.site != site || std::find(layers.begin(), layers.end(), context.layer) == layers.end()) return;
        at::Tensor changed = stream.clone();
        for (std::size_t slot = 0; slot < context.rows.size(); ++slot) {
            for (std::int64_t token = 0; token < context.valid_tokens[slot]; ++token) {
                if (context.rows[slot] != row || context.first_position[slot] + token < first) continue;
                changed.select(0, static_cast<std::int64_t>(slot))
                    .select(0, token)
                    .copy_(twice_plus_one(stream.select(0, static_cast<std::int64_t>(slot)).select(0, token)));
            }
        }
        stream = changed;
    };
}

// One thread: these models are tiny, and on a busy machine threads would mostly wait for one another.
struct OneThread {
    OneThread() { model::set_threads(1); }
};
BOOST_TEST_GLOBAL_FIXTURE(OneThread);

}  // namespace

BOOST_AUTO_TEST_SUITE(hooks)

BOOST_AUTO_TEST_CASE(every_site_once_in_order_with_its_shape) {
    for (const std::string& name : one_of_each) {
        const model::Model model = load(name);
        const auto expected = expected_order(model.config());
        std::vector<std::pair<Site, int>> seen;
        std::int64_t tokens = 0;
        std::vector<std::int64_t> rows, first, valid;
        const SiteHook hook = [&](const SiteContext& context, at::Tensor& values) {
            seen.emplace_back(context.site, context.layer);
            BOOST_TEST(
                (values.sizes().vec() == std::vector<std::int64_t>{static_cast<std::int64_t>(rows.size()), tokens,
                                                                   model::site_width(model.config(), context.site)}),
                name << " " << model::site_name(context.site));
            BOOST_TEST((values.scalar_type() == at::kFloat));
            BOOST_TEST((std::vector<std::int64_t>(context.rows.begin(), context.rows.end()) == rows));
            BOOST_TEST(
                (std::vector<std::int64_t>(context.first_position.begin(), context.first_position.end()) == first));
            BOOST_TEST((std::vector<std::int64_t>(context.valid_tokens.begin(), context.valid_tokens.end()) == valid));
        };
        const auto check = [&](const auto& pass) {
            seen.clear();
            pass();
            BOOST_TEST((seen == expected), name);
        };
        tokens = 6;
        rows = {0, 1, 2};
        first = {0, 0, 0};
        valid = {6, 3, 1};
        check([&] { model.forward(ragged, hook); });
        check([&] { model.run(ragged, {static_cast<int>(model.config().num_hidden_layers), true}, hook); });
        model::KvCache cache = model.make_cache(3, 8);
        check([&] { model.prefill(ragged, cache, hook); });
        tokens = 1;
        rows = {2, 0};
        first = {1, 6};
        valid = {1, 1};
        check([&] {
            model.decode_step(std::vector<std::int32_t>{3, 4}, std::vector<std::int64_t>{2, 0}, cache, hook);
        });
        first = {2, 7};
        check([&] {
            model.decode_step(std::vector<std::int32_t>{3, 4}, std::vector<std::int64_t>{2, 0}, cache, hook);
        });
    }
}

// The sites hang together: what one shows follows from the others.
BOOST_AUTO_TEST_CASE(sums_of_the_stream) {
    for (const std::string& name : one_of_each) {
        const model::Model model = load(name);
        std::map<std::pair<Site, int>, at::Tensor> seen;
        const at::Tensor plain = model.forward(ragged);
        BOOST_TEST(same_bits(model.forward(ragged,
                                           [&](const SiteContext& context, at::Tensor& values) {
                                               seen[{context.site, context.layer}] = values;
                                           }),
                             plain));
        const int layers = static_cast<int>(model.config().num_hidden_layers);
        BOOST_TEST(same_bits(seen.at({Site::resid_pre, 0}), seen.at({Site::embedding, 0})));
        for (int layer = 0; layer < layers; ++layer) {
            if (layer > 0)
                BOOST_TEST(same_bits(seen.at({Site::resid_pre, layer}), seen.at({Site::resid_post, layer - 1})));
            const at::Tensor sum =
                seen.at({Site::resid_pre, layer}) + seen.at({Site::attn_out, layer}) + seen.at({Site::mlp_out, layer});
            BOOST_TEST((sum - seen.at({Site::resid_post, layer})).abs().max().item<float>() <=
                           1e-5F * sum.abs().max().item<float>(),
                       name);
            if (!model.config().has_resid_mid) continue;
            BOOST_TEST(same_bits(seen.at({Site::resid_mid, layer}),
                                 seen.at({Site::resid_pre, layer}) + seen.at({Site::attn_out, layer})));
            BOOST_TEST(same_bits(seen.at({Site::resid_post, layer}),
                                 seen.at({Site::resid_mid, layer}) + seen.at({Site::mlp_out, layer})));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_hook_may_change_the_stream) {
    const model::Model model = load("odd_heads");
    const Rows rows = {{2, 7, 11}, {2, 5}};
    const at::Tensor untouched = model.forward(rows);
    int calls = 0;
    const at::Tensor touched = model.forward(rows, [&](const SiteContext& context, at::Tensor& stream) {
        ++calls;
        if (context.site != Site::resid_pre || context.layer != 1) return;
        BOOST_TEST(context.rows.size() == 2u);
        BOOST_TEST(context.valid_tokens[1] == 2);
        at::Tensor changed = stream.clone();
        changed.select(0, 1).add_(1.0F);
        stream = changed;
    });
    BOOST_TEST(calls == 2 + 3 * 6);
    BOOST_TEST(same_bits(touched.select(0, 0), untouched.select(0, 0)));
    BOOST_TEST(
        (touched.select(0, 1).narrow(0, 0, 2) - untouched.select(0, 1).narrow(0, 0, 2)).abs().max().item<float>() >
        0.01F);
}

BOOST_AUTO_TEST_CASE(what_a_hook_must_not_do) {
    for (const std::string name : {"odd_heads", "neox_serial", "llama_biases"}) {
        const model::Model model = load(name);
        const auto replace = [&](Site site, const std::function<at::Tensor(const at::Tensor&)>& change) {
            return [&model, site, change] {
                model.forward(ragged, [&](const SiteContext& context, at::Tensor& values) {
                    if (context.site == site && context.layer == 0) values = change(values);
                });
            };
        };
        const auto clone = [](const at::Tensor& values) { return values.clone(); };
        for (const Site site : {Site::embedding, Site::z, Site::attn_out, Site::mlp_out, Site::final_norm}) {
            BOOST_CHECK_EXCEPTION(replace(site, clone)(), InternalError, [&](const InternalError& error) {
                return std::string(error.what()).find(model::site_name(site)) != std::string::npos;
            });
        }
        for (const Site site : residual_sites(model.config())) {
            BOOST_CHECK_NO_THROW(replace(site, clone)());
            BOOST_CHECK_THROW(replace(site, [](const at::Tensor& values) { return values.narrow(1, 0, 2); })(),
                              InternalError);
            BOOST_CHECK_THROW(replace(site, [](const at::Tensor& values) { return values.unsqueeze(0); })(),
                              InternalError);
            BOOST_CHECK_THROW(replace(site, [](const at::Tensor& values) { return values.to(at::kDouble); })(),
                              InternalError);
            BOOST_CHECK_THROW(replace(site, [](const at::Tensor& values) { return values.to(at::kBFloat16); })(),
                              InternalError);
            BOOST_CHECK_THROW(replace(site, [](const at::Tensor&) { return at::Tensor(); })(), InternalError);
        }
    }
}

BOOST_AUTO_TEST_CASE(combining) {
    BOOST_TEST(!model::combine({}));
    BOOST_TEST(!model::combine({SiteHook(), SiteHook()}));
    const model::Model model = load("odd_heads");
    std::string calls;
    const auto named = [&](char letter) -> SiteHook {
        return [&calls, letter](const SiteContext& context, at::Tensor&) {
            if (context.site == Site::embedding) calls += letter;
        };
    };
    model.forward(ragged, model::combine({named('a'), SiteHook(), named('b'), named('c')}));
    BOOST_TEST(calls == "abc");
    calls.clear();
    model.forward(ragged, model::combine({SiteHook(), named('d')}));
    BOOST_TEST(calls == "d");
}

BOOST_AUTO_TEST_CASE(rows_at_the_last_token) {
    for (const model::Dtype dtype : {model::Dtype::float32, model::Dtype::bfloat16}) {
        const model::Model model = load("odd_heads", {dtype, model::Device::cpu, -1});
        std::vector<std::vector<float>> rows(3);
        const model::CaptureRequest request{Site::z, {2, 0}};
        std::map<int, at::Tensor> seen;
        model.forward(ragged, model::combine({model::capture_last_token(request, rows),
                                              [&](const SiteContext& context, at::Tensor& values) {
                                                  if (context.site == Site::z)
                                                      seen[context.layer] = values.to(at::kFloat);
                                              }}));
        for (std::size_t row = 0; row < 3; ++row) {
            BOOST_REQUIRE_EQUAL(rows[row].size(), 120u);
            for (std::size_t i = 0; i < 120; ++i) {
                const float expected = seen.at(i < 60 ? 2 : 0)[static_cast<std::int64_t>(
                    row)][static_cast<std::int64_t>(ragged[row].size()) - 1][static_cast<std::int64_t>(i % 60)]
                                           .item<float>();
                BOOST_TEST(rows[row][i] == expected);
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(interventions)

BOOST_AUTO_TEST_CASE(equal_to_a_hook_written_by_hand) {
    for (const std::string& name : one_of_each) {
        const model::Model model = load(name);
        const at::Tensor plain = model.forward(ragged);
        for (const Site site : residual_sites(model.config())) {
            for (const std::vector<int>& layers : {std::vector<int>{0}, std::vector<int>{1}, std::vector<int>{1, 0}}) {
                const SiteHook hook = model::intervene(
                    {site, layers, [](std::int64_t row, std::int64_t position) { return row == 0 && position >= 3; },
                     [](const SiteContext&, const at::Tensor& rows) { return twice_plus_one(rows); }},
                    model.config());
                const at::Tensor changed = model.forward(ragged, hook);
                BOOST_TEST_CONTEXT(name << " " << model::site_name(site) << " of " << layers.size() << " layers") {
                    BOOST_TEST(same_bits(changed, model.forward(ragged, by_hand(site, layers, 0, 3))));
                    for (const std::int64_t row : {1, 2})
                        BOOST_TEST(same_bits(changed.select(0, row), plain.select(0, row)));
                    BOOST_TEST(same_bits(changed.select(0, 0).narrow(0, 0, 3), plain.select(0, 0).narrow(0, 0, 3)));
                    for (const std::int64_t position : {3, 4, 5})
                        BOOST_TEST((changed[0][position] - plain[0][position]).abs().max().item<float>() > 1e-3F);
                }
            }
        }
    }
}

// A position that is not changed itself sees the change of an earlier one through attention.
BOOST_AUTO_TEST_CASE(later_positions_see_the_change) {
    for (const std::string name : {"odd_heads", "neox_pythia", "llama_biases"}) {
        const model::Model model = load(name);
        const at::Tensor plain = model.forward(ragged);
        const at::Tensor changed = model.forward(
            ragged, model::intervene({Site::resid_post,
                                      {0},
                                      [](std::int64_t row, std::int64_t position) { return row == 0 && position == 2; },
                                      [](const SiteContext&, const at::Tensor& rows) { return rows * -3.0; }},
                                     model.config()));
        BOOST_TEST(same_bits(changed[0].narrow(0, 0, 2), plain[0].narrow(0, 0, 2)));
        BOOST_TEST((changed[0][5] - plain[0][5]).abs().max().item<float>() > 1e-5F, name);
    }
}

BOOST_AUTO_TEST_CASE(which_rows_it_is_given) {
    const model::Model model = load("odd_heads");
    std::vector<std::pair<std::int64_t, std::int64_t>> asked;
    std::vector<at::Tensor> given;
    at::Tensor stream;
    const SiteHook watch = [&](const SiteContext& context, at::Tensor& values) {
        if (context.site == Site::resid_pre && context.layer == 1) stream = values;
    };
    const SiteHook hook = model::intervene({Site::resid_pre,
                                            {1},
                                            [&](std::int64_t row, std::int64_t position) {
                                                asked.emplace_back(row, position);
                                                return position % 2 == 0;
                                            },
                                            [&](const SiteContext& context, const at::Tensor& rows) {
                                                BOOST_TEST((context.site == Site::resid_pre));
                                                BOOST_TEST(context.layer == 1);
                                                given.push_back(rows);
                                                return rows;
                                            }},
                                           model.config());
    model.forward(ragged, model::combine({watch, hook}));
    // Every token of every row once, no padding.
    std::vector<std::pair<std::int64_t, std::int64_t>> expected;
    for (std::int64_t row = 0; row < 3; ++row) {
        for (std::int64_t position = 0;
             position < static_cast<std::int64_t>(ragged[static_cast<std::size_t>(row)].size()); ++position)
            expected.emplace_back(row, position);
    }
    BOOST_TEST((asked == expected));
    BOOST_REQUIRE_EQUAL(given.size(), 1u);
    BOOST_TEST(same_bits(
        given[0], at::stack({stream[0][0], stream[0][2], stream[0][4], stream[1][0], stream[1][2], stream[2][0]})));
}

BOOST_AUTO_TEST_CASE(in_decoding_positions_count_on) {
    for (const std::string& name : one_of_each) {
        const model::Model model = load(name);
        for (const Site site : residual_sites(model.config())) {
            std::vector<std::pair<std::int64_t, std::int64_t>> asked;
            const SiteHook hook =
                model::intervene({site,
                                  {1},
                                  [&](std::int64_t row, std::int64_t position) {
                                      asked.emplace_back(row, position);
                                      return row == 1 && (position == 1 || position >= 4);
                                  },
                                  [](const SiteContext&, const at::Tensor& rows) { return twice_plus_one(rows); }},
                                 model.config());
            model::KvCache cache = model.make_cache(3, 9);
            model.prefill(ragged, cache, hook);
            asked.clear();
            std::vector<at::Tensor> steps;
            for (const std::int32_t token : {21, 22, 23}) {
                steps.push_back(model.decode_step(std::vector<std::int32_t>{token, token},
                                                  std::vector<std::int64_t>{1, 2}, cache, hook));
            }
            BOOST_TEST((asked == std::vector<std::pair<std::int64_t, std::int64_t>>{
                                     {1, 3}, {2, 1}, {1, 4}, {2, 2}, {1, 5}, {2, 3}}));
            const at::Tensor plain = model.forward(Rows{{2, 5, 8, 21, 22, 23}, {2, 21, 22, 23}});
            const at::Tensor whole = model.forward(Rows{{1}, {2, 5, 8, 21, 22, 23}, {2, 21, 22, 23}}, hook);
            for (std::int64_t step = 0; step < 3; ++step) {
                const at::Tensor one = steps[static_cast<std::size_t>(step)];
                BOOST_TEST((one[0] - whole[1][3 + step]).abs().max().item<float>() < 5e-5F, name);
                BOOST_TEST((one[1] - plain[1][1 + step]).abs().max().item<float>() < 5e-5F, name);
            }
            BOOST_TEST((steps[1][0] - plain[0][4]).abs().max().item<float>() > 1e-3F, name);
        }
    }
}

BOOST_AUTO_TEST_CASE(an_empty_choice_changes_and_calls_nothing) {
    const model::Model model = load("odd_heads");
    const at::Tensor plain = model.forward(ragged);
    const auto never = [](const SiteContext&, const at::Tensor& rows) -> at::Tensor {
        BOOST_ERROR("called");
        return rows;
    };
    const SiteHook nobody = model::intervene(
        {Site::resid_mid, {0, 1, 2}, [](std::int64_t, std::int64_t) { return false; }, never}, model.config());
    BOOST_TEST(same_bits(model.forward(ragged, nobody), plain));
    at::Tensor before;
    model.forward(ragged, [&](const SiteContext& context, at::Tensor& values) {
        before = values;
        nobody(context, values);
        BOOST_TEST(values.is_same(before));  // not even copied
    });
    const SiteHook no_layers = model::intervene({Site::resid_post, {}, {}, never}, model.config());
    BOOST_TEST(same_bits(model.forward(ragged, no_layers), plain));
}

BOOST_AUTO_TEST_CASE(adding_nothing_keeps_all_bits) {
    for (const std::string& name : one_of_each) {
        for (const model::Dtype dtype : {model::Dtype::float32, model::Dtype::bfloat16}) {
            const model::Model model = load(name, {dtype, model::Device::cpu, -1});
            const at::Tensor plain = model.forward(ragged);
            for (const Site site : residual_sites(model.config())) {
                const SiteHook hook = model::intervene(
                    {site,
                     {0, 1},
                     {},
                     [](const SiteContext&, const at::Tensor& rows) { return rows + at::zeros_like(rows); }},
                    model.config());
                BOOST_TEST(same_bits(model.forward(ragged, hook), plain), name);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(two_in_order) {
    const model::Model model = load("llama_biases");
    const auto hook = [&](const std::function<at::Tensor(const at::Tensor&)>& change) {
        return model::intervene({Site::resid_post,
                                 {1},
                                 [](std::int64_t row, std::int64_t) { return row == 1; },
                                 [change](const SiteContext&, const at::Tensor& rows) { return change(rows); }},
                                model.config());
    };
    const SiteHook plus = hook([](const at::Tensor& rows) { return rows + 1.0; });
    const SiteHook times = hook([](const at::Tensor& rows) { return rows * 2.0; });
    const at::Tensor plus_first = model.forward(ragged, model::combine({plus, times}));
    BOOST_TEST(
        same_bits(plus_first, model.forward(ragged, hook([](const at::Tensor& rows) { return (rows + 1.0) * 2.0; }))));
    const at::Tensor times_first = model.forward(ragged, model::combine({times, plus}));
    BOOST_TEST(
        same_bits(times_first, model.forward(ragged, hook([](const at::Tensor& rows) { return rows * 2.0 + 1.0; }))));
    BOOST_TEST(!same_bits(plus_first, times_first));
    // resid_post of a block and resid_pre of the next are the same place.
    const SiteHook post = model::intervene(
        {Site::resid_post, {0}, {}, [](const SiteContext&, const at::Tensor& rows) { return twice_plus_one(rows); }},
        model.config());
    const SiteHook pre = model::intervene(
        {Site::resid_pre, {1}, {}, [](const SiteContext&, const at::Tensor& rows) { return twice_plus_one(rows); }},
        model.config());
    BOOST_TEST(same_bits(model.forward(ragged, post), model.forward(ragged, pre)));
}

BOOST_AUTO_TEST_CASE(refusals) {
    const model::Model gemma = load("odd_heads");
    const model::Model neox = load("neox_serial");
    const auto same = [](const SiteContext&, const at::Tensor& rows) { return rows; };
    for (const Site site : {Site::embedding, Site::z, Site::attn_out, Site::mlp_out, Site::final_norm}) {
        BOOST_CHECK_EXCEPTION(model::intervene({site, {0}, {}, same}, gemma.config()), UsageError,
                              [&](const UsageError& error) {
                                  return std::string(error.what()).find(model::site_name(site)) != std::string::npos;
                              });
    }
    for (const std::vector<int>& layers :
         {std::vector<int>{3}, std::vector<int>{-1}, std::vector<int>{1, 1}, std::vector<int>{0, 1, 2, 3}})
        BOOST_CHECK_THROW(model::intervene({Site::resid_post, layers, {}, same}, gemma.config()), UsageError);
    BOOST_CHECK_THROW(model::intervene({Site::resid_mid, {0}, {}, same}, neox.config()), UsageError);
    BOOST_CHECK_NO_THROW(model::intervene({Site::resid_mid, {0}, {}, same}, gemma.config()));
    BOOST_CHECK_THROW(model::intervene({Site::resid_post, {0}, {}, {}}, gemma.config()), InternalError);
    const auto wrong = [&](const std::function<at::Tensor(const at::Tensor&)>& change) {
        BOOST_CHECK_THROW(
            gemma.forward(ragged,
                          model::intervene({Site::resid_post,
                                            {0},
                                            {},
                                            [&](const SiteContext&, const at::Tensor& rows) { return change(rows); }},
                                           gemma.config())),
            InternalError);
    };
    wrong([](const at::Tensor& rows) { return rows.narrow(0, 0, 1); });
    wrong([](const at::Tensor& rows) { return rows.narrow(1, 0, 1); });
    wrong([](const at::Tensor& rows) { return rows.unsqueeze(0); });
    wrong([](const at::Tensor& rows) { return rows.to(at::kDouble); });
    wrong([](const at::Tensor&) { return at::Tensor(); });
}

BOOST_AUTO_TEST_CASE(gradients_flow_through) {
    const model::Model model = load("odd_heads", {model::Dtype::float64, model::Device::cpu, -1});
    at::Tensor steering = at::zeros({48}, at::kDouble).set_requires_grad(true);
    const SiteHook hook =
        model::intervene({Site::resid_mid,
                          {1},
                          [](std::int64_t row, std::int64_t position) { return row == 0 && position == 4; },
                          [&](const SiteContext&, const at::Tensor& rows) { return rows + steering; }},
                         model.config());
    model.forward(ragged, hook)[0][5][17].backward();
    BOOST_REQUIRE(steering.grad().defined());
    const auto target = [&](double step) {
        at::Tensor moved = at::zeros({48}, at::kDouble);
        moved[5].fill_(step);
        return model
            .forward(ragged, model::intervene(
                                 {Site::resid_mid,
                                  {1},
                                  [](std::int64_t row, std::int64_t position) { return row == 0 && position == 4; },
                                  [&](const SiteContext&, const at::Tensor& rows) { return rows + moved; }},
                                 model.config()))[0][5][17]
            .item<double>();
    };
    const double numeric = (target(1e-5) - target(-1e-5)) / 2e-5;
    const double analytic = steering.grad()[5].item<double>();
    BOOST_TEST(std::abs(analytic) > 1e-8);
    BOOST_TEST(std::abs(analytic - numeric) < 1e-6 * std::max(1.0, std::abs(analytic)));
}

BOOST_AUTO_TEST_SUITE_END()
