// Segment files: one checksummed record per unit, appended by one rank, for results whose size is not known beforehand.
// Described in docs/formats/common.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace pva::io {

/// Appends records to a new file. A record is written whole by one call, so that a kill can only cut off the last one.
class SegmentWriter {
  public:
    /// Errors: IoError. The file must not exist yet.
    explicit SegmentWriter(const std::string& path);
    SegmentWriter(SegmentWriter&& other) noexcept;
    SegmentWriter& operator=(SegmentWriter&&) = delete;
    SegmentWriter(const SegmentWriter&) = delete;
    ~SegmentWriter();

    /// Appends the record of `unit`; returns its checksum. Errors: IoError (disk full: nothing of it is left in the file).
    std::uint64_t append(std::int64_t unit, std::span<const std::byte> payload);
    /// To the disk itself, not only to the page cache.
    void sync();

  private:
    std::string path_;
    int descriptor_ = -1;
    std::int64_t size_ = 0;
};

/// Where a record's payload lies.
struct SegmentRecord {
    std::string path;
    std::int64_t offset = 0;
    std::int64_t size = 0;
    std::uint64_t checksum = 0;
};

/// All whole records of the files, by unit; torn tails and records whose checksum does not hold are passed over.
/// Of several records of one unit the first file's counts (they are equal: a unit's result is a function of the unit).
std::map<std::int64_t, SegmentRecord> read_segment_index(const std::vector<std::string>& paths);

/// The payload. Errors: IoError when it no longer has its checksum.
std::vector<std::byte> read_segment(const SegmentRecord& record);

/// Segment files of a working file, sorted; of any run and rank.
std::vector<std::string> segment_paths(const std::string& part_path);

}  // namespace pva::io
