// Code points of UTF-8 text that is known to be valid, and the character classes tokenizers ask for.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pva::text {

/// The code point that begins at byte `at`; `at` moves behind it. The text must be valid UTF-8 and `at` a boundary.
inline char32_t next_code_point(std::string_view text, std::size_t& at) {
    const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
    const char32_t first = byte(at);
    if (first < 0x80) return text[at++];
    if (first < 0xE0) {
        at += 2;
        return (first & 0x1F) << 6 | (byte(at - 1) & 0x3F);
    }
    if (first < 0xF0) {
        at += 3;
        return (first & 0x0F) << 12 | (byte(at - 2) & 0x3F) << 6 | (byte(at - 1) & 0x3F);
    }
    at += 4;
    return (first & 0x07) << 18 | (byte(at - 3) & 0x3F) << 12 | (byte(at - 2) & 0x3F) << 6 | (byte(at - 1) & 0x3F);
}

/// Whether a byte continues a character (it is not the first of one).
inline bool is_continuation_byte(char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// Length in bytes of the character that begins at byte `at`.
std::size_t character_length(std::string_view text, std::size_t at);

/// Appends the UTF-8 form of one code point.
void append_utf8(char32_t code_point, std::string& text);

/// Unicode property White_Space.
bool is_white_space(char32_t code_point);
/// General category N (decimal digits, letter numbers, other numbers).
bool is_numeric(char32_t code_point);
/// A word character of UTS 18: Alphabetic, M, Nd, Pc or Join_Control.
bool is_word_character(char32_t code_point);

/// Number of bytes of white space at the beginning or at the end of a text.
std::size_t leading_white_space(std::string_view text);
std::size_t trailing_white_space(std::string_view text);

}  // namespace pva::text
