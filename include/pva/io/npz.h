// Reads npz files: ZIP archives of npy arrays, as numpy.savez and numpy.savez_compressed write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pva::io {

/// What the headers of one array of an npz file say.
struct NpzMember {
    std::string name;                  ///< without the ".npy" of the archive
    std::vector<std::uint64_t> shape;  ///< empty for a single number
    bool fortran_order = false;        ///< as stored; `NpzFile::read` always returns row-major values
    std::uint64_t n_values = 1;        ///< product of the shape

    bool deflated = false;
    std::uint32_t crc32 = 0;
    std::uint64_t stored_bytes = 0;  ///< of the member inside the archive
    std::uint64_t npy_bytes = 0;     ///< of the npy file, header and data
    std::uint64_t header_bytes = 0;  ///< of the npy header
    std::uint64_t data_offset = 0;   ///< where the member's bytes start in the archive
};

/// The table of contents of an npz file. Opening reads headers only; the arrays are read one by one, so that a caller
/// can refuse wrong names and shapes before any large allocation.
///
/// Format: ZIP (PKWARE APPNOTE 6.3) with ZIP64, members stored or deflated; npy format versions 1.0 and 2.0 (numpy
/// documentation, "numpy.lib.format"), dtype '<f4' only, C or Fortran order.
///
/// Throws InputError for a missing file, anything that is no such archive, another dtype, encrypted, overlapping,
/// duplicate or truncated members, sizes that disagree with each other, and sizes that no deflate stream of that length
/// can produce (more than 1032 to 1). Throws IoError when reading fails.
class NpzFile {
  public:
    explicit NpzFile(const std::string& path);

    const std::string& path() const { return path_; }
    /// In the order of the archive's central directory.
    const std::vector<NpzMember>& members() const { return members_; }
    /// Null when there is no such member.
    const NpzMember* find(std::string_view name) const;

    /// The values of one array in row-major (C) order. Throws InputError also where the data is damaged (CRC-32).
    std::vector<float> read(const NpzMember& member) const;

  private:
    std::string path_;
    std::vector<NpzMember> members_;
};

}  // namespace pva::io
