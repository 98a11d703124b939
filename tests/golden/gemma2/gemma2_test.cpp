// Gemma-2 against Hugging Face eager float32 (golden files of tests/reference/model/make_golden.py): logits and the
// residual stream after every block, whole sequences, ragged batches, prefill and step by step; and proof that the
// comparison fails when one detail of the architecture is wrong.
#define BOOST_TEST_MODULE golden_gemma2
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "pva/capture/capture.h"
#include "pva/core/sha256.h"
#include "pva/generate/engine.h"
#include "pva/io/safetensors.h"
#include "pva/model/gemma2.h"
#include "pva/model/kv_cache.h"
#include "pva/model/load.h"
#include "pva/model/threads.h"
#include "pva/model/weights.h"

namespace fs = std::filesystem;
using namespace pva;

namespace {

constexpr double tolerance = 5e-5;

const fs::path golden_dir = fs::path(PVA_SOURCE_DIR) / "tests/golden/gemma2";
const fs::path demo_model = fs::path(PVA_SOURCE_DIR) / "data/demo/model";

template <typename T>
std::vector<T> read(const io::SafetensorsFile& file, const std::string& name) {
    const auto bytes = file.bytes(name);
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

struct GoldenSequence {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> positions;
    std::vector<std::int32_t> greedy;
    std::vector<float> logits;      // [positions, vocab]
    std::vector<float> resid_post;  // [layers, positions, d_model]
};

// A model with the sequences it is compared on.
struct Case {
    std::string name;
    fs::path folder;
    std::vector<GoldenSequence> sequences;

    model::Gemma2Config config() const { return model::load_gemma2_config((folder / "config.json").string()); }
    model::Gemma2Weights weights(const model::Gemma2Config& config) const {
        return model::load_gemma2_weights(config, io::SafetensorsFile((folder / "model.safetensors").string()));
    }
    model::Gemma2 load() const { return model::Gemma2(config(), weights(config())); }
    std::vector<std::vector<std::int32_t>> rows() const {
        std::vector<std::vector<std::int32_t>> all;
        for (const auto& sequence : sequences)
            all.push_back(sequence.tokens);
        return all;
    }
};

Case read_case(const std::string& name, const fs::path& folder, const fs::path& golden) {
    const io::SafetensorsFile file(golden.string());
    BOOST_REQUIRE_MESSAGE(
        sha256_file_hex((folder / "model.safetensors").string()) == file.metadata().at("weights_sha256"),
        golden << " was made from other weights; run tests/reference/model/make_golden.py " << name);
    Case one{name, folder, {}};
    for (int s = 0; file.contains("tokens." + std::to_string(s)); ++s) {
        const std::string number = std::to_string(s);
        one.sequences.push_back({read<std::int32_t>(file, "tokens." + number),
                                 read<std::int32_t>(file, "positions." + number),
                                 read<std::int32_t>(file, "greedy." + number), read<float>(file, "logits." + number),
                                 read<float>(file, "resid_post." + number)});
    }
    BOOST_REQUIRE_GT(one.sequences.size(), 3u);
    return one;
}

Case random_case(const std::string& name) {
    return read_case(name, golden_dir / name, golden_dir / name / "golden.safetensors");
}

// The random models, and the demo model where it is there.
std::vector<Case> all_cases() {
    std::vector<Case> cases = {random_case("odd_heads"), random_case("bf16_uncapped")};
    if (fs::exists(demo_model / "model.safetensors")) {
        cases.push_back(read_case("demo", demo_model, golden_dir / "demo.safetensors"));
    } else {
        std::cout << "demo model skipped: " << demo_model << " is not there\n";
    }
    return cases;
}

// A value that is not finite counts as infinitely far away, so that no maximum hides it.
double largest_difference(const float* a, const float* b, std::size_t n) {
    double largest = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
        largest = std::max(largest, std::isfinite(difference) ? difference : std::numeric_limits<double>::infinity());
    }
    return largest;
}

// Largest difference of logits [rows, T, vocab] at the golden positions of every sequence.
double logit_difference(const Case& one, const at::Tensor& logits) {
    const auto vocab = static_cast<std::size_t>(logits.size(2));
    double largest = 0;
    for (std::size_t s = 0; s < one.sequences.size(); ++s) {
        const auto& sequence = one.sequences[s];
        for (std::size_t p = 0; p < sequence.positions.size(); ++p) {
            const at::Tensor row =
                logits.select(0, static_cast<std::int64_t>(s)).select(0, sequence.positions[p]).contiguous();
            largest = std::max(
                largest, largest_difference(row.const_data_ptr<float>(), sequence.logits.data() + p * vocab, vocab));
        }
    }
    return largest;
}

double full_forward_difference(const Case& one, model::Gemma2Config config, model::Gemma2Weights weights) {
    return logit_difference(one, model::Gemma2(std::move(config), std::move(weights)).forward(one.rows()));
}

// One thread: these models are tiny, and on a busy machine threads would mostly wait for one another.
struct OneThread {
    OneThread() { model::set_threads(1); }
};
BOOST_TEST_GLOBAL_FIXTURE(OneThread);

}  // namespace

