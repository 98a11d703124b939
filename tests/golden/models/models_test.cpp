// Every architecture against Hugging Face eager float32 (golden files of tests/reference/model): logits and every site,
// whole sequences, ragged batches, prefill and step by step, greedy tokens; bfloat16; and proof that the comparison fails
// when one detail of an architecture is wrong.
#define BOOST_TEST_MODULE golden_models
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "golden_case.h"
#include "pva/capture/capture.h"
#include "pva/generate/engine.h"
#include "pva/model/kv_cache.h"
#include "pva/model/threads.h"

using namespace pva;
using golden::Case;

namespace {

constexpr double logit_tolerance = 5e-5;
constexpr double row_tolerance = 2e-5;

// One thread: these models are tiny, and on a busy machine threads would mostly wait for one another.
struct OneThread {
    OneThread() { model::set_threads(1); }
};
BOOST_TEST_GLOBAL_FIXTURE(OneThread);

std::vector<model::CaptureRequest> every_site(const model::ModelConfig& config) {
    std::vector<model::CaptureRequest> requests;
    for (const model::Site site : model::all_sites()) {
        if (site == model::Site::resid_mid && !config.has_resid_mid) continue;
        model::CaptureRequest request{site, {0}};
        for (int layer = 1; model::site_has_layers(site) && layer < config.num_hidden_layers; ++layer)
            request.layers.push_back(layer);
        requests.push_back(std::move(request));
    }
    return requests;
}

}  // namespace

BOOST_AUTO_TEST_CASE(there_are_enough_models_of_every_family) {
    std::map<std::string, int> count;
    int random = 0;
    for (const Case& one : golden::all_cases()) {
        ++count[one.family];
        random += one.name == "demo" ? 0 : 1;
    }
    BOOST_TEST(random >= 18);
    for (const std::string family : {"gemma2", "gpt_neox", "llama", "mistral", "qwen2"})
        BOOST_TEST(count[family] >= 2, family << ": " << count[family]);
}

BOOST_AUTO_TEST_CASE(logits_of_a_ragged_batch_and_of_single_sequences) {
    for (const Case& one : golden::all_cases()) {
        const model::Model model = one.load();
        // Thousands of tokens are run alone only: padding the others to that length would take most of the time.
        const bool long_case = one.name == "gemma2_real_window";
        const double together = long_case ? 0 : golden::logit_difference(one, model.forward(one.rows()));
        double single = 0;
        for (const auto& sequence : one.sequences) {
            const Case alone{one.name, one.family, one.folder, {sequence}};
            single = std::max(single, golden::logit_difference(alone, model.forward(alone.rows())));
        }
        std::cout << one.name << ": largest logit difference " << together << " in a ragged batch, " << single
                  << " alone\n";
        BOOST_TEST(together < logit_tolerance, one.name);
        BOOST_TEST(single < logit_tolerance, one.name);
    }
}

