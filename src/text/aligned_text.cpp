// Alignment of transformed text with the original.
#include "aligned_text.h"

#include "unicode.h"

namespace pva::text {

AlignedText::AlignedText(std::string_view bytes, std::size_t at, bool aligned) : text_(bytes), aligned_(aligned) {
    if (!aligned) return;
    origin_.reserve(bytes.size());
    for (std::size_t i = 0; i < bytes.size();) {
        const std::size_t begin = i;
        next_code_point(bytes, i);
        const Origin origin{static_cast<std::uint32_t>(at + begin), static_cast<std::uint32_t>(at + i)};
        origin_.insert(origin_.end(), i - begin, origin);
    }
}

void AlignedText::append(std::string_view bytes, Origin origin) {
    text_.append(bytes);
    if (aligned_) origin_.insert(origin_.end(), bytes.size(), origin);
}

void AlignedText::append(const AlignedText& other, ByteRange range) {
    text_.append(other.text_, range.begin, range.size());
    if (!aligned_) return;
    const auto begin = other.origin_.begin();
    origin_.insert(origin_.end(), begin + static_cast<std::ptrdiff_t>(range.begin),
                   begin + static_cast<std::ptrdiff_t>(range.end));
}

void AlignedText::reserve(std::size_t bytes) {
    text_.reserve(bytes);
    if (aligned_) origin_.reserve(bytes);
}

AlignedText transformed(const AlignedText& text, std::span<const CharacterChange> changes,
                        std::size_t dropped_at_start) {
    const std::string& source = text.text();
    AlignedText result(text.aligned());
    result.reserve(source.size());
    std::size_t at = 0;  // first byte of `source` that is neither replaced nor dropped yet
    const auto skip = [&](std::size_t characters) {
        for (; characters > 0 && at < source.size(); --characters)
            at += character_length(source, at);
    };
    skip(dropped_at_start);
    std::string bytes;
    for (const CharacterChange& one : changes) {
        bytes.clear();
        append_utf8(one.code_point, bytes);
        const Origin origin = one.change <= 0 ? text.origin(at) : at > 0 ? text.origin(at - 1) : Origin{};
        result.append(bytes, origin);
        if (one.change <= 0) skip(1 + static_cast<std::size_t>(-one.change));
    }
    return result;
}

}  // namespace pva::text
