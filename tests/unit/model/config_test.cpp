// config.json of every architecture: both spellings, defaults, and refusal of what would change the result.
#define BOOST_TEST_MODULE model_config
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "config_samples.h"
#include "pva/core/error.h"

using namespace pva;
using samples::json;
using samples::parse;
using samples::text_of;

namespace {

void refused(const json& object, const std::vector<std::string>& parts) {
    BOOST_CHECK_EXCEPTION(parse(object), InputError, [&](const InputError& error) {
        const std::string message = error.what();
        BOOST_TEST_CONTEXT(message) {
            BOOST_TEST(message.find("some/config.json") != std::string::npos);
            for (const std::string& part : parts)
                BOOST_TEST(message.find(part) != std::string::npos, part);
        }
        return true;
    });
}

void refused_with(json object, const std::string& field, const json& value) {
    BOOST_TEST_CONTEXT(object["model_type"] << ": " << field << " = " << value) {
        object[field] = value;
        refused(object, {field});
    }
}

void accepted_with(json object, const std::string& field, const json& value) {
    BOOST_TEST_CONTEXT(object["model_type"] << ": " << field << " = " << value) {
        object[field] = value;
        BOOST_CHECK_NO_THROW(parse(object));
    }
}

json without(json object, const std::vector<std::string>& fields) {
    for (const std::string& field : fields)
        object.erase(field);
    return object;
}

json with(json object, const json& changes) {
    object.update(changes);
    return object;
}

// Only what has to be there: shapes.
json shapes_of(const json& object) {
    json shapes;
    for (const char* field : {"model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                              "intermediate_size", "num_key_value_heads", "head_dim"}) {
        if (object.contains(field)) shapes[field] = object[field];
    }
    return shapes;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(spellings)

BOOST_AUTO_TEST_CASE(gemma2_of_transformers_4_and_5) {
    const json old = with(samples::gemma_2_2b(), {{"rope_theta", 5000.0}});
    json layer_types = json::array();
    for (int layer = 0; layer < 26; ++layer)
        layer_types.push_back(layer % 2 == 0 ? "sliding_attention" : "full_attention");
    const json newer = with(without(old, {"rope_theta", "torch_dtype", "hidden_act", "cache_implementation"}),
                            {{"dtype", "bfloat16"},
                             {"rope_parameters", {{"rope_theta", 5000.0}, {"rope_type", "default"}}},
                             {"layer_types", layer_types},
                             {"tie_word_embeddings", true},
                             {"use_bidirectional_attention", nullptr},
                             {"transformers_version", "5.23.0"}});
    BOOST_TEST(text_of(parse(newer)) == text_of(parse(old)));
    BOOST_TEST(parse(newer).warnings.empty());
    BOOST_TEST(parse(newer).rotary.theta == 5000.0);

    const json two = with(newer, {{"num_hidden_layers", 2},
                                  {"layer_types", {"full_attention", "sliding_attention"}},
                                  {"eos_token_id", {107, 1}}});
    BOOST_TEST((parse(two).windows == std::vector<std::int64_t>{0, 4096}));
    BOOST_TEST((parse(two).eos_token_ids == std::vector<std::int32_t>{1, 107}));
}

BOOST_AUTO_TEST_CASE(gpt_neox_of_transformers_4_and_5) {
    const json old = with(samples::pythia_70m(), {{"rotary_pct", 0.5}, {"rotary_emb_base", 500}});
    const json none = without(old, {"rotary_pct", "rotary_emb_base", "torch_dtype"});
    const json middle = with(none, {{"partial_rotary_factor", 0.5}, {"rope_theta", 500}});
    const json newer = with(
        none, {{"dtype", "float16"},
               {"rope_parameters", {{"partial_rotary_factor", 0.5}, {"rope_theta", 500.0}, {"rope_type", "default"}}}});
    const json both = with(newer, {{"rotary_pct", 0.5}, {"rotary_emb_base", 500}});
    BOOST_TEST(parse(old).rotary.dims == 32);
    BOOST_TEST(parse(old).rotary.theta == 500.0);
    for (const json& other : {middle, newer, both})
        BOOST_TEST(text_of(parse(other)) == text_of(parse(old)));
}

BOOST_AUTO_TEST_CASE(llama_family_of_transformers_4_and_5) {
    for (const json& old :
         {samples::llama_3_1_8b(), samples::mistral_7b(), samples::qwen2_7b(), samples::smollm2_135m()}) {
        json parameters = old.value("rope_scaling", json());
        if (!parameters.is_object()) parameters = {{"rope_type", "default"}};
        parameters["rope_theta"] = old["rope_theta"];
        json newer = with(without(old, {"rope_theta", "rope_scaling", "torch_dtype"}),
                          {{"rope_parameters", parameters}, {"dtype", "bfloat16"}, {"transformers_version", "5.23.0"}});
        BOOST_TEST(text_of(parse(newer)) == text_of(parse(old)));
        BOOST_TEST(parse(newer).warnings.empty());
        // Both spellings at once with the same content, and the theta outside the object.
        newer["rope_theta"] = old["rope_theta"];
        newer["rope_scaling"] = newer["rope_parameters"];
        BOOST_TEST(text_of(parse(newer)) == text_of(parse(old)));
    }
    // "type" is the older name of "rope_type".
    json older = samples::llama_3_1_8b();
    older["rope_scaling"].erase("rope_type");
    older["rope_scaling"]["type"] = "llama3";
    BOOST_TEST(text_of(parse(older)) == text_of(parse(samples::llama_3_1_8b())));
    older["rope_scaling"]["rope_type"] = "llama3";
    BOOST_TEST(text_of(parse(older)) == text_of(parse(samples::llama_3_1_8b())));
    // Plain rotary embedding under all its names.
    for (const json& plain : {json(nullptr), json::object(), json{{"rope_type", "default"}}, json{{"type", "default"}},
                              json{{"rope_type", "default"}, {"partial_rotary_factor", 1.0}}}) {
        BOOST_TEST(text_of(parse(with(samples::llama_2_7b(), {{"rope_scaling", plain}}))) ==
                   text_of(parse(samples::llama_2_7b())));
        BOOST_TEST(text_of(parse(with(samples::llama_2_7b(), {{"rope_parameters", plain}}))) ==
                   text_of(parse(samples::llama_2_7b())));
    }
}

BOOST_AUTO_TEST_CASE(qwen2_windows_by_number_and_by_layer) {
    json object =
        with(samples::qwen2_7b(),
             {{"num_hidden_layers", 4}, {"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 3}});
    BOOST_TEST((parse(object).windows == std::vector<std::int64_t>{0, 0, 0, 8}));
    object["max_window_layers"] = 0;
    BOOST_TEST((parse(object).windows == std::vector<std::int64_t>{8, 8, 8, 8}));
    object["max_window_layers"] = 4;
    BOOST_TEST((parse(object).windows == std::vector<std::int64_t>{0, 0, 0, 0}));
    object["layer_types"] = {"full_attention", "sliding_attention", "full_attention", "sliding_attention"};
    BOOST_TEST((parse(object).windows == std::vector<std::int64_t>{0, 8, 0, 8}));
    object["use_sliding_window"] = false;
    refused(object, {"layer_types", "sliding_window"});
    object["layer_types"] = json(std::vector<std::string>(4, "full_attention"));
    BOOST_TEST((parse(object).windows == std::vector<std::int64_t>{0, 0, 0, 0}));
    object = with(without(object, {"layer_types"}),
                  {{"use_sliding_window", true}, {"sliding_window", nullptr}, {"max_window_layers", 0}});
    BOOST_TEST((parse(object).windows == std::vector<std::int64_t>{0, 0, 0, 0}));
    // The default of max_window_layers, 28, leaves the last layers of a deeper model.
    object = with(without(samples::qwen2_7b(), {"max_window_layers"}),
                  {{"num_hidden_layers", 30}, {"use_sliding_window", true}, {"sliding_window", 8}});
    std::vector<std::int64_t> expected(30, 0);
    expected[28] = expected[29] = 8;
    BOOST_TEST((parse(object).windows == expected));
}

BOOST_AUTO_TEST_CASE(null_switches_caps_windows_and_eos_off) {
    const auto gemma = parse(with(samples::gemma_2_2b(), {{"attn_logit_softcapping", nullptr},
                                                          {"final_logit_softcapping", nullptr},
                                                          {"eos_token_id", nullptr},
                                                          {"bos_token_id", nullptr}}));
    BOOST_TEST(!gemma.attn_logit_softcapping);
    BOOST_TEST(!gemma.final_logit_softcapping);
    BOOST_TEST(gemma.eos_token_ids.empty());
    BOOST_TEST(!gemma.bos_token_id);
    const auto mistral = parse(with(samples::mistral_7b(), {{"sliding_window", nullptr}, {"head_dim", nullptr}}));
    BOOST_TEST((mistral.windows == std::vector<std::int64_t>(32, 0)));
    BOOST_TEST(mistral.head_dim == 128);
    BOOST_TEST(parse(with(samples::llama_2_7b(), {{"num_key_value_heads", nullptr}})).num_key_value_heads == 32);
}

BOOST_AUTO_TEST_CASE(eos_as_number_list_null_or_absent) {
    using Ids = std::vector<std::int32_t>;
    const auto eos = [](const json& object) { return parse(object).eos_token_ids; };
    for (const json& base : samples::one_of_each()) {
        BOOST_TEST((eos(with(base, {{"eos_token_id", 7}})) == Ids{7}));
        BOOST_TEST((eos(with(base, {{"eos_token_id", {9, 3, 7}}})) == Ids{3, 7, 9}));
        BOOST_TEST((eos(with(base, {{"eos_token_id", {9, 3, 9}}})) == Ids{3, 9}));
        BOOST_TEST((eos(with(base, {{"eos_token_id", json::array()}})) == Ids{}));
        BOOST_TEST((eos(with(base, {{"eos_token_id", nullptr}})) == Ids{}));
        const std::int64_t vocab = base["vocab_size"];
        BOOST_TEST((eos(with(base, {{"eos_token_id", vocab - 1}})) == Ids{static_cast<std::int32_t>(vocab - 1)}));
        for (const json& bad :
             {json(vocab), json(-1), json("1"), json(1.5), json(true), json::object(), json{{1, 2}, 3}, json{1, vocab},
              json{1, nullptr}, json(9223372036854775808ULL), json(18446744073709551615ULL)})
            refused_with(base, "eos_token_id", bad);
        for (const json& bad : {json(vocab), json(-2), json("1"), json{1, 2}, json(18446744073709551615ULL)})
            refused_with(base, "bos_token_id", bad);
    }
    BOOST_TEST((eos(without(samples::gemma_2_2b(), {"eos_token_id"})) == Ids{1}));
    BOOST_TEST((eos(without(samples::pythia_70m(), {"eos_token_id"})) == Ids{2}));
    BOOST_TEST((eos(without(samples::llama_2_7b(), {"eos_token_id"})) == Ids{2}));
    BOOST_TEST((eos(without(samples::mistral_7b(), {"eos_token_id"})) == Ids{2}));
    BOOST_TEST((eos(without(samples::qwen2_7b(), {"eos_token_id"})) == Ids{}));
}

BOOST_AUTO_TEST_SUITE_END()

// Expected values: the class attributes of transformers 5.23, models/*/configuration_*.py.
BOOST_AUTO_TEST_SUITE(defaults)

BOOST_AUTO_TEST_CASE(gemma2) {
    const auto config = parse(shapes_of(samples::gemma_2_2b()));
    BOOST_TEST(*config.attn_logit_softcapping == 50.0);
    BOOST_TEST(*config.final_logit_softcapping == 30.0);
    BOOST_TEST(config.attention_scale == 1.0 / 16);  // query_pre_attn_scalar 256
    BOOST_TEST(config.norm_eps == 1e-6);
    BOOST_TEST(config.rotary.theta == 10000.0);
    BOOST_TEST(config.rotary.dims == 256);
    for (std::size_t layer = 0; layer < 26; ++layer)
        BOOST_TEST(config.windows[layer] == (layer % 2 == 0 ? 4096 : 0));
    BOOST_TEST(config.max_position_embeddings == 8192);
    BOOST_TEST((config.eos_token_ids == std::vector<std::int32_t>{1}));
    BOOST_TEST(*config.bos_token_id == 2);
    BOOST_TEST(config.tie_word_embeddings);
    BOOST_TEST(config.warnings.empty());
}

BOOST_AUTO_TEST_CASE(gpt_neox) {
    const auto config = parse(shapes_of(samples::pythia_70m()));
    BOOST_TEST(config.norm_eps == 1e-5);
    BOOST_TEST(config.rotary.theta == 10000.0);
    BOOST_TEST(config.rotary.dims == 16);  // a quarter of 64
    BOOST_TEST(config.max_position_embeddings == 2048);
    BOOST_TEST((config.eos_token_ids == std::vector<std::int32_t>{2}));
    BOOST_TEST(*config.bos_token_id == 0);
    BOOST_TEST(!config.tie_word_embeddings);
    BOOST_TEST(!config.attn_logit_softcapping);
    BOOST_TEST(!config.final_logit_softcapping);
    BOOST_TEST((config.windows == std::vector<std::int64_t>(6, 0)));
    BOOST_TEST(config.num_key_value_heads == 8);
    BOOST_TEST(config.head_dim == 64);
}

BOOST_AUTO_TEST_CASE(llama) {
    const auto config = parse(without(shapes_of(samples::llama_2_7b()), {"num_key_value_heads"}));
    BOOST_TEST(config.norm_eps == 1e-6);
    BOOST_TEST(config.rotary.theta == 10000.0);
    BOOST_TEST(!config.rotary.scaling);
    BOOST_TEST(config.rotary.dims == 128);
    BOOST_TEST(config.head_dim == 128);
    BOOST_TEST(config.num_key_value_heads == 32);
    BOOST_TEST(config.max_position_embeddings == 2048);
    BOOST_TEST((config.eos_token_ids == std::vector<std::int32_t>{2}));
    BOOST_TEST(*config.bos_token_id == 1);
    BOOST_TEST(!config.tie_word_embeddings);
    BOOST_TEST((config.windows == std::vector<std::int64_t>(32, 0)));
    // Without it the frequencies of Llama 3 refer to max_position_embeddings.
    json scaled = samples::llama_3_1_8b();
    scaled["rope_scaling"].erase("original_max_position_embeddings");
    BOOST_TEST(parse(scaled).rotary.scaling->original_max_position_embeddings == 131072.0);
}

BOOST_AUTO_TEST_CASE(mistral) {
    const auto config = parse(shapes_of(samples::mistral_7b()));
    BOOST_TEST(config.norm_eps == 1e-6);
    BOOST_TEST(config.rotary.theta == 10000.0);
    BOOST_TEST(config.max_position_embeddings == 131072);
    BOOST_TEST((config.windows == std::vector<std::int64_t>(32, 4096)));
    BOOST_TEST((config.eos_token_ids == std::vector<std::int32_t>{2}));
    BOOST_TEST(*config.bos_token_id == 1);
    BOOST_TEST(!config.tie_word_embeddings);
    BOOST_TEST(config.head_dim == 128);
}

BOOST_AUTO_TEST_CASE(qwen2) {
    const auto config = parse(shapes_of(samples::qwen2_7b()));
    BOOST_TEST(config.norm_eps == 1e-6);
    BOOST_TEST(config.rotary.theta == 10000.0);
    BOOST_TEST(config.max_position_embeddings == 32768);
    BOOST_TEST((config.windows == std::vector<std::int64_t>(28, 0)));
    BOOST_TEST(config.eos_token_ids.empty());
    BOOST_TEST(!config.bos_token_id);
    BOOST_TEST(!config.tie_word_embeddings);
    BOOST_TEST(config.head_dim == 128);
}

BOOST_AUTO_TEST_CASE(shapes_must_be_there) {
    for (const json& base : samples::one_of_each()) {
        for (const char* field : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                                  "intermediate_size", "model_type"})
            refused(without(base, {field}), {field});
    }
    // transformers has numbers of one certain model in their place.
    for (const char* field : {"num_key_value_heads", "head_dim"})
        refused(without(samples::gemma_2_2b(), {field}), {field});
    refused(without(samples::mistral_7b(), {"num_key_value_heads"}), {"num_key_value_heads"});
    refused(without(samples::qwen2_7b(), {"num_key_value_heads"}), {"num_key_value_heads"});
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(refusals)

BOOST_AUTO_TEST_CASE(unknown_architectures_by_name) {
    for (const std::string type :
         {"gemma", "gemma3_text", "mixtral", "qwen2_moe", "qwen3", "phi3", "gpt2", "Llama", ""}) {
        json object = samples::llama_2_7b();
        object["model_type"] = type;
        refused(object, {"model_type", "\"" + type + "\"", "gemma2, gpt_neox, llama, mistral, qwen2"});
    }
    refused(json::object(), {"model_type"});
    refused_with(samples::llama_2_7b(), "model_type", nullptr);
    refused_with(samples::llama_2_7b(), "model_type", 5);
    refused_with(samples::llama_2_7b(), "model_type", json::array({"llama"}));
}

BOOST_AUTO_TEST_CASE(what_no_architecture_here_computes) {
    for (const json& base : samples::one_of_each()) {
        refused_with(base, "quantization_config", {{"bits", 4}});
        refused_with(base, "use_bidirectional_attention", true);
        refused_with(base, "is_encoder_decoder", true);
        refused_with(base, "add_cross_attention", true);
        refused_with(base, "pruned_heads", {{"0", {1, 2}}});
        for (const char* multiplier :
             {"embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale"}) {
            refused_with(base, multiplier, 2.0);
            accepted_with(base, multiplier, 1.0);
            accepted_with(base, multiplier, 1);
        }
        refused_with(base, "attention_multiplier", 0.1);
        refused_with(base, "num_local_experts", 8);
        refused_with(base, "num_experts", 8);
        refused_with(base, "qk_norm", true);
        refused_with(base, "use_qk_norm", true);
        refused_with(base, "no_rope_layers", json::array({1, 0}));
        refused_with(base, "attn_scale", 0.1);
        for (const char* harmless : {"quantization_config", "num_experts", "attn_scale"})
            accepted_with(base, harmless, nullptr);
        accepted_with(base, "pruned_heads", json::object());
    }
}

BOOST_AUTO_TEST_CASE(activations) {
    json gemma = samples::gemma_2_2b();
    refused_with(gemma, "hidden_activation", "relu");
    refused_with(gemma, "hidden_activation", "gelu");
    gemma["hidden_activation"] = nullptr;
    refused_with(gemma, "hidden_act", "silu");
    accepted_with(gemma, "hidden_act", "gelu");  // old files say so and mean the tanh form
    for (const char* known : {"gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu"})
        accepted_with(samples::pythia_70m(), "hidden_act", known);
    for (const json& unknown : {json("silu"), json("quick_gelu"), json(1)})
        refused_with(samples::pythia_70m(), "hidden_act", unknown);
    for (const json& base : {samples::llama_2_7b(), samples::mistral_7b(), samples::qwen2_7b()}) {
        for (const json& unknown : {json("gelu"), json("relu"), json(1)})
            refused_with(base, "hidden_act", unknown);
    }
}

BOOST_AUTO_TEST_CASE(biases) {
    refused_with(samples::gemma_2_2b(), "attention_bias", true);
    refused_with(samples::gemma_2_2b(), "mlp_bias", true);
    accepted_with(samples::llama_2_7b(), "attention_bias", true);
    accepted_with(samples::llama_2_7b(), "mlp_bias", true);
    accepted_with(samples::pythia_70m(), "attention_bias", false);
    refused_with(samples::mistral_7b(), "attention_bias", true);
    refused_with(samples::mistral_7b(), "mlp_bias", true);
    refused_with(samples::qwen2_7b(), "attention_bias", false);
    refused_with(samples::qwen2_7b(), "mlp_bias", true);
    for (const json& base : {samples::llama_2_7b(), samples::pythia_70m()})
        refused_with(base, "attention_bias", "yes");
    refused_with(samples::pythia_70m(), "use_parallel_residual", 1);
    for (const json& base : samples::one_of_each())
        refused_with(base, "tie_word_embeddings", "true");
}

BOOST_AUTO_TEST_CASE(rope_types_by_name) {
    for (const std::string type : {"linear", "dynamic", "yarn", "longrope", "su", "mrope"}) {
        for (const char* key : {"rope_type", "type"}) {
            const json scaling = {{key, type}, {"factor", 2.0}, {"attention_factor", 1.0}};
            for (const json& base : samples::one_of_each()) {
                for (const char* field : {"rope_scaling", "rope_parameters"}) {
                    json object = base;
                    object.erase("rope_scaling");
                    object[field] = scaling;
                    refused(object, {"rope_type", "\"" + type + "\""});
                }
            }
        }
    }
    // The rescaling of Llama 3 is implemented in the Llama family only.
    const json llama3 = samples::llama_3_1_8b()["rope_scaling"];
    for (const json& base : {samples::gemma_2_2b(), samples::pythia_70m()})
        refused(with(base, {{"rope_scaling", llama3}}), {"rope_type", "llama3"});
    for (const json& base : {samples::mistral_7b(), samples::qwen2_7b(), samples::llama_2_7b()})
        BOOST_TEST(parse(with(base, {{"rope_scaling", llama3}})).rotary.scaling->factor == 8.0);
    refused(with(samples::llama_2_7b(), {{"rope_scaling", {{"rope_type", 5}}}}), {"rope_type", "5"});
}

BOOST_AUTO_TEST_CASE(rope_parameters_in_detail) {
    for (const json& base : samples::one_of_each()) {
        for (const char* field : {"rope_parameters", "rope_scaling"}) {
            json object = base;
            object.erase("rope_scaling");
            object[field] = {{"sliding_attention", {{"rope_theta", 10000.0}}},
                             {"full_attention", {{"rope_theta", 1e6}}}};
            refused(object, {"differ between layers", "full_attention"});
            object[field] = {{"factor", 8.0}};
            refused(object, {"factor"});
            object[field] = {{"rope_type", "default"}, {"mscale", 1.0}};
            refused(object, {"mscale"});
            for (const json& wrong : {json("default"), json(3), json::array({1}), json(true)}) {
                object[field] = wrong;
                refused(object, {field});
            }
            for (const json& wrong : {json(0), json(-1), json("10000"), json(nullptr), json::array({1})}) {
                object[field] = {{"rope_type", "default"}, {"rope_theta", wrong}};
                refused(object, {"rope_theta"});
            }
        }
        refused(with(base, {{"rope_parameters", {{"rope_theta", 1.0}}}, {"rope_scaling", {{"rope_theta", 2.0}}}}),
                {"rope_parameters", "rope_scaling"});
        refused(with(without(base, {"rope_scaling"}),
                     {{"rope_theta", 77.0}, {"rope_parameters", {{"rope_theta", 5000.0}}}}),
                {"rope_theta"});
        json two_names = without(base, {"rope_scaling"});
        two_names["rope_parameters"] = {{"rope_type", "default"}, {"type", "llama3"}};
        refused(two_names, {"rope_type"});
    }
    for (const json& base :
         {samples::gemma_2_2b(), samples::llama_3_1_8b(), samples::mistral_7b(), samples::qwen2_7b()}) {
        refused_with(base, "partial_rotary_factor", 0.5);
        accepted_with(base, "partial_rotary_factor", 1.0);
    }
    for (const char* key : {"factor", "low_freq_factor", "high_freq_factor"}) {
        json object = samples::llama_3_1_8b();
        object["rope_scaling"].erase(key);
        refused(object, {key});
        for (const json& wrong : {json(0), json(-8.0), json("8"), json(nullptr)}) {
            object["rope_scaling"][key] = wrong;
            refused(object, {key});
        }
    }
    json object = samples::llama_3_1_8b();
    object["rope_scaling"]["original_max_position_embeddings"] = 0;
    refused(object, {"original_max_position_embeddings"});
    object = samples::llama_3_1_8b();
    object["rope_scaling"]["low_freq_factor"] = 4.0;
    refused(object, {"low_freq_factor", "high_freq_factor"});
    // transformers 5 lets a field outside the object win, transformers 4 does not look at it.
    refused_with(samples::llama_3_1_8b(), "original_max_position_embeddings", 4096);
    accepted_with(samples::llama_3_1_8b(), "original_max_position_embeddings", 8192);
}

BOOST_AUTO_TEST_CASE(rotary_share_of_gpt_neox) {
    const auto dims = [](std::int64_t hidden, const json& share) {
        return parse(with(samples::pythia_70m(), {{"hidden_size", hidden}, {"rotary_pct", share}})).rotary.dims;
    };
    BOOST_TEST(dims(512, 1.0) == 64);
    BOOST_TEST(dims(512, 1) == 64);
    BOOST_TEST(dims(512, 0.33) == 21);  // 21.12, truncated; 22 channels are turned
    BOOST_TEST(model::turned_channels(parse(with(samples::pythia_70m(), {{"rotary_pct", 0.33}})).rotary) == 22);
    for (const json& bad : {json(0), json(-0.5), json(1.5), json(1e30), json(0.01), json("a quarter")}) {
        json object = samples::pythia_70m();
        object["rotary_pct"] = bad;
        refused(object, {"rotary"});
    }
    // 9 of 9 channels would need a tenth.
    refused(with(samples::pythia_70m(), {{"hidden_size", 72}, {"rotary_pct", 1.0}}), {"9"});
    refused(with(samples::pythia_70m(), {{"partial_rotary_factor", 0.5}}), {"partial_rotary_factor"});
    refused(with(samples::pythia_70m(), {{"rope_theta", 500.0}}), {"rope_theta"});
    refused(with(samples::pythia_70m(), {{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}),
            {"partial_rotary_factor"});
    refused(with(samples::pythia_70m(), {{"rope_parameters", {{"rope_theta", 500.0}}}}), {"rope_theta"});
}

BOOST_AUTO_TEST_CASE(windows_and_layer_types) {
    refused_with(samples::gemma_2_2b(), "sliding_window", nullptr);
    for (const json& base : {samples::gemma_2_2b(), samples::mistral_7b(), samples::qwen2_7b()}) {
        for (const json& bad : {json(0), json(-1), json(4096.5), json("4096")})
            refused_with(base, "sliding_window", bad);
    }
    refused_with(samples::qwen2_7b(), "max_window_layers", -1);
    refused_with(samples::qwen2_7b(), "use_sliding_window", 1);
    for (const json& base : {samples::gemma_2_2b(), samples::qwen2_7b()}) {
        const std::size_t layers = base["num_hidden_layers"];
        refused_with(base, "layer_types", {"full_attention"});
        refused_with(base, "layer_types", json::array());
        refused_with(base, "layer_types", "full_attention");
        refused_with(base, "layer_types", json(std::vector<std::string>(layers, "chunked_attention")));
        refused_with(base, "layer_types", json(std::vector<int>(layers, 1)));
        refused_with(base, "layer_types", json(std::vector<std::string>(layers + 1, "full_attention")));
        accepted_with(base, "layer_types", json(std::vector<std::string>(layers, "full_attention")));
    }
}

BOOST_AUTO_TEST_CASE(heads_that_do_not_fit) {
    refused_with(samples::gemma_2_2b(), "head_dim", 255);
    refused_with(samples::llama_2_7b(), "head_dim", 127);
    for (const json& base : {samples::gemma_2_2b(), samples::llama_2_7b(), samples::mistral_7b(), samples::qwen2_7b()})
        refused_with(base, "num_key_value_heads", 3);
    refused_with(samples::pythia_70m(), "head_dim", 32);
    accepted_with(samples::pythia_70m(), "head_dim", 64);
    refused_with(samples::pythia_70m(), "hidden_size", 511);
    refused_with(samples::llama_2_7b(), "hidden_size", 4095);
    BOOST_TEST(parse(with(samples::llama_2_7b(), {{"hidden_size", 4095}, {"head_dim", 10}})).head_dim == 10);
    refused_with(samples::llama_2_7b(), "num_attention_heads", 8192);
}

BOOST_AUTO_TEST_CASE(numbers_out_of_range_and_of_other_types) {
    const std::vector<json> no_count = {json(0),
                                        json(-5),
                                        json(23.5),
                                        json(64.0),
                                        json("64"),
                                        json(true),
                                        json::array({64}),
                                        json::object(),
                                        json(1e30),
                                        json(2147483648LL),
                                        json(9223372036854775807LL),
                                        json(9223372036854775808ULL),
                                        json(18446744073709551615ULL)};
    const std::vector<json> no_number = {json(0),       json(0.0),   json(-1),         json(-1e-6),
                                         json("small"), json(false), json::array({1}), json::object()};
    for (const json& base : samples::one_of_each()) {
        for (const char* field : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                                  "intermediate_size", "max_position_embeddings"}) {
            for (const json& bad : no_count)
                refused_with(base, field, bad);
        }
        const bool neox = base["model_type"] == "gpt_neox";
        for (const json& bad : no_number)
            refused_with(base, neox ? "layer_norm_eps" : "rms_norm_eps", bad);
        for (const json& bad : no_number) {
            json object = base;
            object.erase("rope_scaling");
            refused_with(object, neox ? "rotary_emb_base" : "rope_theta", bad);
        }
        if (neox) continue;
        for (const json& bad : no_count) {
            refused_with(base, "num_key_value_heads", bad);
            refused_with(base, "head_dim", bad);
        }
    }
    for (const json& bad : no_number) {
        for (const char* field : {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"})
            refused_with(samples::gemma_2_2b(), field, bad);
    }
    // A count of layers that no model has would only fill the memory.
    for (const json& base : samples::one_of_each())
        refused_with(base, "num_hidden_layers", 2147483647);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(warnings)

BOOST_AUTO_TEST_CASE(stray_fields_give_one_warning_that_names_them) {
    for (json object : samples::one_of_each()) {
        BOOST_TEST(parse(object).warnings.empty(), object["model_type"]);
        const std::string before = text_of(parse(object));
        object["my_extra_field"] = 3;
        object["another"] = {{"a", 1}};
        object["empty_one"] = nullptr;
        const auto config = parse(object);
        BOOST_TEST(text_of(config) == before);
        BOOST_REQUIRE_EQUAL(config.warnings.size(), 1u);
        const std::string& warning = config.warnings[0];
        for (const char* part : {"some/config.json", "my_extra_field", "another"})
            BOOST_TEST(warning.find(part) != std::string::npos, warning);
        for (const char* part : {"empty_one", "vocab_size", "torch_dtype"})
            BOOST_TEST(warning.find(part) == std::string::npos, warning);
    }
}

BOOST_AUTO_TEST_CASE(early_9b_files) {
    json object =
        with(samples::gemma_2_2b(), {{"hidden_size", 3584}, {"num_hidden_layers", 42}, {"query_pre_attn_scalar", 224}});
    const auto config = parse(object);
    BOOST_REQUIRE_EQUAL(config.warnings.size(), 1u);
    BOOST_TEST(config.warnings[0].find("query_pre_attn_scalar") != std::string::npos);
    BOOST_TEST(config.attention_scale == std::pow(224.0, -0.5));  // warned about, not changed
    object["query_pre_attn_scalar"] = 256;
    BOOST_TEST(parse(object).warnings.empty());
}

BOOST_AUTO_TEST_SUITE_END()
