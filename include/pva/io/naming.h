// Names of finished files: <prefix>_<model>_<range>[_<suffix>]_<YYYY-MM-DD_HH-MM-SS>.<ext>
#pragma once

#include <optional>
#include <string>

namespace pva::io {

struct FileName {
    std::string prefix;     ///< difficulty, dataset, splits, latents, validation
    std::string model;      ///< without its organisation; may hold underscores
    std::string range;      ///< "0-399", inclusive
    std::string suffix;     ///< optional
    std::string timestamp;  ///< YYYY-MM-DD_HH-MM-SS
    std::string extension;  ///< without the dot
};

std::string to_string(const FileName& name);
/// Reads a name from the right, because the timestamp and the model may hold underscores. Nothing when it is not of this form.
std::optional<FileName> parse_file_name(const std::string& name);

/// Replaces what must not stand in a file name by '-'.
std::string file_name_part(const std::string& text);

}  // namespace pva::io
