// Timing pwrite and parallel HDF5 with the same blocks in the same folder.
#include "pva/io/io_check.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "pva/core/error.h"
#include "pva/core/log.h"
#include "pva/core/philox.h"
#include "pva/core/provenance.h"
#include "pva/io/h5.h"
#include "pva/mpi/agree.h"

namespace fs = std::filesystem;

namespace pva::io {
namespace {

constexpr std::size_t pattern_slack = std::size_t{1} << 20;
constexpr std::size_t pattern_step = 64;

std::string system_text() { return std::strerror(errno); }

/// Seconds that `call` takes.
template <class Call>
double seconds_of(Call&& call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Of the slowest rank.
IoSeconds slowest(const mpi::Communicator& comm, const IoSeconds& mine) {
    const auto max_of = [&comm](double seconds) { return static_cast<double>(comm.all_max(std::llround(seconds * 1e9))) * 1e-9; };
    const double data = max_of(mine.data);
    return {data, max_of(mine.total)};
}

IoSeconds faster(const IoSeconds& a, const IoSeconds& b) { return {std::min(a.data, b.data), std::min(a.total, b.total)}; }

/// Removes a file when it goes, so that a failure leaves nothing behind.
class TemporaryFile {
  public:
    /// owner: this rank removes it.
    TemporaryFile(std::string path, bool owner) : path_(std::move(path)), owner_(owner) {}
    ~TemporaryFile() {
        if (owner_) unlink(path_.c_str());
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    bool owner_;
};

class RawFile {
  public:
    RawFile(const std::string& path, int flags) : path_(path), descriptor_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {
        if (descriptor_ < 0) throw IoError(path + ": cannot be opened (" + system_text() + "); check the folder's permissions");
    }
    ~RawFile() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    RawFile(const RawFile&) = delete;
    RawFile& operator=(const RawFile&) = delete;

    void write_at(std::int64_t offset, std::span<const std::byte> bytes) const {
        for (std::size_t done = 0; done < bytes.size();) {
            const ssize_t n = pwrite(descriptor_, bytes.data() + done, bytes.size() - done, offset + static_cast<std::int64_t>(done));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) throw IoError(path_ + ": writing failed (" + (n < 0 ? system_text() : "nothing was written") + "); check free space and quota");
            done += static_cast<std::size_t>(n);
        }
    }
    void read_at(std::int64_t offset, std::span<std::byte> bytes) const {
        for (std::size_t done = 0; done < bytes.size();) {
            const ssize_t n = pread(descriptor_, bytes.data() + done, bytes.size() - done, offset + static_cast<std::int64_t>(done));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) throw IoError(path_ + ": reading failed (" + (n < 0 ? system_text() : "the file is too short") + ")");
            done += static_cast<std::size_t>(n);
        }
    }
    void sync() const {
        if (fsync(descriptor_) != 0) throw IoError(path_ + ": fsync failed (" + system_text() + ")");
    }
    /// Asks for later reads to come from the disk; file systems in memory keep everything anyway.
    void drop_cache() const { posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED); }
    void close() {
        const int descriptor = std::exchange(descriptor_, -1);
        if (::close(descriptor) != 0) throw IoError(path_ + ": closing failed (" + system_text() + ")");
    }