BOOST_AUTO_TEST_CASE(rows_at_every_site_by_one_pass) {
    for (Case one : golden::all_cases()) {
        const model::Model model = one.load();
        if (one.name == "gemma2_real_window") one.sequences.resize(1);
        const auto rows = one.rows();
        std::map<model::Site, double> largest;
        std::set<std::pair<model::Site, int>> compared;
        const auto requests = every_site(model.config());
        capture::CaptureSettings settings{3, false, {}};
        settings.positions = [&](std::size_t sequence, std::size_t) {
            const auto& kept = one.sequences[sequence].positions;
            return std::vector<std::int64_t>(kept.begin(), kept.end());
        };
        capture::capture_rows(model, rows, requests, settings, [&](const capture::CapturedRows& captured) {
            const auto& sequence = one.sequences[captured.sequence];
            const auto found = sequence.sites.find(captured.site);
            if (found == sequence.sites.end()) return;
            const auto width = static_cast<std::size_t>(model::site_width(model.config(), captured.site));
            const std::size_t kept = sequence.positions.size();
            BOOST_REQUIRE_EQUAL(captured.positions.size(), kept);
            BOOST_REQUIRE_EQUAL(captured.rows.size(), kept * width);
            for (std::size_t p = 0; p < kept; ++p) {
                const std::size_t at = (static_cast<std::size_t>(captured.layer) * kept + p) * width;
                const double difference =
                    golden::row_difference(captured.rows.subspan(p * width, width), std::span(found->second).subspan(at, width));
                double& worst = largest[captured.site];
                worst = std::max(worst, difference);
            }
            compared.insert({captured.site, captured.layer});
        });
        std::cout << one.name << ":";
        for (const auto& [site, difference] : largest) {
            std::cout << " " << model::site_name(site) << " " << difference;
            BOOST_TEST(difference < row_tolerance, one.name << " " << model::site_name(site));
        }
        std::cout << "\n";
        std::size_t expected = 0;
        for (const auto& [site, values] : one.sequences[0].sites)
            expected += model::site_has_layers(site) ? static_cast<std::size_t>(model.config().num_hidden_layers) : 1;
        BOOST_TEST(expected >= static_cast<std::size_t>(model.config().num_hidden_layers));
        BOOST_TEST(compared.size() == expected, one.name);
    }
}

// Every row is cut at a different place: the first part is prefilled as a ragged batch, the rest decoded token by
// token, and rows leave the batch as they end.
BOOST_AUTO_TEST_CASE(prefill_then_step_by_step) {
    const c10::InferenceMode no_gradients;
    for (Case one : golden::all_cases()) {
        const model::Model model = one.load();
        if (one.name == "gemma2_real_window") one.sequences.resize(1);
        const auto vocab = static_cast<std::size_t>(model.config().vocab_size);
        const auto rows = one.rows();
        std::vector<std::vector<std::int32_t>> prompts;
        std::size_t longest = 0;
        for (std::size_t s = 0; s < rows.size(); ++s) {
            std::size_t cut = s % 2 == 0 ? rows[s].size() / 3 : rows[s].size() - 1;
            if (rows[s].size() > 1000) cut = rows[s].size() - 5;
            cut = std::max<std::size_t>(1, cut);
            prompts.emplace_back(rows[s].begin(), rows[s].begin() + static_cast<std::ptrdiff_t>(cut));
            longest = std::max(longest, rows[s].size());
        }
        model::KvCache cache =
            model.make_cache(static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(longest));
        double largest = 0;
        std::size_t compared = 0;
        const auto compare = [&](std::size_t s, std::size_t position, const at::Tensor& logits, std::size_t slot) {
            const auto& sequence = one.sequences[s];
            const auto kept =
                std::find(sequence.positions.begin(), sequence.positions.end(), static_cast<std::int32_t>(position));
            if (kept == sequence.positions.end()) return;
            const auto p = static_cast<std::size_t>(kept - sequence.positions.begin());
            largest = std::max(largest, golden::largest_logit_difference(
                                            golden::row_of(logits.unsqueeze(1), slot, 0),
                                            std::span(sequence.logits).subspan(p * vocab, vocab)));
            ++compared;
        };
        const at::Tensor first = model.prefill(prompts, cache);
        for (std::size_t s = 0; s < rows.size(); ++s)
            compare(s, prompts[s].size() - 1, first, s);
        while (true) {
            std::vector<std::int64_t> active;
            std::vector<std::int32_t> tokens;
            for (std::size_t s = rows.size(); s-- > 0;) {  // not in row order, on purpose
                const auto length = static_cast<std::size_t>(cache.lengths[s]);
                if (length == rows[s].size()) continue;
                active.push_back(static_cast<std::int64_t>(s));
                tokens.push_back(rows[s][length]);
            }
            if (active.empty()) break;
            const at::Tensor logits = model.decode_step(tokens, active, cache);
            for (std::size_t slot = 0; slot < active.size(); ++slot) {
                const auto s = static_cast<std::size_t>(active[slot]);
                compare(s, static_cast<std::size_t>(cache.lengths[s]) - 1, logits, slot);
            }
        }
        std::cout << one.name << ": prefill and steps, largest logit difference " << largest << " over " << compared
                  << " rows\n";
        BOOST_TEST(compared >= rows.size());
        BOOST_TEST(largest < logit_tolerance, one.name);
    }
}

