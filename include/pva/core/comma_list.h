// Lists as options take them: items separated by commas.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pva {

/// {"a", "b", ""} for "a, b,": the items without the blanks around them. An empty text is one empty item.
std::vector<std::string> split_at_commas(std::string_view list);

/// The same without empty items, for lists that may name nothing.
std::vector<std::string> names_at_commas(std::string_view list);

}  // namespace pva
