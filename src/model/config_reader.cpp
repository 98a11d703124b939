// Checked access to config.json, and the fields that architectures have in common.
#include "pva/model/config_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "pva/core/error.h"
#include "pva/core/join.h"

namespace pva::model {

using Json = nlohmann::json;

namespace {

// Copying, comparing and printing a JSON value takes stack as deep as the value is.
constexpr int deepest_nesting = 64;

// No model comes near it; a list of layers is made before the weights are looked at.
constexpr std::int64_t most_layers = 100000;

Json parse_object(std::string_view text, const std::string& where) {
    Json object;
    try {
        object = Json::parse(text.begin(), text.end(), [&](int depth, Json::parse_event_t, Json&) {
            if (depth > deepest_nesting) {
                throw InputError("model configuration " + where + ": values are nested deeper than " +
                                 std::to_string(deepest_nesting) + ". Fetch the file again.");
            }
            return true;
        });
    } catch (const Json::exception& error) {
        throw InputError("model configuration " + where + " is not valid JSON (" + error.what() +
                         "). Fetch the file again.");
    }
    if (!object.is_object()) throw InputError("model configuration " + where + ": it is not a JSON object.");
    return object;
}

std::int32_t token_id(const ConfigReader& reader, const std::string& field, const Json& value,
                      std::int64_t vocab_size) {
    if (!value.is_number_integer() || value.get<std::int64_t>() < 0 || value.get<std::int64_t>() >= vocab_size) {
        reader.refuse(field + " = " + value.dump() +
                      " is no token id below vocab_size = " + std::to_string(vocab_size) + ".");
    }
    return value.get<std::int32_t>();
}

}  // namespace

ConfigReader::ConfigReader(std::string_view json_text, std::string where)
    : object_(parse_object(json_text, where)), where_(std::move(where)) {}

void ConfigReader::refuse(const std::string& reason) const {
    throw InputError("model configuration " + where_ + ": " + reason);
}

bool ConfigReader::has(const std::string& field) const {
    asked_.insert(field);
    return object_.contains(field) && !object_[field].is_null();
}

bool ConfigReader::is_null(const std::string& field) const {
    asked_.insert(field);
    return object_.contains(field) && object_[field].is_null();
}

const Json& ConfigReader::at(const std::string& field) const {
    asked_.insert(field);
    return object_.at(field);
}

std::int64_t ConfigReader::positive_integer(const std::string& field) const {
    if (!has(field)) refuse(field + " is missing. Take the config.json that belongs to the weights.");
    const Json& value = object_[field];
    constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
    // A number above 2^63 would be read as a negative one.
    const bool in_range =
        value.is_number_integer() &&
        !(value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(largest)) &&
        value.get<std::int64_t>() >= 1 && value.get<std::int64_t>() <= largest;
    if (!in_range) {
        refuse(field + " = " + value.dump() + ", but an integer from 1 to " + std::to_string(largest) + " is needed.");
    }
    return value.get<std::int64_t>();
}

std::int64_t ConfigReader::positive_integer_or(const std::string& field, std::int64_t fallback) const {
    return has(field) ? positive_integer(field) : fallback;
}

std::int64_t ConfigReader::integer_from_zero_or(const std::string& field, std::int64_t fallback) const {
    if (has(field) && object_[field] == 0) return 0;
    return positive_integer_or(field, fallback);
}

double ConfigReader::positive_number(const std::string& field, const Json& value) const {
    if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
        refuse(field + " = " + value.dump() + ", but a number above 0 is needed.");
    }
    return value.get<double>();
}

double ConfigReader::positive_number_or(const std::string& field, double fallback) const {
    return has(field) ? positive_number(field, object_[field]) : fallback;
}

bool ConfigReader::flag_or(const std::string& field, bool fallback) const {
    if (!has(field)) return fallback;
    if (!object_[field].is_boolean()) refuse(field + " = " + object_[field].dump() + ", but true or false is needed.");
    return object_[field].get<bool>();
}

std::string ConfigReader::text_or(const std::string& field, const std::string& fallback) const {
    if (!has(field)) return fallback;
    if (!object_[field].is_string()) refuse(field + " = " + object_[field].dump() + ", but a text is needed.");
    return object_[field].get<std::string>();
}

std::optional<double> ConfigReader::cap(const std::string& field, double fallback) const {
    if (is_null(field)) return std::nullopt;
    return positive_number_or(field, fallback);
}

void ConfigReader::only(const std::string& field, const Json& allowed) const {
    if (has(field) && object_[field] != allowed) {
        refuse(field + " = " + object_[field].dump() + " is not implemented (" + allowed.dump() +
               " is). Computing without it would give other numbers.");
    }
}