BOOST_AUTO_TEST_CASE(greedy_tokens) {
    std::size_t compared = 0;
    for (const Case& one : golden::all_cases()) {
        const model::Model model = one.load();
        std::vector<generate::Prompt> prompts;
        std::vector<std::size_t> chosen;
        std::size_t steps = 0;
        for (std::size_t s = 0; s < one.sequences.size(); ++s) {
            const auto& sequence = one.sequences[s];
            const std::size_t room = static_cast<std::size_t>(model.config().max_position_embeddings) - sequence.tokens.size();
            if (sequence.greedy.empty() || sequence.greedy.size() > room) continue;
            prompts.push_back({sequence.tokens});
            chosen.push_back(s);
            steps = std::max(steps, sequence.greedy.size());
        }
        if (prompts.empty()) continue;
        generate::GenerationSettings settings;
        settings.max_new_tokens = static_cast<int>(steps);
        settings.stop_at_eos = one.sequences[0].greedy_gap.empty();
        settings.capture.layers = {0, static_cast<int>(model.config().num_hidden_layers) - 1};
        const auto generations = generate::generate_batch(model, nullptr, prompts, settings);
        const auto d_model = static_cast<std::size_t>(model.config().hidden_size);
        for (std::size_t i = 0; i < prompts.size(); ++i) {
            const auto& sequence = one.sequences[chosen[i]];
            for (std::size_t step = 0; step < sequence.greedy.size(); ++step) {
                // A near tie may go either way by rounding, and everything after it differs.
                if (!sequence.greedy_gap.empty() && sequence.greedy_gap[step] < 1e-3) break;
                BOOST_REQUIRE_LT(step, generations[i].tokens.size());
                BOOST_TEST(generations[i].tokens[step] == sequence.greedy[step], one.name << " sequence " << chosen[i] << " step " << step);
                ++compared;
            }
            if (sequence.positions.back() != static_cast<std::int32_t>(sequence.tokens.size()) - 1) continue;
            const auto& post = sequence.sites.at(model::Site::resid_post);
            for (std::size_t k = 0; k < 2; ++k) {
                const auto layer = static_cast<std::size_t>(settings.capture.layers[k]);
                const std::size_t last = (layer * sequence.positions.size() + sequence.positions.size() - 1) * d_model;
                BOOST_TEST(golden::row_difference(std::span(generations[i].residual).subspan(k * d_model, d_model),
                                                  std::span(post).subspan(last, d_model)) < row_tolerance);
            }
        }
    }
    std::cout << compared << " greedy tokens compared\n";
    BOOST_TEST(compared > 1000u);
}

// Rounding or error? A float64 run has no rounding to speak of: what is left between it and both float32 programs must be
// of one size.
BOOST_AUTO_TEST_CASE(float64_shows_that_the_rest_is_rounding) {
    double worst_ours = 0;
    double worst_theirs = 0;
    for (const Case& one : golden::all_cases()) {
        if (one.name == "gemma2_real_window") continue;  // thousands of tokens in float64 take too long
        const at::Tensor exact = one.load({model::Dtype::float64, model::Device::cpu, -1}).forward(one.rows());
        const double theirs = golden::logit_difference(one, exact);
        double ours = 0;
        const at::Tensor rounded = one.load().forward(one.rows());
        for (std::size_t s = 0; s < one.sequences.size(); ++s) {
            for (const std::int32_t position : one.sequences[s].positions) {
                ours = std::max(ours, golden::largest_logit_difference(golden::row_of(rounded, s, position),
                                                                       golden::row_of(exact, s, position)));
            }
        }
        BOOST_TEST(ours < std::max(3 * theirs, 5e-6), one.name << ": " << ours << " against " << theirs);
        BOOST_TEST(theirs < logit_tolerance, one.name);
        worst_ours = std::max(worst_ours, ours);
        worst_theirs = std::max(worst_theirs, theirs);
    }
    std::cout << "distance of float32 logits from float64: ours " << worst_ours << ", transformers " << worst_theirs << "\n";
}

