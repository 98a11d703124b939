// Checked reading of the components of a tokenizer.json: wrong types, missing and unknown fields are InputErrors that
// name the file and the component.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace pva::text {

/// Parses a JSON text strictly: no duplicate keys, at most 64 levels. `where` names the file. Errors: InputError.
nlohmann::json parse_json(const std::string& bytes, const std::string& where);

/// One component (a JSON object) and the words that say where it stands, for messages.
class Component {
  public:
    /// Errors: InputError when `value` is not an object.
    Component(const nlohmann::json& value, std::string where);

    const std::string& where() const { return where_; }
    /// The field `type`. Errors: InputError when it is missing.
    std::string type() const { return string("type"); }
    /// Errors: InputError when a field is not in the list: it might change the result.
    void only(std::initializer_list<std::string_view> fields) const;
    bool has(const std::string& field) const;  ///< there and not null

    std::string string(const std::string& field) const;
    std::string string(const std::string& field, const std::string& absent) const;
    bool boolean(const std::string& field) const;
    bool boolean(const std::string& field, bool absent) const;
    std::int32_t id(const std::string& field) const;
    const nlohmann::json& array(const std::string& field) const;
    const nlohmann::json& object(const std::string& field) const;
    const nlohmann::json& value(const std::string& field) const;

    [[noreturn]] void refuse(const std::string& reason) const;

  private:
    const nlohmann::json& value_;
    std::string where_;
};

/// A token id: a whole number from 0 to 2^31 - 2; nothing when the value is no such number.
std::optional<std::int32_t> as_token_id(const nlohmann::json& value);
/// The same. Errors: InputError; `where` says where the value stands.
std::int32_t token_id(const nlohmann::json& value, const std::string& where);

/// What `Replace` and `Split` search for: exactly one of {"String": ...} and {"Regex": ...}.
struct PatternText {
    std::string text;
    bool is_regex = false;
};
PatternText pattern_text(const Component& component);

}  // namespace pva::text
