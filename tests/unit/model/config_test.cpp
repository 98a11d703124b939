// config.json of Gemma-2: both spellings, defaults, and refusal of what would change the result.
#include <boost/test/unit_test.hpp>

#include <string>

#include <nlohmann/json.hpp>

#include "pva/core/error.h"
#include "pva/model/config.h"

using nlohmann::json;
using pva::model::AttentionKind;
using pva::model::Gemma2Config;
using pva::model::parse_gemma2_config;

namespace {

// gemma-2-2b as published (transformers 4 spelling).
json published() {
    return json::parse(R"({"architectures": ["Gemma2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": 1,
        "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2304, "initializer_range": 0.02, "intermediate_size": 9216,
        "max_position_embeddings": 8192, "model_type": "gemma2", "num_attention_heads": 8, "num_hidden_layers": 26,
        "num_key_value_heads": 4, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
        "sliding_window": 4096, "torch_dtype": "float32", "use_cache": true, "vocab_size": 256000})");
}

Gemma2Config parse(const json& object) {
    return parse_gemma2_config(object.dump(), "some/config.json");
}

void refused(const json& object, const std::string& part) {
    BOOST_CHECK_EXCEPTION(parse(object), pva::InputError, [&](const pva::InputError& error) {
        const std::string message = error.what();
        BOOST_TEST_CONTEXT(message) {
            BOOST_TEST(message.find(part) != std::string::npos);
            BOOST_TEST(message.find("some/config.json") != std::string::npos);
        }
        return true;
    });
}

void refused_with(const std::string& field, const json& value) {
    json object = published();
    object[field] = value;
    refused(object, field);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(config)

BOOST_AUTO_TEST_CASE(published_file) {
    const Gemma2Config config = parse(published());
    BOOST_TEST(config.hidden_size == 2304);
    BOOST_TEST(config.head_dim == 256);
    BOOST_TEST(config.num_key_value_heads == 4);
    BOOST_TEST(config.rope_theta == 10000.0);
    BOOST_TEST(*config.attn_logit_softcapping == 50.0);
    BOOST_TEST(*config.final_logit_softcapping == 30.0);
    BOOST_TEST((config.eos_token_ids == std::vector<std::int32_t>{1}));
    BOOST_TEST(*config.bos_token_id == 2);
    BOOST_REQUIRE_EQUAL(config.layer_types.size(), 26u);
    for (std::size_t layer = 0; layer < 26; ++layer) {
        BOOST_TEST((config.layer_types[layer] == (layer % 2 == 0 ? AttentionKind::sliding : AttentionKind::full)));
    }
    BOOST_TEST(config.warnings.empty());
}

BOOST_AUTO_TEST_CASE(newer_spelling) {
    json object = published();
    object.erase("rope_theta");
    object.erase("torch_dtype");
    object["dtype"] = "bfloat16";
    object["rope_parameters"] = {{"rope_theta", 5000.0}, {"rope_type", "default"}};
    object["num_hidden_layers"] = 2;
    object["layer_types"] = {"full_attention", "sliding_attention"};
    object["eos_token_id"] = {1, 107};
    object["use_bidirectional_attention"] = nullptr;
    const Gemma2Config config = parse(object);
    BOOST_TEST(config.rope_theta == 5000.0);
    BOOST_TEST((config.layer_types == std::vector{AttentionKind::full, AttentionKind::sliding}));
    BOOST_TEST((config.eos_token_ids == std::vector<std::int32_t>{1, 107}));
}

BOOST_AUTO_TEST_CASE(caps_may_be_null_and_eos_too) {
    json object = published();
    object["attn_logit_softcapping"] = nullptr;
    object["final_logit_softcapping"] = nullptr;
    object["eos_token_id"] = nullptr;
    const Gemma2Config config = parse(object);
    BOOST_TEST(!config.attn_logit_softcapping);
    BOOST_TEST(!config.final_logit_softcapping);
    BOOST_TEST(config.eos_token_ids.empty());
}

BOOST_AUTO_TEST_CASE(absent_constants_have_the_defaults_of_transformers) {
    json object = published();
    for (const char* field :
         {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "rms_norm_eps", "rope_theta",
          "sliding_window", "max_position_embeddings", "eos_token_id", "hidden_act", "hidden_activation"}) {
        object.erase(field);
    }
    const Gemma2Config config = parse(object);
    BOOST_TEST(*config.attn_logit_softcapping == 50.0);
    BOOST_TEST(*config.final_logit_softcapping == 30.0);
    BOOST_TEST(config.query_pre_attn_scalar == 256.0);
    BOOST_TEST(config.rms_norm_eps == 1e-6);
    BOOST_TEST(config.sliding_window == 4096);
    BOOST_TEST(config.max_position_embeddings == 8192);
    BOOST_TEST((config.eos_token_ids == std::vector<std::int32_t>{1}));
}

BOOST_AUTO_TEST_CASE(shapes_must_be_there) {
    for (const char* field : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                              "num_key_value_heads", "head_dim", "intermediate_size", "model_type"}) {
        json object = published();
        object.erase(field);
        refused(object, field);
    }
}

