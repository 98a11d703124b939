// Matches of a string or a regular expression.
#include "pattern.h"

#include <array>

namespace pva::text {

Pattern::Pattern(const PatternText& pattern, const std::string& where) {
    if (pattern.is_regex) {
        regex_.emplace(pattern.text, where);
    } else {
        literal_ = pattern.text;
    }
}

void Pattern::each_match(std::string_view text, const std::function<void(ByteRange)>& found) const {
    each_match_in_parts(text, std::array{ByteRange{0, text.size()}},
                        [&](std::size_t, ByteRange match) { found(match); });
}

}  // namespace pva::text