// bfloat16 rounds at 2^-9; what two right programs may differ by is many roundings of that size.
BOOST_AUTO_TEST_CASE(bfloat16) {
    const c10::InferenceMode no_gradients;
    double worst_logit = 0;
    double worst_row = 0;
    double worst_own = 0;
    std::size_t compared = 0;
    for (const Case& one : golden::all_cases()) {
        if (one.name == "gemma2_real_window") continue;
        const model::Model model = one.load({model::Dtype::bfloat16, model::Device::cpu, -1});
        for (const auto& sequence : one.sequences) {
            if (sequence.bf16_logits.empty()) continue;
            const std::vector<std::vector<std::int32_t>> rows = {sequence.tokens};
            std::vector<at::Tensor> post;
            const at::Tensor logits = model.forward(rows, [&](const model::SiteContext& context, at::Tensor& values) {
                if (context.site == model::Site::resid_post) post.push_back(values);
            });
            BOOST_TEST(logits.scalar_type() == at::kBFloat16);
            const auto vocab = static_cast<std::size_t>(logits.size(2));
            const auto d_model = static_cast<std::size_t>(model.config().hidden_size);
            const std::size_t kept = sequence.positions.size();
            for (std::size_t p = 0; p < kept; ++p) {
                const auto ours = golden::row_of(logits, 0, sequence.positions[p]);
                const auto theirs = std::span(sequence.bf16_logits).subspan(p * vocab, vocab);
                worst_logit = std::max(worst_logit, golden::row_difference(ours, theirs));
                // Distance of transformers' own bfloat16 from its float32: the size of the rounding itself.
                worst_own = std::max(worst_own, golden::row_difference(theirs, std::span(sequence.logits).subspan(p * vocab, vocab)));
                for (std::size_t layer = 0; layer < post.size(); ++layer) {
                    worst_row = std::max(worst_row, golden::row_difference(
                                                        golden::row_of(post[layer], 0, sequence.positions[p]),
                                                        std::span(sequence.bf16_resid_post).subspan((layer * kept + p) * d_model, d_model)));
                }
                ++compared;
            }
        }
    }
    std::cout << "bfloat16, " << compared << " rows, norm of the difference over norm of the row: logits " << worst_logit
              << ", resid_post " << worst_row << "; transformers' bfloat16 against its float32 " << worst_own << "\n";
    BOOST_TEST(compared > 300u);
    BOOST_TEST(worst_logit < worst_own);
    BOOST_TEST(worst_row < worst_own);
}

