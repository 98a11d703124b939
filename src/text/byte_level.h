// The printable characters that byte-level tokenizers write bytes as (GPT-2, `bytes_to_unicode`).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pva::text {

/// UTF-8 of the character that stands for a byte: itself for printable Latin-1, U+0100 onwards for the others.
const std::string& byte_level_character(unsigned char byte);

/// The bytes that the characters of a token stand for; nothing when one of them stands for no byte.
std::optional<std::string> bytes_of_byte_level(std::string_view token);

}  // namespace pva::text