BOOST_AUTO_TEST_CASE(logits_of_a_ragged_batch) {
    for (const Case& one : all_cases()) {
        const double difference = logit_difference(one, one.load().forward(one.rows()));
        std::cout << one.name << ": ragged batch, largest logit difference " << difference << "\n";
        BOOST_TEST(difference < tolerance, one.name);
    }
}

BOOST_AUTO_TEST_CASE(logits_of_single_sequences) {
    for (const Case& one : all_cases()) {
        const model::Gemma2 gemma = one.load();
        for (const auto& sequence : one.sequences) {
            Case alone{one.name, one.folder, {sequence}};
            BOOST_TEST(logit_difference(alone, gemma.forward(alone.rows())) < tolerance, one.name);
        }
    }
}

BOOST_AUTO_TEST_CASE(residual_stream_after_every_block) {
    for (const Case& one : all_cases()) {
        const model::Gemma2 gemma = one.load();
        const auto d_model = static_cast<std::size_t>(gemma.config().hidden_size);
        std::vector<at::Tensor> pre;
        std::vector<at::Tensor> post;
        gemma.forward(one.rows(), [&](const model::SiteContext& context, at::Tensor& stream) {
            (context.site == model::Site::resid_pre ? pre : post).push_back(stream);
        });
        BOOST_REQUIRE_EQUAL(post.size(), static_cast<std::size_t>(gemma.config().num_hidden_layers));
        BOOST_REQUIRE_EQUAL(pre.size(), post.size());
        double largest = 0;
        for (std::size_t layer = 0; layer < post.size(); ++layer) {
            if (layer > 0) BOOST_TEST(at::equal(pre[layer], post[layer - 1]));
            for (std::size_t s = 0; s < one.sequences.size(); ++s) {
                const auto& sequence = one.sequences[s];
                for (std::size_t p = 0; p < sequence.positions.size(); ++p) {
                    const at::Tensor row = post[layer]
                                               .select(0, static_cast<std::int64_t>(s))
                                               .select(0, sequence.positions[p])
                                               .contiguous();
                    const float* golden =
                        sequence.resid_post.data() + (layer * sequence.positions.size() + p) * d_model;
                    const double difference = largest_difference(row.const_data_ptr<float>(), golden, d_model);
                    const double scale = std::max(1.0, static_cast<double>(row.abs().max().item<float>()));
                    largest = std::max(largest, difference / scale);
                }
            }
        }
        std::cout << one.name << ": resid_post, largest difference relative to the row's largest entry " << largest
                  << "\n";
        BOOST_TEST(largest < 1e-5, one.name);
    }
}

