// Reading complete result files, and finding them: a phase takes the newest complete file of the right model and problem set.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "pva/core/provenance.h"
#include "pva/io/schema.h"

namespace pva::io {

class ResultReader {
  public:
    /// Errors: InputError when the file is missing, not HDF5, not ours, of another filetype or format version, or not
    /// complete (then it says how many units are done and that the phase must be run to its end).
    static ResultReader open(const std::string& path, const FileSchema& schema);

    const std::string& path() const { return path_; }
    const nlohmann::ordered_json& identity() const { return identity_; }
    /// Hash of everything in the file outside measured/: the identity and the checksums of all units. Equal for equal results,
    /// whenever and on however many ranks they were made.
    const std::string& content_sha256() const { return content_sha256_; }
    InputFile as_input(const std::string& role) const { return {role, path_, content_sha256_}; }
    nlohmann::ordered_json summary() const;
    /// Files that the result was made from, as its attribute `inputs` has them; `path` is the name alone.
    std::vector<InputFile> inputs() const;
    /// The executable that wrote it.
    std::string program() const;

    std::vector<std::int64_t> shape(const std::string& dataset) const;
    /// Whole dataset. The element type must be T's. Errors: InputError.
    template <class T>
    std::vector<T> read(const std::string& dataset) const;
    /// Rows [first, first + count).
    template <class T>
    std::vector<T> read_rows(const std::string& dataset, std::int64_t first, std::int64_t count) const;
    /// dataset[r, second, ...] for every r of `rows`, one behind the other: one layer of chosen rows of residuals. float32.
    std::vector<float> read_row_parts(const std::string& dataset, std::span<const std::int64_t> rows, std::int64_t second) const;
    /// The same as it stands in the file, whatever its type.
    std::vector<std::byte> read_row_part_bytes(const std::string& dataset, std::span<const std::int64_t> rows, std::int64_t second) const;
    h5::Element element(const std::string& dataset) const;
    std::vector<std::string> read_texts(const std::string& dataset) const;
    /// Rows as they stand in the file, whatever their type; texts padded with zeros to the file's own width.
    std::vector<std::byte> read_bytes(const std::string& dataset, std::int64_t first, std::int64_t count) const;
    /// Bytes of one row.
    std::size_t row_bytes(const std::string& dataset) const;

  private:
    h5::Dataset open_checked(const std::string& dataset, h5::Element element) const;

    std::string path_;
    h5::File file_;
    nlohmann::ordered_json identity_;
    std::string content_sha256_;
};

/// A complete file that a search found.
struct FoundFile {
    std::string path;
    std::string timestamp;
    nlohmann::ordered_json identity;
};

/// Newest complete file with this prefix in the folder whose identity agrees with `wanted` in all of its keys.
/// `warn` gets a line when a file with a wider range exists. `lacks` says why a file is of no use, or nothing. Errors:
/// InputError that says what was looked for, what was there instead, and which phase writes it.
FoundFile find_newest(const std::string& folder, const std::string& prefix, const FileSchema& schema, const nlohmann::ordered_json& wanted,
                      const std::string& written_by, const std::function<void(const std::string&)>& warn,
                      const std::function<std::string(const ResultReader&)>& lacks = {});

}  // namespace pva::io
