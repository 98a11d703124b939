// Post-processors of a tokenizer.json: tokens put around every text, and offsets without the blanks of byte-level
// tokens.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

namespace pva::text {

/// Takes the blanks at the beginning and end of byte-level tokens out of their offsets (ByteLevel, trim_offsets).
struct TrimOffsets {
    bool add_prefix_space = false;
};

/// Puts tokens before and behind the text (TemplateProcessing).
struct Template {
    std::vector<std::int32_t> before;
    std::vector<std::int32_t> behind;
};

/// Steps in their order. Errors: InputError naming a component that is not supported; `where` names the file.
/// Supported: null, ByteLevel, TemplateProcessing (its `single` with $A once), Sequence.
std::vector<std::variant<TrimOffsets, Template>> read_post_processor(const nlohmann::json& value,
                                                                     const std::string& where);

}  // namespace pva::text