  private:
    std::string path_;
    int descriptor_;
};

/// One call's worth of a rank's bytes.
struct BlockRange {
    std::int64_t index;
    std::int64_t offset;  // in the rank's bytes
    std::int64_t size;
};

std::vector<BlockRange> blocks_of(std::int64_t bytes) {
    std::vector<BlockRange> blocks;
    for (std::int64_t offset = 0; offset < bytes; offset += io_check_block_bytes) {
        blocks.push_back({static_cast<std::int64_t>(blocks.size()), offset, std::min(io_check_block_bytes, bytes - offset)});
    }
    return blocks;
}

/// What every way of moving the bytes has in common.
struct Job {
    const mpi::Communicator& comm;
    const IoCheckSettings& settings;
    std::string base;  ///< path that all file names start with, the same on every rank
    IoPattern own;     ///< what this rank writes
    int source;        ///< the rank whose bytes this rank reads
    IoPattern expected;
    std::vector<BlockRange> blocks;
    std::vector<std::byte> buffer;
};

void before_reading(Job& job, const std::string& path) {
    mpi::agreed(job.comm, [&] {
        if (job.settings.before_reading) job.settings.before_reading(path);
        RawFile(path, O_RDONLY).drop_cache();
    });
}

/// Reads and verifies all blocks; `read` moves one block into a buffer. Verifying is not timed. Returns seconds in `read`.
template <class Read>
double read_blocks(Job& job, const std::string& path, Read&& read) {
    double seconds = 0;
    for (const BlockRange& block : job.blocks) {
        const std::span<std::byte> target = std::span(job.buffer).first(static_cast<std::size_t>(block.size));
        seconds += seconds_of([&] { read(block, target); });
        job.expected.verify(block.index, target, path);
    }
    return seconds;
}

IoMeasurement measure_pwrite(Job& job, bool shared) {
    const mpi::Communicator& comm = job.comm;
    IoMeasurement result;
    result.way = shared ? "pwrite, one file" : "pwrite, a file per rank";
    const auto path_of = [&](int rank) { return job.base + (shared ? ".shared" : "." + std::to_string(rank)); };
    const auto start_of = [&](int rank) { return shared ? rank * job.settings.bytes_per_rank : std::int64_t{0}; };
    const TemporaryFile file(path_of(comm.rank()), !shared || comm.rank() == 0);
    const std::string source = path_of(job.source);

    IoSeconds mine;
    comm.barrier();
    mine.total += seconds_of([&] {
        mpi::agreed(comm, [&] {
            if (!shared || comm.rank() == 0) RawFile(file.path(), O_WRONLY | O_CREAT | O_EXCL).close();
        });
    });
    mpi::agreed(comm, [&] {
        mine.total += seconds_of([&] {
            RawFile target(file.path(), O_WRONLY);
            for (const BlockRange& block : job.blocks) {
                const auto bytes = job.own.block(block.index, static_cast<std::size_t>(block.size));
                mine.data += seconds_of([&] { target.write_at(start_of(comm.rank()) + block.offset, bytes); });
            }
            target.sync();
            target.close();
        });
    });
    result.write = slowest(comm, mine);

    before_reading(job, source);
    mine = {};
    comm.barrier();
    mpi::agreed(comm, [&] {
        mine.total += seconds_of([&] { RawFile(source, O_RDONLY).close(); });
        const RawFile from(source, O_RDONLY);
        mine.data = read_blocks(job, source, [&](const BlockRange& block, std::span<std::byte> target) {
            from.read_at(start_of(job.source) + block.offset, target);
        });
        mine.total += mine.data;
    });
    result.read = slowest(comm, mine);
    result.bytes = comm.size() * job.settings.bytes_per_rank;
    return result;
}

IoMeasurement measure_hdf5(Job& job) {
    const mpi::Communicator& comm = job.comm;
    IoMeasurement result;
    result.way = "HDF5, one file";
    const TemporaryFile file(job.base + ".h5", comm.rank() == 0);
    const std::int64_t rows_per_rank = job.settings.bytes_per_rank / io_check_row_bytes;
    const auto first_row = [&](int rank, const BlockRange& block) { return rank * rows_per_rank + block.offset / io_check_row_bytes; };

    // As a result file is made: created whole by the first rank with the serial driver, opened by all, flushed once.
    IoSeconds mine;
    h5::File open_file;
    h5::Dataset dataset;
    comm.barrier();
    mine.total += seconds_of([&] {
        mpi::agreed(comm, [&] {
            if (comm.rank() != 0) return;
            h5::File created = h5::create(file.path());
            h5::create_dataset(created, "bytes", h5::Element::u8, 0, {comm.size() * rows_per_rank, io_check_row_bytes}, false).handle.close(file.path());
            created.handle.close(file.path());
        });
        mpi::agreed(comm, [&] { open_file = h5::open_parallel(file.path(), comm); });
        mpi::agreed(comm, [&] { dataset = h5::open_dataset(open_file, "bytes"); });
        mpi::agreed(comm, [&] { h5::flush(open_file); });
    });
    mpi::agreed(comm, [&] {
        for (const BlockRange& block : job.blocks) {
            const auto bytes = job.own.block(block.index, static_cast<std::size_t>(block.size));
            mine.data += seconds_of([&] { h5::write_rows(dataset, first_row(comm.rank(), block), block.size / io_check_row_bytes, bytes); });
        }
    });
    mine.total += mine.data;
    const auto close_all = [&] {
        mpi::agreed(comm, [&] { dataset.handle.close(file.path()); });
        mpi::agreed(comm, [&] { open_file.handle.close(file.path()); });
    };
    mine.total += seconds_of([&] {
        // Through MPI-IO a flush of the file is a sync of its data too.
        mpi::agreed(comm, [&] { h5::flush(open_file); });
        close_all();
    });
    result.write = slowest(comm, mine);

    before_reading(job, file.path());
    mine = {};
    comm.barrier();
    mine.total += seconds_of([&] {
        mpi::agreed(comm, [&] { open_file = h5::open_parallel(file.path(), comm); });
        mpi::agreed(comm, [&] { dataset = h5::open_dataset(open_file, "bytes"); });
    });
    mpi::agreed(comm, [&] {
        mine.data = read_blocks(job, file.path(), [&](const BlockRange& block, std::span<std::byte> target) {
            h5::read_rows(dataset, first_row(job.source, block), block.size / io_check_row_bytes, target);
        });
    });
    mine.total += mine.data;
    mine.total += seconds_of(close_all);
    result.read = slowest(comm, mine);
    result.bytes = comm.size() * job.settings.bytes_per_rank;
    return result;
}

std::string gib_text(double bytes) {
    char text[64];
    std::snprintf(text, sizeof text, "%.2f GiB", bytes / 1073741824.0);
    return text;
}

/// Errors: InputError, IoError.
void check_folder(const std::string& folder, std::int64_t needed) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) {
        throw InputError(folder + ": " + (error ? error.message() : "this is not a folder") + "; name the folder in which results will be written");
    }
    struct statvfs space {};
    if (statvfs(folder.c_str(), &space) != 0) throw IoError(folder + ": free space cannot be read (" + system_text() + ")");
    const double available = static_cast<double>(space.f_bavail) * static_cast<double>(space.f_frsize);
    if (available < static_cast<double>(needed)) {
        throw IoError(folder + ": " + gib_text(available) + " are free, the check needs " + gib_text(static_cast<double>(needed)) +
                      "; free some space, or take fewer ranks or less for each");
    }
}

}  // namespace