BOOST_AUTO_TEST_CASE(capture_rows_gives_the_same_stream) {
    const Case one = random_case("odd_heads");
    const model::Gemma2 gemma = one.load();
    const auto rows = one.rows();
    const std::size_t d_model = 48;
    for (const bool skip_bos : {false, true}) {
        std::size_t calls = 0;
        capture::capture_rows(
            gemma, rows, {model::Site::resid_post, {2, 0}}, {4, skip_bos}, [&](const capture::CapturedRows& captured) {
                const auto& sequence = one.sequences[captured.sequence];
                BOOST_TEST(captured.sequence == calls / 2);
                BOOST_TEST(captured.layer == (calls % 2 == 0 ? 2 : 0));
                BOOST_TEST(captured.first_position == (skip_bos ? 1u : 0u));
                BOOST_REQUIRE_EQUAL(captured.rows.size(), (sequence.tokens.size() - captured.first_position) * d_model);
                const float* golden =
                    sequence.resid_post.data() +
                    (static_cast<std::size_t>(captured.layer) * sequence.positions.size() + captured.first_position) *
                        d_model;
                BOOST_TEST(largest_difference(captured.rows.data(), golden, captured.rows.size()) < tolerance);
                ++calls;
            });
        BOOST_TEST(calls == rows.size() * 2);
    }
}

// Every row is cut at a different place: the first part is prefilled as a ragged batch, the rest decoded token by
// token, and rows leave the batch as they end.
BOOST_AUTO_TEST_CASE(prefill_then_step_by_step) {
    for (const Case& one : all_cases()) {
        const model::Gemma2 gemma = one.load();
        const auto vocab = static_cast<std::size_t>(gemma.config().vocab_size);
        const auto rows = one.rows();
        std::vector<std::vector<std::int32_t>> prompts;
        std::size_t longest = 0;
        for (std::size_t s = 0; s < rows.size(); ++s) {
            const std::size_t cut = std::max<std::size_t>(1, s % 2 == 0 ? rows[s].size() / 3 : rows[s].size() - 1);
            prompts.emplace_back(rows[s].begin(), rows[s].begin() + static_cast<std::ptrdiff_t>(cut));
            longest = std::max(longest, rows[s].size());
        }
        model::KvCache cache = model::make_kv_cache(gemma.config(), static_cast<std::int64_t>(rows.size()),
                                                    static_cast<std::int64_t>(longest));
        double largest = 0;
        std::size_t compared = 0;
        const auto compare = [&](std::size_t s, std::size_t position, const at::Tensor& logits) {
            const auto& sequence = one.sequences[s];
            const auto kept =
                std::find(sequence.positions.begin(), sequence.positions.end(), static_cast<std::int32_t>(position));
            if (kept == sequence.positions.end()) return;
            const auto p = static_cast<std::size_t>(kept - sequence.positions.begin());
            const at::Tensor row = logits.contiguous();
            largest = std::max(
                largest, largest_difference(row.const_data_ptr<float>(), sequence.logits.data() + p * vocab, vocab));
            ++compared;
        };
        const at::Tensor first = gemma.prefill(prompts, cache);
        for (std::size_t s = 0; s < rows.size(); ++s)
            compare(s, prompts[s].size() - 1, first.select(0, static_cast<std::int64_t>(s)));
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
            const at::Tensor logits = gemma.decode_step(tokens, active, cache);
            for (std::size_t slot = 0; slot < active.size(); ++slot) {
                const auto s = static_cast<std::size_t>(active[slot]);
                compare(s, static_cast<std::size_t>(cache.lengths[s]) - 1,
                        logits.select(0, static_cast<std::int64_t>(slot)));
            }
        }
        std::cout << one.name << ": prefill and steps, largest logit difference " << largest << " over " << compared
                  << " rows\n";
        BOOST_TEST(compared >= rows.size());
        BOOST_TEST(largest < tolerance, one.name);
    }
}