void ConfigReader::warn_about_unknown_fields(std::vector<std::string>& warnings) const {
    // What transformers writes into config.json for training, for its own classes or as notes.
    constexpr std::array harmless = {"_name_or_path",
                                     "_attn_implementation_autoset",
                                     "architectures",
                                     "attention_dropout",
                                     "cache_implementation",
                                     "chunk_size_feed_forward",
                                     "classifier_dropout",
                                     "dtype",
                                     "hidden_dropout",
                                     "id2label",
                                     "initializer_range",
                                     "initializer_factor",
                                     "is_decoder",
                                     "is_llama_config",
                                     "label2id",
                                     "layer_types",
                                     "max_window_layers",
                                     "model_type",
                                     "output_attentions",
                                     "output_hidden_states",
                                     "pad_token_id",
                                     "pretraining_tp",
                                     "problem_type",
                                     "return_dict",
                                     "rope_interleaved",
                                     "sep_token_id",
                                     "sliding_window_size",
                                     "tokenizer_class",
                                     "torch_dtype",
                                     "torchscript",
                                     "transformers.js_config",
                                     "transformers_version",
                                     "unk_token_id",
                                     "unsloth_fixed",
                                     "use_cache",
                                     "use_sliding_window",
                                     "hidden_act",
                                     "hidden_activation"};
    std::vector<std::string> unknown;
    for (const auto& [field, value] : object_.items()) {
        if (asked_.contains(field) || value.is_null()) continue;
        if (std::find(harmless.begin(), harmless.end(), field) != harmless.end()) continue;
        unknown.push_back(field);
    }
    if (unknown.empty()) return;
    warnings.push_back("model configuration " + where_ +
                       ": fields that pva does not know and leaves aside: " + join(unknown, ", "));
}

void read_common(const ConfigReader& reader, ModelConfig& config, const CommonDefaults& defaults) {
    config.model_type = reader.text_or("model_type", "");
    config.vocab_size = reader.positive_integer("vocab_size");
    config.hidden_size = reader.positive_integer("hidden_size");
    config.num_hidden_layers = reader.positive_integer("num_hidden_layers");
    if (config.num_hidden_layers > most_layers) {
        reader.refuse("num_hidden_layers = " + std::to_string(config.num_hidden_layers) + " is beyond " +
                      std::to_string(most_layers) + ". Take the config.json that belongs to the weights.");
    }
    config.num_attention_heads = reader.positive_integer("num_attention_heads");
    config.intermediate_size = reader.positive_integer("intermediate_size");
    config.tie_word_embeddings = reader.flag_or("tie_word_embeddings", defaults.tie_word_embeddings);
    config.windows.assign(static_cast<std::size_t>(config.num_hidden_layers), 0);

    reader.only("quantization_config", nullptr);
    reader.only("use_bidirectional_attention", false);
    reader.only("is_encoder_decoder", false);
    reader.only("add_cross_attention", false);
    reader.only("pruned_heads", Json::object());
    for (const char* multiplier : {"embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale"}) {
        reader.only(multiplier, 1.0);
    }
    for (const char* addition : {"attention_multiplier", "num_local_experts", "num_experts", "qk_norm", "use_qk_norm",
                                 "no_rope_layers", "attn_scale"}) {
        reader.only(addition, nullptr);
    }

    if (reader.has("eos_token_id")) {
        const Json& eos = reader.at("eos_token_id");
        if (eos.is_array()) {
            for (const Json& id : eos)
                config.eos_token_ids.push_back(token_id(reader, "eos_token_id", id, config.vocab_size));
        } else {
            config.eos_token_ids.push_back(token_id(reader, "eos_token_id", eos, config.vocab_size));
        }
        std::sort(config.eos_token_ids.begin(), config.eos_token_ids.end());
        config.eos_token_ids.erase(std::unique(config.eos_token_ids.begin(), config.eos_token_ids.end()),
                                   config.eos_token_ids.end());
    } else if (!reader.is_null("eos_token_id") && defaults.eos_token_id) {
        config.eos_token_ids = {*defaults.eos_token_id};
    }
    if (reader.has("bos_token_id")) {
        config.bos_token_id = token_id(reader, "bos_token_id", reader.at("bos_token_id"), config.vocab_size);
    } else if (!reader.is_null("bos_token_id")) {
        config.bos_token_id = defaults.bos_token_id;
    }
}

void read_key_value_heads(const ConfigReader& reader, ModelConfig& config) {
    config.num_key_value_heads = reader.positive_integer_or("num_key_value_heads", config.num_attention_heads);
    if (config.num_attention_heads % config.num_key_value_heads != 0) {
        reader.refuse("num_attention_heads = " + std::to_string(config.num_attention_heads) +
                      " is not a multiple of num_key_value_heads = " + std::to_string(config.num_key_value_heads) +
                      ".");
    }
}

