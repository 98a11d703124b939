// Checked access to parsed JSON.
#include "json_fields.h"

#include <algorithm>
#include <limits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "pva/core/error.h"

namespace pva::text {

namespace {

constexpr int deepest_level = 64;

}  // namespace

nlohmann::json parse_json(const std::string& bytes, const std::string& where) {
    using json = nlohmann::json;
    std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
    const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
        if (depth > deepest_level)
            throw InputError(where + ": JSON nested deeper than " + std::to_string(deepest_level) + " levels.");
        if (event == json::parse_event_t::object_start) {
            keys.emplace_back();
        } else if (event == json::parse_event_t::object_end) {
            keys.pop_back();
        } else if (event == json::parse_event_t::key) {
            const auto& key = parsed.get_ref<const std::string&>();
            if (!keys.back().insert(key).second)
                throw InputError(where + ": the key \"" + key + "\" stands twice in one object; the file is damaged.");
        }
        return true;
    };
    try {
        return json::parse(bytes, check);
    } catch (const json::exception& error) {
        throw InputError(where + ": not valid JSON (" + error.what() + "). It was cut short or damaged while " +
                         "copying; fetch it again.");
    }
}

Component::Component(const nlohmann::json& value, std::string where) : value_(value), where_(std::move(where)) {
    if (!value_.is_object()) refuse("an object is expected here");
}

void Component::refuse(const std::string& reason) const {
    throw InputError(where_ + ": " + reason + ".");
}

void Component::only(std::initializer_list<std::string_view> fields) const {
    for (const auto& [name, value] : value_.items()) {
        if (std::find(fields.begin(), fields.end(), name) == fields.end())
            refuse("the field \"" + name + "\" is unknown to pva and may change the tokens");
    }
}

bool Component::has(const std::string& field) const {
    const auto found = value_.find(field);
    return found != value_.end() && !found->is_null();
}

const nlohmann::json& Component::value(const std::string& field) const {
    const auto found = value_.find(field);
    if (found == value_.end()) refuse("the field \"" + field + "\" is missing");
    return *found;
}

std::string Component::string(const std::string& field) const {
    const auto& found = value(field);
    if (!found.is_string()) refuse("the field \"" + field + "\" must be a string");
    return found.get<std::string>();
}

std::string Component::string(const std::string& field, const std::string& absent) const {
    return has(field) ? string(field) : absent;
}

bool Component::boolean(const std::string& field) const {
    const auto& found = value(field);
    if (!found.is_boolean()) refuse("the field \"" + field + "\" must be true or false");
    return found.get<bool>();
}

bool Component::boolean(const std::string& field, bool absent) const {
    return has(field) ? boolean(field) : absent;
}

std::int32_t Component::id(const std::string& field) const {
    return token_id(value(field), where_ + ": the field \"" + field + "\"");
}

const nlohmann::json& Component::array(const std::string& field) const {
    const auto& found = value(field);
    if (!found.is_array()) refuse("the field \"" + field + "\" must be a list");
    return found;
}

const nlohmann::json& Component::object(const std::string& field) const {
    const auto& found = value(field);
    if (!found.is_object()) refuse("the field \"" + field + "\" must be an object");
    return found;
}

std::optional<std::int32_t> as_token_id(const nlohmann::json& value) {
    constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max()) - 1;
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > largest) return std::nullopt;
    return static_cast<std::int32_t>(value.get<std::uint64_t>());
}

std::int32_t token_id(const nlohmann::json& value, const std::string& where) {
    const auto id = as_token_id(value);
    if (!id) throw InputError(where + " is not a token id: " + value.dump() + ".");
    return *id;
}

PatternText pattern_text(const Component& component) {
    const Component pattern(component.object("pattern"), component.where() + ", pattern");
    pattern.only({"String", "Regex"});
    if (pattern.has("String") == pattern.has("Regex")) pattern.refuse("one of String and Regex is expected");
    if (pattern.has("Regex")) return {pattern.string("Regex"), true};
    return {pattern.string("String"), false};
}

}  // namespace pva::text
