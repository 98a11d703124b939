// Writing and indexing segment files.
#include "pva/io/segments.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "pva/core/checksum.h"
#include "pva/core/error.h"

namespace pva::io {
namespace {

constexpr std::uint64_t magic = 0x3147455341565001ull;  // bytes 01 'P' 'V' 'A' 'S' 'E' 'G' '1'

/// Fixed head of a record, little-endian.
struct Head {
    std::uint64_t magic;
    std::uint64_t unit;
    std::uint64_t size;
    std::uint64_t checksum;       // of the payload
    std::uint64_t head_checksum;  // of the four words before
};
static_assert(sizeof(Head) == 40);

std::uint64_t head_checksum(const Head& head) {
    return checksum(std::span(reinterpret_cast<const std::byte*>(&head), offsetof(Head, head_checksum)));
}

class ReadFile {
  public:
    explicit ReadFile(const std::string& path) : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (descriptor_ < 0) throw IoError(path + ": cannot be opened (" + std::strerror(errno) + ")");
    }
    ~ReadFile() { close(descriptor_); }
    ReadFile(const ReadFile&) = delete;
    ReadFile& operator=(const ReadFile&) = delete;

    std::int64_t size() const {
        struct stat status {};
        if (fstat(descriptor_, &status) != 0) throw IoError(path_ + ": " + std::strerror(errno));
        return status.st_size;
    }
    void read_at(std::int64_t offset, std::span<std::byte> target) const {
        std::size_t got = 0;
        while (got < target.size()) {
            const ssize_t n = pread(descriptor_, target.data() + got, target.size() - got, offset + static_cast<std::int64_t>(got));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) throw IoError(path_ + ": reading at " + std::to_string(offset) + " failed (" + (n < 0 ? std::strerror(errno) : "end of file") + ")");
            got += static_cast<std::size_t>(n);
        }
    }

  private:
    std::string path_;
    int descriptor_;
};

}  // namespace

SegmentWriter::SegmentWriter(const std::string& path) : path_(path) {
    descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw IoError(path + ": cannot be created (" + std::strerror(errno) + "); check the folder's permissions and free space");
}

SegmentWriter::SegmentWriter(SegmentWriter&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

SegmentWriter::~SegmentWriter() {
    if (descriptor_ >= 0) close(descriptor_);
}

std::uint64_t SegmentWriter::append(std::int64_t unit, std::span<const std::byte> payload) {
    Head head{magic, static_cast<std::uint64_t>(unit), payload.size(), checksum(payload), 0};
    head.head_checksum = head_checksum(head);
    std::vector<std::byte> record;
    record.reserve(sizeof head + payload.size());
    const auto head_bytes = std::as_bytes(std::span(&head, 1));
    record.insert(record.end(), head_bytes.begin(), head_bytes.end());
    record.insert(record.end(), payload.begin(), payload.end());
    std::size_t written = 0;
    while (written < record.size()) {
        const ssize_t n = pwrite(descriptor_, record.data() + written, record.size() - written, size_ + static_cast<std::int64_t>(written));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            const std::string reason = n < 0 ? std::strerror(errno) : "nothing was written";
            if (ftruncate(descriptor_, size_) != 0) { /* the torn tail is recognised by its checksum anyway */ }
            throw IoError(path_ + ": writing unit " + std::to_string(unit) + " failed (" + reason +
                          "). Free some space, then run the same command again; finished units are kept");
        }
        written += static_cast<std::size_t>(n);
    }
    size_ += static_cast<std::int64_t>(record.size());
    return head.checksum;
}

void SegmentWriter::sync() {
    if (fdatasync(descriptor_) != 0) throw IoError(path_ + ": fdatasync failed (" + std::strerror(errno) + ")");
}

std::map<std::int64_t, SegmentRecord> read_segment_index(const std::vector<std::string>& paths) {
    std::map<std::int64_t, SegmentRecord> index;
    for (const std::string& path : paths) {
        const ReadFile file(path);
        const std::int64_t size = file.size();
        std::int64_t at = 0;
        while (at + static_cast<std::int64_t>(sizeof(Head)) <= size) {
            Head head{};
            file.read_at(at, std::as_writable_bytes(std::span(&head, 1)));
            if (head.magic != magic || head.head_checksum != head_checksum(head)) break;
            const std::int64_t payload = at + static_cast<std::int64_t>(sizeof head);
            if (head.size > static_cast<std::uint64_t>(size - payload)) break;
            std::vector<std::byte> bytes(head.size);
            file.read_at(payload, bytes);
            if (checksum(bytes) == head.checksum) {
                index.emplace(static_cast<std::int64_t>(head.unit), SegmentRecord{path, payload, static_cast<std::int64_t>(head.size), head.checksum});
            }
            at = payload + static_cast<std::int64_t>(head.size);
        }
    }
    return index;
}

std::vector<std::byte> read_segment(const SegmentRecord& record) {
    const ReadFile file(record.path);
    std::vector<std::byte> bytes(static_cast<std::size_t>(record.size));
    file.read_at(record.offset, bytes);
    if (checksum(bytes) != record.checksum) {
        throw IoError(record.path + ": a record changed since it was written (at byte " + std::to_string(record.offset) + "); delete the file and run the same command again");
    }
    return bytes;
}

std::vector<std::string> segment_paths(const std::string& part_path) {
    std::vector<std::string> paths;
    const std::filesystem::path part(part_path);
    const std::string start = part.filename().string() + ".segment";
    for (const auto& entry : std::filesystem::directory_iterator(part.parent_path())) {
        if (entry.path().filename().string().starts_with(start)) paths.push_back(entry.path().string());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
}

}  // namespace pva::io
