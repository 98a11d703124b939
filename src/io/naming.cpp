// Making and reading file names.
#include "pva/io/naming.h"

#include <regex>

namespace pva::io {

std::string file_name_part(const std::string& text) {
    std::string part;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
        part += plain ? c : '-';
    }
    return part.empty() ? "unnamed" : part;
}

std::string to_string(const FileName& name) {
    return name.prefix + "_" + file_name_part(name.model) + "_" + name.range + (name.suffix.empty() ? "" : "_" + file_name_part(name.suffix)) +
           "_" + name.timestamp + "." + name.extension;
}

std::optional<FileName> parse_file_name(const std::string& name) {
    // The model takes as much as it can, so that the last word that looks like a range is the range.
    static const std::regex form(R"(([A-Za-z0-9]+)_(.+)_([0-9]+-[0-9]+)(?:_([A-Za-z0-9._-]+))?_([0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}-[0-9]{2}-[0-9]{2})\.([A-Za-z0-9]+))");
    std::smatch match;
    if (!std::regex_match(name, match, form)) return std::nullopt;
    return FileName{match[1], match[2], match[3], match[4], match[5], match[6]};
}

}  // namespace pva::io
