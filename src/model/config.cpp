// Parsing and checking of Gemma-2's config.json.
#include "pva/model/config.h"

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

#include <nlohmann/json.hpp>

#include "pva/core/error.h"

namespace pva::model {

namespace {

using Json = nlohmann::json;

// One config.json with the name of its file, so that every message can say where a field stands.
class ConfigReader {
  public:
    ConfigReader(const Json& object, const std::string& where) : object_(object), where_(where) {}

    [[noreturn]] void refuse(const std::string& reason) const {
        throw InputError("model configuration " + where_ + ": " + reason);
    }

    bool has(const char* field) const { return object_.contains(field) && !object_[field].is_null(); }
    const Json& at(const char* field) const { return object_[field]; }

    std::int64_t positive_integer(const char* field) const {
        if (!has(field)) refuse(std::string(field) + " is missing. Take the config.json that belongs to the weights.");
        const Json& value = object_[field];
        constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
        if (!value.is_number_integer() || value.get<std::int64_t>() < 1 || value.get<std::int64_t>() > largest) {
            refuse(std::string(field) + " = " + value.dump() + ", but an integer from 1 to " + std::to_string(largest) +
                   " is needed.");
        }
        return value.get<std::int64_t>();
    }

    std::int64_t positive_integer_or(const char* field, std::int64_t fallback) const {
        return has(field) ? positive_integer(field) : fallback;
    }

    double positive_number(const char* field, const Json& value) const {
        if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
            refuse(std::string(field) + " = " + value.dump() + ", but a number above 0 is needed.");
        }
        return value.get<double>();
    }

    double positive_number_or(const char* field, double fallback) const {
        return has(field) ? positive_number(field, object_[field]) : fallback;
    }

    // null switches a cap off, absence means the default of transformers.
    std::optional<double> cap(const char* field, double fallback) const {
        if (!object_.contains(field)) return fallback;
        if (object_[field].is_null()) return std::nullopt;
        return positive_number(field, object_[field]);
    }

    // A field that may only be absent, null or `allowed`: everything else would need other arithmetic.
    void only(const char* field, const Json& allowed) const {
        if (has(field) && object_[field] != allowed) {
            refuse(std::string(field) + " = " + object_[field].dump() + " is not implemented (" + allowed.dump() +
                   " is). Computing without it would give other numbers.");
        }
    }

    std::int32_t token_id(const char* field, const Json& value, std::int64_t vocab_size) const {
        if (!value.is_number_integer() || value.get<std::int64_t>() < 0 || value.get<std::int64_t>() >= vocab_size) {
            refuse(std::string(field) + " = " + value.dump() +
                   " is no token id below vocab_size = " + std::to_string(vocab_size) + ".");
        }
        return value.get<std::int32_t>();
    }

  private:
    const Json& object_;
    const std::string& where_;
};

double read_rope_theta(const ConfigReader& reader) {
    reader.only("rope_scaling", nullptr);
    reader.only("partial_rotary_factor", 1.0);
    constexpr double fallback = 10000.0;
    if (!reader.has("rope_parameters")) return reader.positive_number_or("rope_theta", fallback);
    const Json& parameters = reader.at("rope_parameters");
    if (!parameters.is_object()) reader.refuse("rope_parameters is not an object.");
    for (const auto& [key, value] : parameters.items()) {
        const bool known = key == "rope_theta" || (key == "rope_type" && value == "default") ||
                           (key == "partial_rotary_factor" && value == 1.0);
        if (!known)
            reader.refuse("rope_parameters." + key + " = " + value.dump() +
                          " is not implemented (plain rotary embedding is).");
    }
    const double theta = parameters.contains("rope_theta")
                             ? reader.positive_number("rope_parameters.rope_theta", parameters["rope_theta"])
                             : reader.positive_number_or("rope_theta", fallback);
    if (reader.positive_number_or("rope_theta", theta) != theta) {
        reader.refuse("rope_theta and rope_parameters.rope_theta differ; remove the wrong one.");
    }
    return theta;
}

void read_activation(const ConfigReader& reader) {
    constexpr const char* known = "gelu_pytorch_tanh";
    // hidden_activation rules where it is given. Without it Gemma computes the tanh form, also where an old file says
    // hidden_act "gelu".
    if (reader.has("hidden_activation")) {
        reader.only("hidden_activation", known);
    } else if (reader.has("hidden_act") && reader.at("hidden_act") != "gelu") {
        reader.only("hidden_act", known);
    }
}

std::vector<AttentionKind> read_layer_types(const ConfigReader& reader, std::int64_t layers) {
    std::vector<AttentionKind> kinds;
    if (!reader.has("layer_types")) {
        for (std::int64_t layer = 0; layer < layers; ++layer) {
            kinds.push_back(layer % 2 == 0 ? AttentionKind::sliding : AttentionKind::full);
        }
        return kinds;
    }
    const Json& names = reader.at("layer_types");
    if (!names.is_array() || static_cast<std::int64_t>(names.size()) != layers) {
        reader.refuse("layer_types must list one kind for each of the " + std::to_string(layers) + " layers.");
    }
    for (const Json& name : names) {
        if (name == "sliding_attention") {
            kinds.push_back(AttentionKind::sliding);
        } else if (name == "full_attention") {
            kinds.push_back(AttentionKind::full);
        } else {
            reader.refuse("layer_types holds " + name.dump() +
                          "; \"sliding_attention\" and \"full_attention\" are implemented.");
        }
    }
    return kinds;
}

}  // namespace