BOOST_AUTO_TEST_CASE(greedy_tokens) {
    for (const Case& one : all_cases()) {
        if (!fs::exists(one.folder / "tokenizer.model")) continue;
        const model::Gemma2 gemma = one.load();
        const auto tokenizer = text::Tokenizer::load((one.folder / "tokenizer.model").string());
        std::vector<generate::Prompt> prompts;
        for (const auto& sequence : one.sequences)
            prompts.push_back({sequence.tokens});
        generate::GenerationSettings settings;
        settings.max_new_tokens = one.name == "demo" ? 40 : 12;
        for (int layer = 0; layer < gemma.config().num_hidden_layers; ++layer)
            settings.capture.layers.push_back(layer);
        const auto generations = generate::generate_batch(gemma, tokenizer, prompts, settings);
        for (std::size_t s = 0; s < prompts.size(); ++s) {
            const auto& sequence = one.sequences[s];
            BOOST_TEST(generations[s].tokens == sequence.greedy, boost::test_tools::per_element());
            const auto d_model = static_cast<std::size_t>(gemma.config().hidden_size);
            BOOST_REQUIRE_EQUAL(sequence.positions.back(), static_cast<std::int32_t>(sequence.tokens.size()) - 1);
            for (std::size_t layer = 0; layer < settings.capture.layers.size(); ++layer) {
                const std::size_t last = (layer * sequence.positions.size() + sequence.positions.size() - 1) * d_model;
                BOOST_TEST(largest_difference(generations[s].residual.data() + layer * d_model,
                                              sequence.resid_post.data() + last, d_model) < 1e-3);
            }
        }
    }
}

// Each change is a mistake that implementations of Gemma-2 have made. The comparison has to notice every one of them.
BOOST_AUTO_TEST_CASE(wrong_details_are_noticed) {
    using Config = model::Gemma2Config;
    using Weights = model::Gemma2Weights;
    struct Mistake {
        std::string what;
        std::function<void(Config&, Weights&)> make;
        bool needs_caps = false;
    };
    const auto every_norm = [](Weights& weights, const std::function<void(at::Tensor&)>& change) {
        for (auto& layer : weights.layers) {
            change(layer.input_layernorm);
            change(layer.post_attention_layernorm);
            change(layer.pre_feedforward_layernorm);
            change(layer.post_feedforward_layernorm);
        }
        change(weights.norm);
    };
    const std::vector<Mistake> mistakes = {
        {"sliding and full layers swapped",
         [](Config& config, Weights&) {
             for (auto& kind : config.layer_types) {
                 kind = kind == model::AttentionKind::full ? model::AttentionKind::sliding : model::AttentionKind::full;
             }
         }},
        {"no sliding window", [](Config& config, Weights&) { config.sliding_window = 4096; }},
        {"window too long by one", [](Config& config, Weights&) { config.sliding_window += 1; }},
        {"norm weight w instead of 1 + w",
         [&](Config&, Weights& weights) { every_norm(weights, [](at::Tensor& w) { w = w - 1; }); }},
        {"one norm's weight w instead of 1 + w",
         [](Config&, Weights& weights) {
             weights.layers[1].post_feedforward_layernorm = weights.layers[1].post_feedforward_layernorm - 1;
         }},
        {"scale by head_dim and not by query_pre_attn_scalar (or the reverse)",
         [](Config& config, Weights&) {
             config.query_pre_attn_scalar =
                 config.query_pre_attn_scalar == 20 ? 24 : static_cast<double>(config.head_dim);
         }},
        {"no attention cap", [](Config& config, Weights&) { config.attn_logit_softcapping.reset(); }, true},
        {"no final cap", [](Config& config, Weights&) { config.final_logit_softcapping.reset(); }, true},
        {"caps of the released models",
         [](Config& config, Weights&) {
             config.attn_logit_softcapping = 50.0;
             config.final_logit_softcapping = 30.0;
         }},
        {"rotary base",
         [](Config& config, Weights&) { config.rope_theta = config.rope_theta == 500.0 ? 10000.0 : 500.0; }},
        {"norm epsilon", [](Config& config, Weights&) { config.rms_norm_eps = 1e-3; }},
        {"gate and up swapped",
         [](Config&, Weights& weights) { std::swap(weights.layers[0].gate_proj, weights.layers[0].up_proj); }},
        {"keys and values swapped",
         [](Config&, Weights& weights) { std::swap(weights.layers[0].k_proj, weights.layers[0].v_proj); }},
        {"rotary pairs of neighbours and not of halves",
         [](Config& config, Weights& weights) {
             // Interleaving the rows of one head turns the half split into pairs of neighbours.
             const std::int64_t half = config.head_dim / 2;
             const at::Tensor order =
                 at::stack({at::arange(half, at::kLong), at::arange(half, at::kLong) + half}, 1).flatten();
             for (auto& layer : weights.layers) {
                 for (at::Tensor* w : {&layer.q_proj, &layer.k_proj}) {
                     *w = w->view({-1, config.head_dim, w->size(1)}).index_select(1, order).reshape(w->sizes());
                 }
             }
         }},
    };
    for (const std::string name : {"odd_heads", "bf16_uncapped"}) {
        const Case one = random_case(name);
        for (const Mistake& mistake : mistakes) {
            Config config = one.config();
            if (mistake.needs_caps && !config.attn_logit_softcapping) continue;
            Weights weights = one.weights(config);
            mistake.make(config, weights);
            const double difference = full_forward_difference(one, config, weights);
            std::cout << name << ": " << mistake.what << " changes logits by " << difference << "\n";
            BOOST_TEST(difference > 20 * tolerance, name << ": " << mistake.what);
        }
    }
}

