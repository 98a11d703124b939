// Joining texts.
#include "pva/core/join.h"

namespace pva {

std::string join(const std::vector<std::string>& texts, std::string_view separator) {
    std::string joined;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        if (i > 0) joined += separator;
        joined += texts[i];
    }
    return joined;
}

}  // namespace pva