Gemma2Config parse_gemma2_config(std::string_view json_text, const std::string& where) {
    Json object;
    try {
        object = Json::parse(json_text.begin(), json_text.end());
    } catch (const Json::exception& error) {
        throw InputError("model configuration " + where + " is not valid JSON (" + error.what() +
                         "). Fetch the file again.");
    }
    const ConfigReader reader(object, where);
    if (!object.is_object()) reader.refuse("it is not a JSON object.");
    if (!reader.has("model_type"))
        reader.refuse("model_type is missing, so this is no Hugging Face model configuration.");
    if (reader.at("model_type") != "gemma2") {
        reader.refuse("model_type " + reader.at("model_type").dump() +
                      " is not implemented; \"gemma2\" is. Take a Gemma-2 model.");
    }

    Gemma2Config config;
    config.vocab_size = reader.positive_integer("vocab_size");
    config.hidden_size = reader.positive_integer("hidden_size");
    config.num_hidden_layers = reader.positive_integer("num_hidden_layers");
    config.num_attention_heads = reader.positive_integer("num_attention_heads");
    config.num_key_value_heads = reader.positive_integer("num_key_value_heads");
    config.head_dim = reader.positive_integer("head_dim");
    config.intermediate_size = reader.positive_integer("intermediate_size");
    if (config.num_attention_heads % config.num_key_value_heads != 0) {
        reader.refuse("num_attention_heads = " + std::to_string(config.num_attention_heads) +
                      " is not a multiple of num_key_value_heads = " + std::to_string(config.num_key_value_heads) +
                      ".");
    }
    if (config.head_dim % 2 != 0)
        reader.refuse("head_dim = " + std::to_string(config.head_dim) + " is odd; rotary embedding needs pairs.");

    config.max_position_embeddings = reader.positive_integer_or("max_position_embeddings", 8192);
    if (object.contains("sliding_window") && object["sliding_window"].is_null()) {
        reader.refuse(
            "sliding_window is null, but Gemma-2 has sliding layers. Take the config.json that belongs to the "
            "weights.");
    }
    config.sliding_window = reader.positive_integer_or("sliding_window", 4096);
    config.query_pre_attn_scalar = reader.positive_number_or("query_pre_attn_scalar", 256);
    config.rms_norm_eps = reader.positive_number_or("rms_norm_eps", 1e-6);
    config.attn_logit_softcapping = reader.cap("attn_logit_softcapping", 50.0);
    config.final_logit_softcapping = reader.cap("final_logit_softcapping", 30.0);
    config.rope_theta = read_rope_theta(reader);
    config.layer_types = read_layer_types(reader, config.num_hidden_layers);
    read_activation(reader);
    reader.only("attention_bias", false);
    reader.only("tie_word_embeddings", true);
    reader.only("use_bidirectional_attention", false);
    reader.only("quantization_config", nullptr);

    if (reader.has("eos_token_id")) {
        const Json& eos = reader.at("eos_token_id");
        if (eos.is_array()) {
            for (const Json& id : eos)
                config.eos_token_ids.push_back(reader.token_id("eos_token_id", id, config.vocab_size));
        } else {
            config.eos_token_ids.push_back(reader.token_id("eos_token_id", eos, config.vocab_size));
        }
    } else if (!object.contains("eos_token_id")) {
        config.eos_token_ids.push_back(1);
    }
    if (reader.has("bos_token_id"))
        config.bos_token_id = reader.token_id("bos_token_id", reader.at("bos_token_id"), config.vocab_size);

    // The first 9b files carried 224 = hidden_size / heads; the right value is head_dim (transformers issue 31891).
    if (config.hidden_size == 3584 && config.num_hidden_layers == 42 && config.query_pre_attn_scalar == 224) {
        config.warnings.push_back("model configuration " + where +
                                  ": query_pre_attn_scalar is 224, as in early gemma-2-9b files; " +
                                  "the right value is 256. Fetch the current config.json.");
    }
    return config;
}

Gemma2Config load_gemma2_config(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw InputError("model configuration " + path +
                         " cannot be opened. A Hugging Face config.json is expected there.");
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    return parse_gemma2_config(text, path);
}

}  // namespace pva::model