// Each change is a mistake that implementations have made. The comparison has to notice every one of them.
BOOST_AUTO_TEST_CASE(wrong_details_are_noticed) {
    const auto differs = [](const std::string& name, const std::string& what,
                            const std::function<void(golden::Altered&)>& change) {
        const Case one = golden::case_of(name);
        golden::Altered altered(one);
        change(altered);
        const double difference = golden::logit_difference(one, altered.load().forward(one.rows()));
        std::cout << name << ": " << what << " changes logits by " << difference << "\n";
        BOOST_TEST(difference > 20 * logit_tolerance, name << ": " << what);
    };
    const auto field = [&](const std::string& name, const std::string& what, const std::string& key, const std::string& value) {
        differs(name, what, [&](golden::Altered& altered) {
            BOOST_REQUIRE_NE(altered.config_field(key), value);
            altered.set_config(key, value);
        });
    };
    const auto subtract_one = [](std::span<float> values, const auto&) {
        for (float& value : values) value -= 1;
    };
    // Rows of a projection [heads * head_dim, in] so that the half split becomes pairs of neighbours.
    const auto interleave = [](std::int64_t head_dim) {
        return [head_dim](std::span<float> values, const std::vector<std::int64_t>& shape) {
            const std::vector<float> old(values.begin(), values.end());
            const auto width = static_cast<std::size_t>(shape[1]);
            for (std::int64_t row = 0; row < shape[0]; ++row) {
                const std::int64_t channel = row % head_dim;
                const std::int64_t from = row - channel + channel / 2 + (channel % 2) * (head_dim / 2);
                std::copy_n(old.data() + static_cast<std::size_t>(from) * width, width, values.data() + static_cast<std::size_t>(row) * width);
            }
        };
    };

    // Gemma-2
    field("odd_heads", "sliding and full layers swapped", "layer_types", R"(["full_attention","sliding_attention","full_attention"])");
    field("odd_heads", "window too long by one", "sliding_window", "9");
    field("odd_heads", "no attention cap", "attn_logit_softcapping", "null");
    field("odd_heads", "no final cap", "final_logit_softcapping", "null");
    field("odd_heads", "cap of the released models", "attn_logit_softcapping", "50.0");
    field("odd_heads", "another query scale", "query_pre_attn_scalar", "24");
    field("odd_heads", "norm epsilon", "rms_norm_eps", "1e-3");
    field("gemma2_mqa_v4", "rotary base", "rope_theta", "500.0");
    field("gemma2_real_window", "the window forgotten beyond 4096 tokens", "sliding_window", "8192");
    differs("odd_heads", "norm weight w instead of 1 + w", [&](golden::Altered& altered) {
        for (const std::string& name : altered.tensor_names()) {
            if (name.ends_with("norm.weight")) altered.change_tensor(name, subtract_one);
        }
    });
    differs("odd_heads", "one post-norm's weight w instead of 1 + w", [&](golden::Altered& altered) {
        altered.change_tensor("model.layers.1.post_feedforward_layernorm.weight", subtract_one);
    });
    differs("odd_heads", "gate and up swapped", [](golden::Altered& altered) {
        altered.swap_tensors("model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight");
    });
    differs("odd_heads", "keys and values swapped", [](golden::Altered& altered) {
        altered.swap_tensors("model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight");
    });
    differs("odd_heads", "rotary pairs of neighbours and not of halves", [&](golden::Altered& altered) {
        for (const char* projection : {"q_proj", "k_proj"})
            altered.change_tensor("model.layers.0.self_attn." + std::string(projection) + ".weight", interleave(20));
    });

    // GPT-NeoX
    field("neox_serial", "serial read as parallel", "use_parallel_residual", "true");
    field("neox_defaults", "parallel read as serial", "use_parallel_residual", "false");
    field("neox_defaults", "rotary over the whole head", "rotary_pct", "1.0");
    field("neox_serial", "rotary base", "rotary_emb_base", "10000");
    field("neox_serial", "norm epsilon", "layer_norm_eps", "1e-5");
    field("neox_defaults", "tanh form of GELU", "hidden_act", "\"gelu_new\"");
    differs("neox_serial", "QKV split in thirds and not by head", [](golden::Altered& altered) {
        altered.change_tensor("gpt_neox.layers.0.attention.query_key_value.weight", [](std::span<float> values, const std::vector<std::int64_t>& shape) {
            const std::vector<float> old(values.begin(), values.end());
            const std::int64_t heads = 3;
            const std::int64_t head_dim = shape[0] / (3 * heads);
            const auto width = static_cast<std::size_t>(shape[1]);
            for (std::int64_t row = 0; row < shape[0]; ++row) {
                const std::int64_t part = row / (heads * head_dim);
                const std::int64_t head = row / head_dim % heads;
                const std::int64_t target = (head * 3 + part) * head_dim + row % head_dim;
                std::copy_n(old.data() + static_cast<std::size_t>(row) * width, width, values.data() + static_cast<std::size_t>(target) * width);
            }
        });
    });
    differs("neox_serial", "the two norms of a block swapped", [](golden::Altered& altered) {
        altered.swap_tensors("gpt_neox.layers.1.input_layernorm.weight", "gpt_neox.layers.1.post_attention_layernorm.weight");
    });

    // Llama family
    field("llama3_tied_v5", "rope scaling forgotten", "rope_parameters", R"({"rope_type": "default", "rope_theta": 10000.0})");
    field("mistral_window", "window forgotten", "sliding_window", "null");
    field("qwen2_windowed", "window on all layers", "max_window_layers", "0");
    field("qwen2_windowed", "window forgotten", "use_sliding_window", "false");
    field("llama_biases", "norm epsilon", "rms_norm_eps", "1e-6");
    differs("llama_biases", "gate and up swapped", [](golden::Altered& altered) {
        altered.swap_tensors("model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight");
    });
    differs("llama_biases", "bias of o_proj left out", [](golden::Altered& altered) {
        altered.change_tensor("model.layers.0.self_attn.o_proj.bias", [](std::span<float> values, const auto&) {
            std::fill(values.begin(), values.end(), 0.0F);
        });
    });
}