std::optional<Json> rope_parameters(const ConfigReader& reader) {
    std::optional<Json> found;
    for (const char* field : {"rope_parameters", "rope_scaling"}) {
        if (!reader.has(field)) continue;
        const Json& object = reader.at(field);
        if (!object.is_object()) reader.refuse(std::string(field) + " is not an object.");
        if (found && *found != object) {
            reader.refuse("rope_parameters and rope_scaling are both there and differ; remove the wrong one.");
        }
        found = object;
    }
    if (!found) return found;
    for (const auto& [key, value] : found->items()) {
        if (value.is_object()) {
            reader.refuse("rope parameters that differ between layers (" + key + ") are not implemented.");
        }
    }
    if (found->contains("type")) {
        if (found->contains("rope_type") && (*found)["rope_type"] != (*found)["type"])
            reader.refuse("the rope parameters have rope_type and type, and they differ; remove the wrong one.");
        (*found)["rope_type"] = (*found)["type"];
        found->erase("type");
    }
    if (!found->contains("rope_type")) (*found)["rope_type"] = "default";
    return found;
}

void only_default_rope(const ConfigReader& reader, const Json& parameters, const std::string& implemented) {
    if (parameters.at("rope_type") == "default") return;
    reader.refuse("rope_type " + parameters.at("rope_type").dump() + " of the rope parameters is not implemented (" +
                  implemented + ").");
}

RotaryConfig read_rotary(const ConfigReader& reader, std::int64_t head_dim, std::int64_t max_positions,
                         bool allow_llama3) {
    if (head_dim % 2 != 0)
        reader.refuse("head_dim = " + std::to_string(head_dim) + " is odd; rotary embedding needs pairs.");
    constexpr double default_theta = 10000.0;
    RotaryConfig rotary;
    rotary.dims = head_dim;
    reader.only("partial_rotary_factor", 1.0);
    const std::optional<Json> parameters = rope_parameters(reader);
    rotary.theta = reader.positive_number_or("rope_theta", default_theta);
    if (!parameters) return rotary;

    const bool llama3 = allow_llama3 && (*parameters)["rope_type"] == "llama3";
    if (!llama3)
        only_default_rope(reader, *parameters, allow_llama3 ? "\"default\" and \"llama3\" are" : "\"default\" is");
    for (const auto& [key, value] : parameters->items()) {
        const bool known = key == "rope_theta" || key == "rope_type" ||
                           (key == "partial_rotary_factor" && value == 1.0) ||
                           (llama3 && (key == "factor" || key == "low_freq_factor" || key == "high_freq_factor" ||
                                       key == "original_max_position_embeddings"));
        if (!known) {
            reader.refuse("rope parameter " + key + " = " + value.dump() + " is not implemented (" +
                          (allow_llama3 ? "plain rotary embedding and rope_type \"llama3\" are)."
                                        : "plain rotary embedding is)."));
        }
    }
    if (parameters->contains("rope_theta")) {
        const double theta = reader.positive_number("rope_parameters.rope_theta", (*parameters)["rope_theta"]);
        if (reader.has("rope_theta") && rotary.theta != theta) {
            reader.refuse("rope_theta and rope_parameters.rope_theta differ; remove the wrong one.");
        }
        rotary.theta = theta;
    }
    if (llama3) {
        const auto number = [&](const char* key) {
            if (!parameters->contains(key)) reader.refuse(std::string("the rope parameters lack ") + key + ".");
            return reader.positive_number(std::string("rope parameter ") + key, (*parameters)[key]);
        };
        Llama3RopeScaling scaling;
        scaling.factor = number("factor");
        scaling.low_freq_factor = number("low_freq_factor");
        scaling.high_freq_factor = number("high_freq_factor");
        scaling.original_max_position_embeddings = parameters->contains("original_max_position_embeddings")
                                                       ? number("original_max_position_embeddings")
                                                       : static_cast<double>(max_positions);
        // Outside the object it rules in transformers 5 and is not read by transformers 4.
        reader.only("original_max_position_embeddings", scaling.original_max_position_embeddings);
        if (scaling.high_freq_factor <= scaling.low_freq_factor) {
            reader.refuse("rope parameter high_freq_factor must be above low_freq_factor.");
        }
        rotary.scaling = scaling;
    }
    return rotary;
}

std::optional<std::vector<std::int64_t>> read_layer_types(const ConfigReader& reader, std::int64_t layers,
                                                          std::int64_t window) {
    if (!reader.has("layer_types")) return std::nullopt;
    const Json& names = reader.at("layer_types");
    if (!names.is_array() || static_cast<std::int64_t>(names.size()) != layers) {
        reader.refuse("layer_types must list one kind for each of the " + std::to_string(layers) + " layers.");
    }
    std::vector<std::int64_t> windows;
    for (const Json& name : names) {
        if (name == "sliding_attention") {
            if (window == 0) reader.refuse("layer_types holds \"sliding_attention\", but there is no sliding_window.");
            windows.push_back(window);
        } else if (name == "full_attention") {
            windows.push_back(0);
        } else {
            reader.refuse("layer_types holds " + name.dump() +
                          "; \"sliding_attention\" and \"full_attention\" are implemented.");
        }
    }
    return windows;
}

}  // namespace pva::model
