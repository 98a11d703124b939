// One safetensors file, memory-mapped. Format: 8 bytes little-endian header length N, N bytes of JSON
// {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {string: string}}, then the data.
// Source: the format section of the README of huggingface/safetensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pva::io {

/// Where one tensor lies. `offset` counts bytes from the start of the file.
struct TensorEntry {
    std::string dtype;  ///< as the file spells it: F32, F16, BF16, F64, I64, U8, BOOL ...
    std::vector<std::int64_t> shape;
    std::size_t offset = 0;
    std::size_t bytes = 0;  ///< product of the shape times the size of the dtype
};

/// Read-only view of a file. The whole header is checked when it is opened: length, JSON, duplicate keys, dtypes,
/// overflow of sizes, offsets in range, no overlap and no holes. The data is not looked at. Do not shorten the file
/// while it is open.
class SafetensorsFile {
  public:
    /// Errors: InputError (naming file, tensor and remedy) when the file is missing, cut short or damaged; IoError when
    /// the system cannot map it.
    explicit SafetensorsFile(const std::string& path);
    SafetensorsFile(SafetensorsFile&& other) noexcept;
    SafetensorsFile& operator=(SafetensorsFile&& other) noexcept;
    ~SafetensorsFile();

    const std::string& path() const { return path_; }
    /// Names of all tensors in alphabetical order.
    std::vector<std::string> names() const;
    bool contains(std::string_view name) const;
    /// Errors: InputError when there is no tensor of that name.
    const TensorEntry& entry(std::string_view name) const;
    /// The tensor's raw bytes (row-major, little-endian, no alignment promised). Valid while this object lives.
    std::span<const std::byte> bytes(std::string_view name) const;
    /// The free-form `__metadata__` of the header.
    const std::map<std::string, std::string>& metadata() const { return metadata_; }

  private:
    void read_header(std::string_view json);

    std::string path_;
    const std::byte* mapping_ = nullptr;
    std::size_t size_ = 0;
    std::map<std::string, TensorEntry, std::less<>> entries_;
    std::map<std::string, std::string> metadata_;
};

}  // namespace pva::io