// Within the window all layers attend alike, so that the sequences longer than it are what the test above rests on.
BOOST_AUTO_TEST_CASE(window_does_not_matter_for_short_sequences) {
    Case one = random_case("odd_heads");
    std::erase_if(one.sequences, [](const GoldenSequence& sequence) { return sequence.tokens.size() > 8; });
    BOOST_REQUIRE_GT(one.sequences.size(), 2u);
    model::Gemma2Config config = one.config();
    config.sliding_window = 4096;
    BOOST_TEST(full_forward_difference(one, config, one.weights(config)) < tolerance);
}

BOOST_AUTO_TEST_CASE(gradients_reach_a_site) {
    const Case one = random_case("odd_heads");
    const model::Gemma2 gemma = one.load();
    const std::vector<std::vector<std::int32_t>> rows = {one.sequences[2].tokens};
    const std::int64_t last = static_cast<std::int64_t>(rows[0].size()) - 1;
    at::Tensor leaf;
    const auto target = [&](const at::Tensor& change) {
        const at::Tensor logits = gemma.forward(rows, [&](const model::SiteContext& context, at::Tensor& stream) {
            if (context.site != model::Site::resid_post || context.layer != 1) return;
            leaf = (stream + change).detach().set_requires_grad(change.sum().item<float>() == 0);
            stream = leaf;
        });
        return logits.select(1, last).select(1, 17).sum();
    };
    const at::Tensor none = at::zeros({1, last + 1, 48});
    target(none).backward();
    BOOST_REQUIRE(leaf.grad().defined());
    at::Tensor step = at::zeros_like(none);
    step.select(1, 2).select(1, 5).fill_(1e-2);
    const at::Tensor gradient = leaf.grad();
    const double numeric = (target(step) - target(-step)).item<double>() / 2e-2;
    const double analytic = gradient.select(1, 2).select(1, 5).item<double>();
    std::cout << "gradient " << analytic << ", by differences " << numeric << "\n";
    BOOST_TEST(std::abs(analytic) > 1e-4);
    BOOST_TEST(std::abs(analytic - numeric) < 1e-3 + 0.02 * std::abs(analytic));
}
