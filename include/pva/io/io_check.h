// Rates of a folder: the same bytes written and read back through parallel HDF5, as result files are, and by plain pwrite.
// Raw rate = data calls only, observed rate = with create, flush and close too, as h5bench reports them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "pva/mpi/communicator.h"

namespace pva::io {

/// Bytes moved by one call.
inline constexpr std::int64_t io_check_block_bytes = std::int64_t{64} << 20;
/// Sizes are multiples of this (one row of the HDF5 dataset).
inline constexpr std::int64_t io_check_row_bytes = std::int64_t{1} << 20;

/// The bytes that a rank writes: Philox numbers keyed by the rank, shifted from block to block, so that a block that comes
/// back from another rank, another place or half old differs.
class IoPattern {
  public:
    explicit IoPattern(int rank);
    /// Content of a block; size at most io_check_block_bytes. Valid as long as the pattern.
    std::span<const std::byte> block(std::int64_t index, std::size_t size) const;
    /// Errors: IoError naming `path`, the block and the first byte that differs.
    void verify(std::int64_t index, std::span<const std::byte> found, const std::string& path) const;

  private:
    int rank_;
    std::vector<std::byte> bytes_;
};

/// Seconds of the slowest rank.
struct IoSeconds {
    double data = 0;   ///< in write or read calls
    double total = 0;  ///< data, and create or open, flush to the disk, close
};

/// One way of moving the bytes, after all of them came back as they were written.
struct IoMeasurement {
    std::string way;         ///< "pwrite, a file per rank", "pwrite, one file", "HDF5, one file"
    std::int64_t bytes = 0;  ///< of all ranks
    IoSeconds write;
    IoSeconds read;
};

struct IoCheckSettings {
    std::string folder;
    std::int64_t bytes_per_rank = 0;  ///< a positive multiple of io_check_row_bytes
    std::int64_t rounds = 1;          ///< how often everything is done; the fastest round counts, for each figure apart
    /// Called by every rank between writing and reading, with the file that it will read; for tests. May be empty.
    std::function<void(const std::string& path)> before_reading;
};

/// Collective. Every rank writes its bytes in blocks of 64 MiB, the page cache is asked to drop them, and every rank reads and
/// verifies the bytes of the next rank. The files are removed afterwards, after a failure too (not after a kill).
/// The first entry is the yardstick: pwrite to a file per rank. The last one is HDF5.
/// Errors: AgreedError: InputError's code for a folder that is none, IoError's for too little free space (looked at first),
/// failing calls, and bytes that came back different.
std::vector<IoMeasurement> check_io(const mpi::Communicator& comm, const IoCheckSettings& settings);

}  // namespace pva::io
