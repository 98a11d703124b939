// Table of byte-level characters.
#include "byte_level.h"

#include <array>
#include <unordered_map>

#include "unicode.h"

namespace pva::text {

namespace {

struct Table {
    std::array<std::string, 256> character;
    std::unordered_map<char32_t, char> byte;

    Table() {
        char32_t next = 0x100;
        for (char32_t b = 0; b < 256; ++b) {
            const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            const char32_t c = printable ? b : next++;
            append_utf8(c, character[b]);
            byte[c] = static_cast<char>(b);
        }
    }
};

const Table& table() {
    static const Table made;
    return made;
}

}  // namespace

const std::string& byte_level_character(unsigned char byte) {
    return table().character[byte];
}

std::optional<std::string> bytes_of_byte_level(std::string_view token) {
    std::string bytes;
    for (std::size_t at = 0; at < token.size();) {
        const auto found = table().byte.find(next_code_point(token, at));
        if (found == table().byte.end()) return std::nullopt;
        bytes.push_back(found->second);
    }
    return bytes;
}

}  // namespace pva::text
