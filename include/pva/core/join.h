// Texts one behind the other with something in between, for messages and lists.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pva {

/// "a, b, c" for {a, b, c} and ", "; empty for no texts.
std::string join(const std::vector<std::string>& texts, std::string_view separator);

}  // namespace pva