// Within the window all layers attend alike, so that the sequences longer than it are what the tests above rest on.
BOOST_AUTO_TEST_CASE(window_does_not_matter_for_short_sequences) {
    Case one = golden::case_of("odd_heads");
    std::erase_if(one.sequences, [](const golden::Sequence& sequence) { return sequence.tokens.size() > 8; });
    BOOST_REQUIRE_GT(one.sequences.size(), 2u);
    golden::Altered altered(one);
    altered.set_config("sliding_window", "4096");
    BOOST_TEST(golden::logit_difference(one, altered.load().forward(one.rows())) < logit_tolerance);
}

BOOST_AUTO_TEST_CASE(gradients_reach_every_residual_site) {
    for (const std::string name : {"odd_heads", "neox_serial", "llama_biases"}) {
        const Case one = golden::case_of(name);
        const model::Model model = one.load({model::Dtype::float64, model::Device::cpu, -1});
        const std::vector<std::vector<std::int32_t>> rows = {one.sequences[2].tokens};
        const std::int64_t last = static_cast<std::int64_t>(rows[0].size()) - 1;
        for (const model::Site site : {model::Site::resid_pre, model::Site::resid_mid, model::Site::resid_post}) {
            if (site == model::Site::resid_mid && !model.config().has_resid_mid) continue;
            at::Tensor leaf;
            const auto target = [&](const at::Tensor& change) {
                const at::Tensor logits = model.forward(rows, [&](const model::SiteContext& context, at::Tensor& stream) {
                    if (context.site != site || context.layer != 1) return;
                    leaf = (stream + change).detach().set_requires_grad(change.sum().item<double>() == 0);
                    stream = leaf;
                });
                return logits.select(1, last).select(1, 17).sum();
            };
            const at::Tensor none = at::zeros({1, last + 1, model.config().hidden_size}, at::kDouble);
            target(none).backward();
            BOOST_REQUIRE(leaf.grad().defined());
            at::Tensor step = at::zeros_like(none);
            step.select(1, last).select(1, 5).fill_(1e-5);
            const at::Tensor gradient = leaf.grad();
            const double numeric = (target(step) - target(-step)).item<double>() / 2e-5;
            const double analytic = gradient.select(1, last).select(1, 5).item<double>();
            BOOST_TEST(std::abs(analytic) > 1e-6, name << " " << model::site_name(site));
            BOOST_TEST(std::abs(analytic - numeric) < 1e-6 * std::max(1.0, std::abs(analytic)), name << " " << model::site_name(site));
        }
    }
}
