// UTF-8 validity by the table of well-formed byte sequences in the Unicode standard.
#include "pva/text/utf8.h"

namespace pva::text {

std::size_t valid_utf8_prefix(std::string_view bytes) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    std::size_t i = 0;
    while (i < bytes.size()) {
        const unsigned char first = byte(i);
        std::size_t length = 0;
        // Only the second byte has bounds that depend on the first one: they exclude overlong forms and surrogates.
        unsigned char low = 0x80;
        unsigned char high = 0xBF;
        if (first <= 0x7F) {
            length = 1;
        } else if (first >= 0xC2 && first <= 0xDF) {
            length = 2;
        } else if (first >= 0xE0 && first <= 0xEF) {
            length = 3;
            if (first == 0xE0) low = 0xA0;
            if (first == 0xED) high = 0x9F;
        } else if (first >= 0xF0 && first <= 0xF4) {
            length = 4;
            if (first == 0xF0) low = 0x90;
            if (first == 0xF4) high = 0x8F;
        } else {
            return i;
        }
        if (bytes.size() - i < length) return i;
        for (std::size_t k = 1; k < length; ++k) {
            const unsigned char next = byte(i + k);
            if (next < low || next > high) return i;
            low = 0x80;
            high = 0xBF;
        }
        i += length;
    }
    return i;
}

}  // namespace pva::text
