// HDF5 (C API) behind move-only handles and one checked path. Every HDF5 call of pva stands in src/io/h5.cpp.
// "Collective": every rank of the communicator the file was opened with must call it.
#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pva/mpi/communicator.h"

namespace pva::io::h5 {

/// What kind of identifier a handle holds; decides how it is closed.
enum class Kind { file, group, dataset, space, plist, type, attribute };

/// Owns one HDF5 identifier. Closing in the destructor ignores failures; close() reports them.
class Handle {
  public:
    Handle() = default;
    /// collective: closing involves all ranks (parallel files and what is in them). Such a handle is left open while an
    /// exception unwinds, because the other ranks may be elsewhere and closing would hang.
    Handle(Kind kind, hid_t id, bool collective = false);
    Handle(Handle&& other) noexcept;
    Handle& operator=(Handle&& other) noexcept;
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle();
    hid_t id() const { return id_; }
    explicit operator bool() const { return id_ >= 0; }
    /// Errors: IoError naming `what`.
    void close(const std::string& what);

  private:
    Kind kind_ = Kind::file;
    hid_t id_ = -1;
    bool collective_ = false;
    int uncaught_ = 0;
};

/// Element types of pva's datasets. f16 is IEEE's half, bf16 the upper half of a float32; both are moved as they are, two
/// bytes each. text is fixed-width UTF-8, padded with zero bytes.
enum class Element { u8, u16, i32, u32, i64, u64, f16, bf16, f32, f64, text };
/// Bytes of one element; for text its width.
std::size_t element_bytes(Element element, std::size_t text_width = 0);
/// "uint8", "float32", "text", ... as written in docs/formats.
std::string element_name(Element element);

/// A file with the path it was opened by, for messages.
struct File {
    Handle handle;
    std::string path;
    bool parallel = false;
};

/// An open dataset with its name and shape.
struct Dataset {
    Handle handle;
    std::string file_path;
    std::string name;
    Element element = Element::u8;
    std::size_t text_width = 0;
    std::vector<std::int64_t> shape;
    /// Bytes of one row, that is of one index of the first dimension (of the element, for a scalar).
    std::size_t row_bytes() const;
    std::int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
};

/// "1.10.8".
std::string library_version();

/// Creates an empty file, serial driver. Errors: IoError.
File create(const std::string& path);
/// Opens for reading, serial. Errors: InputError when it is missing, is no HDF5 file, or cannot be opened (says why).
File open_readonly(const std::string& path);
/// Collective. Opens for reading and writing through MPI-IO. Errors: IoError.
File open_parallel(const std::string& path, const mpi::Communicator& comm);
/// Collective for a parallel file. Errors: IoError.
void flush(const File& file);

/// Creates a dataset (and the groups in its name) with its space allocated at once and no fill values written, except
/// `zeroed` ones. Not for parallel files. No time stamps, so that equal content gives equal bytes.
Dataset create_dataset(const File& file, const std::string& name, Element element, std::size_t text_width,
                       const std::vector<std::int64_t>& shape, bool zeroed);
/// Errors: InputError when there is none of that name or its type is none of ours.
Dataset open_dataset(const File& file, const std::string& name);
bool exists(const File& file, const std::string& name);
/// Names of all datasets with their groups, sorted.
std::vector<std::string> dataset_names(const File& file);

/// Writes `count` rows from `first_row` on, independently of other ranks, in pieces of at most 256 MiB.
/// bytes.size() == count * row_bytes(). Errors: IoError with the dataset, rows and HDF5's own words.
void write_rows(const Dataset& dataset, std::int64_t first_row, std::int64_t count, std::span<const std::byte> bytes);
void read_rows(const Dataset& dataset, std::int64_t first_row, std::int64_t count, std::span<std::byte> bytes);
/// Reads dataset[row, second, ...] of a dataset of at least two dimensions: one layer of a row of residuals, say.
void read_row_part(const Dataset& dataset, std::int64_t row, std::int64_t second, std::span<std::byte> bytes);

/// Attributes of the root group or of a dataset. Not for parallel files. Reading gives nothing for an attribute that is
/// absent, of another kind, or no single value, so that the caller can say what it wanted.
void write_attribute(const File& file, const std::string& object, const std::string& name, const std::string& value);
void write_attribute(const File& file, const std::string& object, const std::string& name, std::int64_t value);
std::optional<std::string> read_text_attribute(const File& file, const std::string& object, const std::string& name);
std::optional<std::int64_t> read_integer_attribute(const File& file, const std::string& object, const std::string& name);

}  // namespace pva::io::h5
