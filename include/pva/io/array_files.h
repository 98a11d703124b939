// Writes arrays: safetensors and npz. Whole files or none (whole_file.h).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace pva::io {

/// An array on its way to a file, row-major. The values must outlive the call.
struct NamedArray {
    std::string name;
    std::vector<std::int64_t> shape;
    std::variant<std::span<const float>, std::span<const std::int64_t>> values;
};

/// A safetensors file with F32 and I64 tensors in the given order (format: safetensors.h). metadata: `__metadata__`.
/// Errors: IoError; InternalError for shapes and sizes that disagree and for repeated names.
void write_safetensors(const std::string& path, std::span<const NamedArray> arrays,
                       const std::map<std::string, std::string>& metadata = {});

/// An npz file as numpy.savez writes it: members stored, '<f4', C order; ZIP64 where sizes want it (format: npz.h).
/// No time enters the file: the same arrays give the same bytes. Errors: as above, and InternalError for other than floats.
void write_npz(const std::string& path, std::span<const NamedArray> arrays);

}  // namespace pva::io
