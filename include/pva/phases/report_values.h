// Values of result files and summaries as a report shows them; shared by its sections.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pva/core/error.h"
#include "pva/io/reader.h"
#include "pva/phases/context.h"

namespace pva::phases {

/// A value of a JSON object as text: strings as they are, "-" where there is none.
inline std::string value_text(const nlohmann::ordered_json& object, const std::string& key) {
    if (!object.is_object() || !object.contains(key) || object.at(key).is_null()) return "-";
    const auto& value = object.at(key);
    return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// A number of a JSON object; NaN where there is none.
inline double value_number(const nlohmann::ordered_json& object, const std::string& key) {
    return object.is_object() && object.contains(key) && object.at(key).is_number() ? object.at(key).get<double>() : std::numeric_limits<double>::quiet_NaN();
}

/// "63.2 %"; "-" when it is not finite.
inline std::string percent(double share) { return std::isfinite(share) ? fixed(100 * share, 1) + " %" : "-"; }

/// Errors: InputError naming file and dataset.
template <class T>
void require_size(const std::vector<T>& values, std::size_t n, const io::ResultReader& reader, const std::string& name) {
    if (values.size() != n) throw InputError(reader.path() + " dataset " + name + ": has " + std::to_string(values.size()) + " values, expected " + std::to_string(n) + "; the file is damaged");
}

/// A dataset of this many values. Errors: InputError.
template <class T>
std::vector<T> read_sized(const io::ResultReader& reader, const std::string& name, std::size_t n) {
    std::vector<T> values = reader.read<T>(name);
    require_size(values, n, reader, name);
    return values;
}

}  // namespace pva::phases