IoPattern::IoPattern(int rank) : rank_(rank), bytes_(static_cast<std::size_t>(io_check_block_bytes) + pattern_slack) {
    for (std::size_t at = 0; at < bytes_.size(); at += sizeof(std::uint32_t) * 4) {
        const auto bits = philox_block(static_cast<std::uint64_t>(rank), {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at >> 32), 0, 0});
        std::memcpy(bytes_.data() + at, bits.data(), sizeof bits);
    }
}

std::span<const std::byte> IoPattern::block(std::int64_t index, std::size_t size) const {
    if (size > static_cast<std::size_t>(io_check_block_bytes)) throw InternalError("IoPattern::block: too large");
    return std::span(bytes_).subspan(static_cast<std::size_t>(index) * pattern_step % pattern_slack, size);
}

void IoPattern::verify(std::int64_t index, std::span<const std::byte> found, const std::string& path) const {
    const auto expected = block(index, found.size());
    if (found.empty() || std::memcmp(expected.data(), found.data(), found.size()) == 0) return;
    const auto at = std::mismatch(expected.begin(), expected.end(), found.begin()).first - expected.begin();
    throw IoError(path + ": block " + std::to_string(index) + " of rank " + std::to_string(rank_) + " came back different from byte " +
                  std::to_string(at) + " on. Do not keep results in this folder: try the other MPI-IO component (mpirun --mca io ompio or romio321), and report the file system");
}

std::vector<IoMeasurement> check_io(const mpi::Communicator& comm, const IoCheckSettings& settings) {
    if (settings.bytes_per_rank <= 0 || settings.bytes_per_rank % io_check_row_bytes != 0 || settings.rounds < 1) {
        throw InternalError("check_io: bytes_per_rank must be a positive multiple of io_check_row_bytes, rounds at least 1");
    }
    const std::string base = mpi::on_first_rank(comm, [&] {
        // HDF5's own structures come on top; the file systems want some room too.
        check_folder(settings.folder, comm.size() * settings.bytes_per_rank + (std::int64_t{4} << 20));
        return settings.folder + "/pva_iocheck_" + host_name() + "_" + std::to_string(getpid()) + "_" + timestamp_now();
    });
    const int source = (comm.rank() + 1) % comm.size();
    Job job{comm, settings, base, IoPattern(comm.rank()), source, IoPattern(source), blocks_of(settings.bytes_per_rank), {}};
    // Touched once here, so that the first way does not pay for the pages.
    job.buffer.resize(static_cast<std::size_t>(std::min(io_check_block_bytes, settings.bytes_per_rank)));
    std::vector<IoMeasurement> best;
    for (std::int64_t round = 0; round < settings.rounds; ++round) {
        // The ways take turns, so that a busy minute of the machine does not fall on one of them only.
        const std::vector<IoMeasurement> now = {measure_pwrite(job, false), measure_pwrite(job, true), measure_hdf5(job)};
        if (round == 0) best = now;
        for (std::size_t i = 0; i < now.size(); ++i) {
            best[i].write = faster(best[i].write, now[i].write);
            best[i].read = faster(best[i].read, now[i].read);
        }
    }
    return best;
}

}  // namespace pva::io
