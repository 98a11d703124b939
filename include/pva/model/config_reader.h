// Checked access to the fields of a config.json. For the sources of this room that read one architecture each.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "pva/model/config.h"

namespace pva::model {

/// One config.json with the name of its file, so that every message can say where a field stands. It remembers which
/// fields were asked for, so that the others can be named.
class ConfigReader {
  public:
    /// Errors: InputError when the text is not a JSON object.
    ConfigReader(std::string_view json_text, std::string where);

    /// Throws InputError: "model configuration WHERE: REASON".
    [[noreturn]] void refuse(const std::string& reason) const;

    const std::string& where() const { return where_; }
    /// Present and not null.
    bool has(const std::string& field) const;
    bool is_null(const std::string& field) const;
    const nlohmann::json& at(const std::string& field) const;

    /// 1 to 2^31 - 1. Errors: InputError naming the field, also when it is absent.
    std::int64_t positive_integer(const std::string& field) const;
    std::int64_t positive_integer_or(const std::string& field, std::int64_t fallback) const;
    std::int64_t integer_from_zero_or(const std::string& field, std::int64_t fallback) const;
    /// Above 0 and finite. Errors: InputError.
    double positive_number(const std::string& field, const nlohmann::json& value) const;
    double positive_number_or(const std::string& field, double fallback) const;
    bool flag_or(const std::string& field, bool fallback) const;
    std::string text_or(const std::string& field, const std::string& fallback) const;
    /// null switches a cap off; absence means the default of transformers.
    std::optional<double> cap(const std::string& field, double fallback) const;
    /// A field that may only be absent, null or `allowed`: everything else would need other arithmetic.
    void only(const std::string& field, const nlohmann::json& allowed) const;
    /// A field that means nothing for the result.
    void ignore(const std::string& field) const { asked_.insert(field); }
    /// One warning that names the fields nobody asked for; none when there are none.
    void warn_about_unknown_fields(std::vector<std::string>& warnings) const;

  private:
    nlohmann::json object_;
    std::string where_;
    mutable std::set<std::string> asked_;
};

/// What transformers assumes for absent fields, by architecture.
struct CommonDefaults {
    bool tie_word_embeddings = false;
    std::optional<std::int32_t> bos_token_id;
    std::optional<std::int32_t> eos_token_id;
};

/// Fills model_type, the shapes and the special tokens; refuses what no architecture here implements (quantisation,
/// multipliers, cross attention). num_key_value_heads and head_dim are left to the caller.
void read_common(const ConfigReader& reader, ModelConfig& config, const CommonDefaults& defaults);

/// Key-value heads: the field, or the number of heads when it is absent or null. Errors: InputError unless it divides it.
void read_key_value_heads(const ConfigReader& reader, ModelConfig& config);

/// rope_theta, rope_scaling and rope_parameters of transformers 4 and 5 for an embedding over the whole head. Errors:
/// InputError for rope types other than default and llama3 (the latter only when allowed).
RotaryConfig read_rotary(const ConfigReader& reader, std::int64_t head_dim, std::int64_t max_positions,
                         bool allow_llama3);

/// The parameters object of either spelling, or none; refuses both at once with different contents.
std::optional<nlohmann::json> rope_parameters(const ConfigReader& reader);

/// Errors: InputError naming the rope_type unless it is "default"; `implemented` says what could be had.
void only_default_rope(const ConfigReader& reader, const nlohmann::json& parameters, const std::string& implemented);

/// layer_types as window sizes: `window` where it says sliding_attention. none when the field is absent.
std::optional<std::vector<std::int64_t>> read_layer_types(const ConfigReader& reader, std::int64_t layers,
                                                          std::int64_t window);

}  // namespace pva::model