BOOST_AUTO_TEST_CASE(other_models_and_settings_are_refused_by_name) {
    refused_with("model_type", "llama");
    refused_with("attention_bias", true);
    refused_with("tie_word_embeddings", false);
    refused_with("hidden_activation", "relu");
    refused_with("use_bidirectional_attention", true);
    refused_with("rope_scaling", {{"factor", 8.0}});
    refused_with("rope_parameters", {{"rope_theta", 10000.0}, {"rope_type", "yarn"}});
    refused_with("rope_parameters", {{"rope_theta", 5000.0}});  // contradicts rope_theta
    refused_with("rope_parameters", {{"sliding_attention", {{"rope_theta", 10000.0}}}});
    refused_with("partial_rotary_factor", 0.5);
    refused_with("quantization_config", {{"bits", 4}});
    refused_with("layer_types", {"full_attention"});
    refused_with("layer_types", json(std::vector<std::string>(26, "chunked_attention")));
    refused_with("sliding_window", nullptr);

    json only_hidden_act = published();
    only_hidden_act["hidden_activation"] = nullptr;
    only_hidden_act["hidden_act"] = "silu";
    refused(only_hidden_act, "hidden_act");
    only_hidden_act["hidden_act"] = "gelu";  // old files say so and mean the tanh form
    BOOST_CHECK_NO_THROW(parse(only_hidden_act));
}

BOOST_AUTO_TEST_CASE(bad_values) {
    refused_with("hidden_size", 0);
    refused_with("hidden_size", -5);
    refused_with("hidden_size", 23.5);
    refused_with("hidden_size", "2304");
    refused_with("hidden_size", 18446744073709551615ULL);
    refused_with("head_dim", 255);
    refused_with("num_key_value_heads", 3);
    refused_with("attn_logit_softcapping", 0.0);
    refused_with("query_pre_attn_scalar", -1);
    refused_with("rms_norm_eps", "small");
    refused_with("eos_token_id", 256000);
    refused_with("eos_token_id", "1");
    refused_with("bos_token_id", -2);
    BOOST_CHECK_THROW(parse_gemma2_config("{", "some/config.json"), pva::InputError);
    BOOST_CHECK_THROW(parse_gemma2_config("", "some/config.json"), pva::InputError);
    BOOST_CHECK_THROW(parse_gemma2_config("[]", "some/config.json"), pva::InputError);
    BOOST_CHECK_THROW(pva::model::load_gemma2_config("/nonexistent/config.json"), pva::InputError);
}

BOOST_AUTO_TEST_CASE(early_9b_files_are_warned_about) {
    json object = published();
    object["hidden_size"] = 3584;
    object["num_hidden_layers"] = 42;
    object["query_pre_attn_scalar"] = 224;
    const Gemma2Config config = parse(object);
    BOOST_REQUIRE_EQUAL(config.warnings.size(), 1u);
    BOOST_TEST(config.warnings[0].find("query_pre_attn_scalar") != std::string::npos);
    object["query_pre_attn_scalar"] = 256;
    BOOST_TEST(parse(object).warnings.empty());
}

BOOST_AUTO_TEST_SUITE_END()
