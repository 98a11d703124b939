// Writes arrays: safetensors and npz. Whole files or none (whole_file.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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

/// A tensor on its way into a safetensors file that need not fit in memory.
struct StreamedTensor {
    std::string name;
    std::string dtype;  ///< as the format spells it: F32, BF16, ...
    std::vector<std::int64_t> shape;
    std::uint64_t bytes = 0;
    std::function<void(const std::function<void(std::span<const std::byte>)>& take)> produce;  ///< hands all bytes in order
};
/// The same file with tensors of any type. Errors: IoError; InternalError for repeated names, and when `produce` makes another number of bytes.
void write_safetensors(const std::string& path, std::span<const StreamedTensor> tensors, const std::map<std::string, std::string>& metadata = {});

/// An npz file as numpy.savez writes it: members stored, '<f4', C order; ZIP64 where sizes want it (format: npz.h).
/// No time enters the file: the same arrays give the same bytes. Errors: as above, and InternalError for other than floats.
void write_npz(const std::string& path, std::span<const NamedArray> arrays);

/// An array on its way into an npz file that is made piece by piece, so that it need not fit in memory.
struct StreamedArray {
    std::string name;
    std::string descr;                ///< numpy's name of the type, little-endian: "<f4", "<i8", "|u1", "|S64"
    std::vector<std::int64_t> shape;
    std::uint64_t bytes = 0;          ///< of all values, row-major
    /// Hands the same bytes in order to `take` every time it is called. It is called twice: for the checksum, which stands before the
    /// data, and for the data.
    std::function<void(const std::function<void(std::span<const std::byte>)>& take)> produce;
};
/// The same file with arrays of any type. Errors: IoError; InternalError for repeated names, and when `produce` makes another number of bytes.
void write_npz(const std::string& path, std::span<const StreamedArray> arrays);

}  // namespace pva::io
