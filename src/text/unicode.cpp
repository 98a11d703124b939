// Character classes by ICU.
#include "unicode.h"

#include <unicode/uchar.h>

namespace pva::text {

std::size_t character_length(std::string_view text, std::size_t at) {
    const std::size_t begin = at;
    next_code_point(text, at);
    return at - begin;
}

void append_utf8(char32_t code_point, std::string& text) {
    const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
    if (code_point < 0x80) {
        put(code_point);
    } else if (code_point < 0x800) {
        put(0xC0 | code_point >> 6);
        put(0x80 | (code_point & 0x3F));
    } else if (code_point < 0x10000) {
        put(0xE0 | code_point >> 12);
        put(0x80 | (code_point >> 6 & 0x3F));
        put(0x80 | (code_point & 0x3F));
    } else {
        put(0xF0 | code_point >> 18);
        put(0x80 | (code_point >> 12 & 0x3F));
        put(0x80 | (code_point >> 6 & 0x3F));
        put(0x80 | (code_point & 0x3F));
    }
}

bool is_white_space(char32_t code_point) {
    return u_hasBinaryProperty(static_cast<UChar32>(code_point), UCHAR_WHITE_SPACE);
}

bool is_numeric(char32_t code_point) {
    return (U_GET_GC_MASK(static_cast<UChar32>(code_point)) & U_GC_N_MASK) != 0;
}

bool is_word_character(char32_t code_point) {
    const auto c = static_cast<UChar32>(code_point);
    return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
           (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

std::size_t leading_white_space(std::string_view text) {
    std::size_t end = 0;
    for (std::size_t at = 0; at < text.size(); end = at) {
        if (!is_white_space(next_code_point(text, at))) break;
    }
    return end;
}

std::size_t trailing_white_space(std::string_view text) {
    std::size_t begin = text.size();
    while (begin > 0) {
        std::size_t at = begin - 1;
        while (at > 0 && is_continuation_byte(text[at]))
            --at;
        std::size_t behind = at;
        if (!is_white_space(next_code_point(text, behind))) break;
        begin = at;
    }
    return text.size() - begin;
}

}  // namespace pva::text
