// The configurations of released models: every figure that the arithmetic uses.
#include <boost/test/unit_test.hpp>

#include <cmath>

#include "config_samples.h"

using namespace pva;
using samples::json;

namespace {

struct Expected {
    std::int64_t vocab, width, layers, heads, kv_heads, head_dim, inner, positions;
    double eps, scale, theta;
    std::int64_t rotary_dims;
    bool tied;
    std::vector<std::int32_t> eos;
    std::int32_t bos;
};

void check(const std::string& name, const json& object, const Expected& e) {
    BOOST_TEST_CONTEXT(name) {
        const model::ModelConfig c = samples::parse(object);
        BOOST_TEST(c.model_type == object["model_type"].get<std::string>());
        BOOST_TEST(c.vocab_size == e.vocab);
        BOOST_TEST(c.hidden_size == e.width);
        BOOST_TEST(c.num_hidden_layers == e.layers);
        BOOST_TEST(c.num_attention_heads == e.heads);
        BOOST_TEST(c.num_key_value_heads == e.kv_heads);
        BOOST_TEST(c.head_dim == e.head_dim);
        BOOST_TEST(c.intermediate_size == e.inner);
        BOOST_TEST(c.max_position_embeddings == e.positions);
        BOOST_TEST(c.norm_eps == e.eps);
        BOOST_TEST(c.attention_scale == e.scale);
        BOOST_TEST(c.rotary.theta == e.theta);
        BOOST_TEST(c.rotary.dims == e.rotary_dims);
        BOOST_TEST(c.tie_word_embeddings == e.tied);
        BOOST_TEST(c.eos_token_ids == e.eos, boost::test_tools::per_element());
        BOOST_TEST(c.bos_token_id.value() == e.bos);
        BOOST_TEST(c.windows.size() == static_cast<std::size_t>(e.layers));
        BOOST_TEST(c.warnings.empty());
        BOOST_TEST(model::site_width(c, model::Site::z) == e.heads * e.head_dim);
        BOOST_TEST(model::site_width(c, model::Site::resid_post) == e.width);
        BOOST_TEST(model::cache_bytes_per_token(c, 2) == 4 * e.layers * e.kv_heads * e.head_dim);
    }
}

json changed(json object, const json& changes) {
    object.update(changes);
    return object;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(published)

BOOST_AUTO_TEST_CASE(gemma_2) {
    const json small = samples::gemma_2_2b();
    check("gemma-2-2b", small, {256000, 2304, 26, 8, 4, 256, 9216, 8192, 1e-6, 1.0 / 16, 1e4, 256, true, {1}, 2});
    const json middle = changed(small, {{"hidden_size", 3584},
                                        {"intermediate_size", 14336},
                                        {"num_attention_heads", 16},
                                        {"num_hidden_layers", 42},
                                        {"num_key_value_heads", 8},
                                        {"sliding_window_size", 4096}});
    check("gemma-2-9b", middle, {256000, 3584, 42, 16, 8, 256, 14336, 8192, 1e-6, 1.0 / 16, 1e4, 256, true, {1}, 2});
    const json large = changed(small, {{"hidden_size", 4608},
                                       {"intermediate_size", 36864},
                                       {"num_attention_heads", 32},
                                       {"num_hidden_layers", 46},
                                       {"num_key_value_heads", 16},
                                       {"head_dim", 128},
                                       {"query_pre_attn_scalar", 144},
                                       {"sliding_window_size", 4096}});
    check("gemma-2-27b", large, {256000, 4608, 46, 32, 16, 128, 36864, 8192, 1e-6, 1.0 / 12, 1e4, 128, true, {1}, 2});
    const json chat = changed(small, {{"eos_token_id", {1, 107}}});
    check("gemma-2-2b-it", chat,
          {256000, 2304, 26, 8, 4, 256, 9216, 8192, 1e-6, 1.0 / 16, 1e4, 256, true, {1, 107}, 2});
    for (const json& object : {small, middle, large}) {
        const auto config = samples::parse(object);
        BOOST_TEST(*config.attn_logit_softcapping == 50.0);
        BOOST_TEST(*config.final_logit_softcapping == 30.0);
        BOOST_TEST(config.has_resid_mid);
        for (std::size_t layer = 0; layer < config.windows.size(); ++layer)
            BOOST_TEST(config.windows[layer] == (layer % 2 == 0 ? 4096 : 0));
    }
}

BOOST_AUTO_TEST_CASE(pythia) {
    const json small = samples::pythia_70m();
    check("pythia-70m", small, {50304, 512, 6, 8, 8, 64, 2048, 2048, 1e-5, 1.0 / 8, 1e4, 16, false, {0}, 0});
    const json middle = changed(
        small,
        {{"hidden_size", 2048}, {"intermediate_size", 8192}, {"num_attention_heads", 16}, {"num_hidden_layers", 24}});
    check("pythia-1.4b", middle,
          {50304, 2048, 24, 16, 16, 128, 8192, 2048, 1e-5, std::pow(128.0, -0.5), 1e4, 32, false, {0}, 0});
    const json large = changed(small, {{"hidden_size", 5120},
                                       {"intermediate_size", 20480},
                                       {"num_attention_heads", 40},
                                       {"num_hidden_layers", 36},
                                       {"vocab_size", 50688}});
    check("pythia-12b", large,
          {50688, 5120, 36, 40, 40, 128, 20480, 2048, 1e-5, std::pow(128.0, -0.5), 1e4, 32, false, {0}, 0});
    const auto config = samples::parse(small);
    BOOST_TEST(!config.has_resid_mid);
    BOOST_TEST(!config.attn_logit_softcapping);
    BOOST_TEST((config.windows == std::vector<std::int64_t>(6, 0)));
}

BOOST_AUTO_TEST_CASE(llama) {
    const double scale = std::pow(128.0, -0.5);
    check("Llama-2-7b", samples::llama_2_7b(),
          {32000, 4096, 32, 32, 32, 128, 11008, 4096, 1e-5, scale, 1e4, 128, false, {2}, 1});
    check("Llama-3.1-8B", samples::llama_3_1_8b(),
          {128256, 4096, 32, 32, 8, 128, 14336, 131072, 1e-5, scale, 5e5, 128, false, {128001}, 128000});
    check(
        "Llama-3.1-8B-Instruct", changed(samples::llama_3_1_8b(), {{"eos_token_id", {128001, 128008, 128009}}}),
        {128256, 4096, 32, 32, 8, 128, 14336, 131072, 1e-5, scale, 5e5, 128, false, {128001, 128008, 128009}, 128000});
    check("SmolLM2-135M", samples::smollm2_135m(),
          {49152, 576, 30, 9, 3, 64, 1536, 8192, 1e-5, 1.0 / 8, 1e5, 64, true, {0}, 0});
    BOOST_TEST(!samples::parse(samples::llama_2_7b()).rotary.scaling);
    const auto scaled = samples::parse(samples::llama_3_1_8b());
    BOOST_TEST(scaled.has_resid_mid);
    BOOST_REQUIRE(scaled.rotary.scaling.has_value());
    BOOST_TEST(scaled.rotary.scaling->factor == 8.0);
    BOOST_TEST(scaled.rotary.scaling->low_freq_factor == 1.0);
    BOOST_TEST(scaled.rotary.scaling->high_freq_factor == 4.0);
    BOOST_TEST(scaled.rotary.scaling->original_max_position_embeddings == 8192.0);
}

BOOST_AUTO_TEST_CASE(mistral_and_qwen2) {
    const double scale = std::pow(128.0, -0.5);
    check("Mistral-7B-v0.1", samples::mistral_7b(),
          {32000, 4096, 32, 32, 8, 128, 14336, 32768, 1e-5, scale, 1e4, 128, false, {2}, 1});
    BOOST_TEST((samples::parse(samples::mistral_7b()).windows == std::vector<std::int64_t>(32, 4096)));
    check("Qwen2-7B", samples::qwen2_7b(),
          {152064, 3584, 28, 28, 4, 128, 18944, 131072, 1e-6, scale, 1e6, 128, false, {151643}, 151643});
    BOOST_TEST((samples::parse(samples::qwen2_7b()).windows == std::vector<std::int64_t>(28, 0)));
}

BOOST_AUTO_TEST_SUITE_END()
