// UTF-8 validity of byte strings (Unicode 15, table 3-7: no surrogates, no overlong forms, nothing above U+10FFFF).
#pragma once

#include <cstddef>
#include <string_view>

namespace pva::text {

/// Length of the longest prefix of `bytes` that is whole, valid UTF-8; equal to bytes.size() when all of it is.
std::size_t valid_utf8_prefix(std::string_view bytes);

}  // namespace pva::text
