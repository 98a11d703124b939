// Reading of tokenizer_config.json.
#include "tokenizer_config.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "json_fields.h"
#include "pva/core/error.h"

namespace pva::text {

namespace {

std::optional<bool> optional_boolean(const Component& component, const std::string& field) {
    if (!component.has(field)) return std::nullopt;
    return component.boolean(field);
}

/// A token is written as its spelling or as an object with the field `content`.
std::optional<std::string> optional_token(const Component& component, const std::string& field) {
    if (!component.has(field)) return std::nullopt;
    if (component.value(field).is_string()) return component.string(field);
    return Component(component.value(field), component.where() + ", " + field).string("content");
}

}  // namespace

std::string read_whole_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file.is_open() || file.bad()) throw IoError("cannot read " + path + "; check its permissions.");
    return bytes;
}

std::optional<TokenizerConfig> read_tokenizer_config(const std::string& tokenizer_path) {
    const auto path = std::filesystem::path(tokenizer_path).parent_path() / "tokenizer_config.json";
    if (!std::filesystem::is_regular_file(path)) return std::nullopt;
    const auto json = parse_json(read_whole_file(path.string()), path.string());
    const Component config(json, path.string());
    return TokenizerConfig{optional_boolean(config, "add_bos_token"), optional_boolean(config, "add_eos_token"),
                           optional_token(config, "bos_token"), optional_token(config, "eos_token")};
}

}  // namespace pva::text
