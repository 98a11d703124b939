// Taking lists of options apart.
#include "pva/core/comma_list.h"

#include <algorithm>

namespace pva {

std::vector<std::string> split_at_commas(std::string_view list) {
    std::vector<std::string> items;
    for (bool more = true; more;) {
        const std::size_t comma = list.find(',');
        std::string_view item = list.substr(0, comma);
        item.remove_prefix(std::min(item.find_first_not_of(' '), item.size()));
        item = item.substr(0, item.find_last_not_of(' ') + 1);
        items.emplace_back(item);
        more = comma != std::string_view::npos;
        if (more) list.remove_prefix(comma + 1);
    }
    return items;
}

std::vector<std::string> names_at_commas(std::string_view list) {
    std::vector<std::string> items = split_at_commas(list);
    std::erase(items, "");
    return items;
}

}  // namespace pva
