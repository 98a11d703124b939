// Own small ZIP reader (central directory, ZIP64, stored and deflated members) and npy header parser.
// Everything in the file is checked before it is believed: an SAE file comes from a download.
#include "pva/io/npz.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <span>

#include "pva/core/error.h"

namespace pva::io {

namespace {

static_assert(std::endian::native == std::endian::little, "'<f4' values are read as they are");

constexpr std::uint64_t max_directory_bytes = std::uint64_t(16) << 20;
constexpr std::uint64_t max_npy_header_bytes = 10000;  // numpy's own limit (max_header_size)
constexpr std::uint64_t max_deflate_ratio = 1032;      // 258 bytes from 2 bits
constexpr std::size_t chunk_bytes = std::size_t(1) << 20;

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
    throw InputError(path + ": " + what + ". Fetch the file again, or write it with numpy.savez.");
}

/// The archive as bytes at offsets; every read is checked against the size of the file.
class Archive {
  public:
    explicit Archive(const std::string& path) : path_(path) {
        std::error_code code;
        const auto status = std::filesystem::status(path, code);
        if (!std::filesystem::exists(status))
            throw InputError(path + ": no such file. Check the path of the npz file.");
        if (!std::filesystem::is_regular_file(status))
            throw InputError(path + ": not a file. Name the npz file itself.");
        size_ = std::filesystem::file_size(path, code);
        stream_.open(path, std::ios::binary);
        if (code || !stream_) throw IoError(path + ": cannot be opened for reading. Check its permissions.");
    }

    const std::string& path() const { return path_; }
    std::uint64_t size() const { return size_; }

    void read(std::uint64_t offset, std::span<unsigned char> out) {
        check_range(offset, out.size());
        stream_.clear();
        stream_.seekg(static_cast<std::streamoff>(offset));
        stream_.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size()));
        if (!stream_) throw IoError(path_ + ": reading failed at byte " + std::to_string(offset) + ". Try again.");
    }

    std::vector<unsigned char> read(std::uint64_t offset, std::uint64_t n) {
        check_range(offset, n);  // before the allocation
        std::vector<unsigned char> bytes(n);
        read(offset, bytes);
        return bytes;
    }

  private:
    void check_range(std::uint64_t offset, std::uint64_t n) const {
        if (offset <= size_ && n <= size_ - offset) return;
        refuse(path_, std::to_string(n) + " bytes are wanted at byte " + std::to_string(offset) +
                          " but the file has only " + std::to_string(size_) + " bytes: it is cut short or damaged");
    }

    std::string path_;
    std::uint64_t size_ = 0;
    std::ifstream stream_;
};

/// Little-endian unsigned number of type T at `at`; the caller has checked that it lies inside.
template <typename T>
T number(std::span<const unsigned char> bytes, std::size_t at) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    return value;
}

struct Directory {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    std::uint64_t n_entries = 0;
};

constexpr std::size_t end_record_bytes = 22;
constexpr std::size_t locator_bytes = 20;
constexpr std::size_t end_record_64_bytes = 56;

/// Finds the end record (and its ZIP64 form) and from it the central directory.
Directory find_directory(Archive& archive) {
    const std::string& path = archive.path();
    const std::uint64_t tail_bytes = std::min<std::uint64_t>(archive.size(), end_record_bytes + 65535);
    if (tail_bytes < end_record_bytes) refuse(path, "too short for an npz (ZIP) file");
    const auto first = archive.read(0, 4);
    const auto signature = number<std::uint32_t>(first, 0);
    if (signature != 0x04034b50 && signature != 0x06054b50) refuse(path, "not an npz (ZIP) file: wrong first bytes");

    const auto tail = archive.read(archive.size() - tail_bytes, tail_bytes);
    std::optional<std::size_t> found;
    for (std::size_t at = tail.size() - end_record_bytes + 1; at-- > 0;) {
        // The comment must reach exactly to the end of the file: the signature may also occur inside a comment.
        if (number<std::uint32_t>(tail, at) == 0x06054b50 &&
            at + end_record_bytes + number<std::uint16_t>(tail, at + 20) == tail.size()) {
            found = at;
            break;
        }
    }
    if (!found) refuse(path, "no ZIP end record: the file is cut short or is no npz file");
    const std::span<const unsigned char> end = std::span(tail).subspan(*found);
    const std::uint64_t end_offset = archive.size() - tail.size() + *found;
    if (number<std::uint16_t>(end, 4) != 0 || number<std::uint16_t>(end, 6) != 0)
        refuse(path, "a ZIP of several volumes");

    Directory directory{number<std::uint32_t>(end, 16), number<std::uint32_t>(end, 12), number<std::uint16_t>(end, 10)};
    std::uint64_t directory_end = end_offset;
    const bool sentinel =
        directory.offset == 0xFFFFFFFF || directory.bytes == 0xFFFFFFFF || directory.n_entries == 0xFFFF;
    std::vector<unsigned char> locator;
    if (end_offset >= locator_bytes) locator = archive.read(end_offset - locator_bytes, locator_bytes);
    if (!locator.empty() && number<std::uint32_t>(locator, 0) == 0x07064b50) {
        const auto record_offset = number<std::uint64_t>(locator, 8);
        const auto record = archive.read(record_offset, end_record_64_bytes);
        if (number<std::uint32_t>(record, 0) != 0x06064b50)
            refuse(path, "the ZIP64 end record is not where it should be");
        const Directory large{number<std::uint64_t>(record, 48), number<std::uint64_t>(record, 40),
                              number<std::uint64_t>(record, 32)};
        const bool agrees = (directory.offset == 0xFFFFFFFF || directory.offset == large.offset) &&
                            (directory.bytes == 0xFFFFFFFF || directory.bytes == large.bytes) &&
                            (directory.n_entries == 0xFFFF || directory.n_entries == large.n_entries);
        if (!agrees) refuse(path, "the ZIP end record and its ZIP64 form disagree");
        directory = large;
        directory_end = record_offset;
    } else if (sentinel) {
        refuse(path, "the ZIP64 end record is missing");
    }
    if (directory.offset > directory_end || directory.bytes != directory_end - directory.offset) {
        refuse(path, "the ZIP central directory does not end where its end record starts");
    }
    if (directory.bytes > max_directory_bytes) refuse(path, "the ZIP central directory is larger than 16 MiB");
    return directory;
}

/// One member as central directory and local header describe it.
struct Entry {
    NpzMember member;
    std::uint64_t header_offset = 0;
};

/// Replaces 32-bit sentinels by the numbers of the ZIP64 extra field.
void apply_zip64(const std::string& path, const std::string& name, std::span<const unsigned char> extra,
                 std::span<std::uint64_t* const> fields) {
    const bool wanted = std::any_of(fields.begin(), fields.end(), [](auto* f) { return *f == 0xFFFFFFFF; });
    if (!wanted) return;
    for (std::size_t at = 0; at + 4 <= extra.size();) {
        const auto id = number<std::uint16_t>(extra, at);
        const auto bytes = number<std::uint16_t>(extra, at + 2);
        at += 4;
        if (bytes > extra.size() - at) break;
        if (id == 0x0001) {
            std::size_t used = 0;
            for (std::uint64_t* field : fields) {
                if (*field != 0xFFFFFFFF) continue;
                if (used + 8 > bytes) refuse(path, "member '" + name + "': the ZIP64 field is too short");
                *field = number<std::uint64_t>(extra, at + used);
                used += 8;
            }
            return;
        }
        at += bytes;
    }
    refuse(path, "member '" + name + "': the ZIP64 field is missing or damaged");
}

void check_flags_and_method(const std::string& path, const std::string& name, unsigned flags, unsigned method) {
    if (flags & (0x0001 | 0x0040 | 0x2000)) refuse(path, "member '" + name + "' is encrypted");
    if (method != 0 && method != 8) {
        refuse(path, "member '" + name + "' has ZIP compression method " + std::to_string(method) +
                         "; only stored (0) and deflated (8) are read");
    }
}

/// Reads the central directory and checks every entry against its local header.
std::vector<Entry> read_entries(Archive& archive) {
    const std::string& path = archive.path();
    const Directory directory = find_directory(archive);
    const auto bytes = archive.read(directory.offset, directory.bytes);
    const std::span<const unsigned char> view(bytes);
    std::vector<Entry> entries;
    for (std::size_t at = 0; at < view.size();) {
        if (view.size() - at < 46 || number<std::uint32_t>(view, at) != 0x02014b50) {
            refuse(path, "entry " + std::to_string(entries.size()) + " of the ZIP central directory is damaged");
        }
        const auto flags = number<std::uint16_t>(view, at + 8);
        const auto method = number<std::uint16_t>(view, at + 10);
        const std::size_t name_bytes = number<std::uint16_t>(view, at + 28);
        const std::size_t extra_bytes = number<std::uint16_t>(view, at + 30);
        const std::size_t comment_bytes = number<std::uint16_t>(view, at + 32);
        if (name_bytes + extra_bytes + comment_bytes > view.size() - at - 46) {
            refuse(path, "entry " + std::to_string(entries.size()) + " of the ZIP central directory is cut short");
        }
        const std::string name(reinterpret_cast<const char*>(view.data()) + at + 46, name_bytes);
        if (std::any_of(name.begin(), name.end(), [](char c) { return c < 0x20 || c > 0x7e; })) {
            refuse(path, "entry " + std::to_string(entries.size()) + " has a name with unprintable characters");
        }
        check_flags_and_method(path, name, flags, method);
        if (!name.ends_with(".npy") || name.size() == 4) refuse(path, "member '" + name + "' is no .npy array");

        Entry entry;
        NpzMember& member = entry.member;
        member.name = name.substr(0, name.size() - 4);
        member.deflated = method == 8;
        member.crc32 = number<std::uint32_t>(view, at + 16);
        member.stored_bytes = number<std::uint32_t>(view, at + 20);
        member.npy_bytes = number<std::uint32_t>(view, at + 24);
        entry.header_offset = number<std::uint32_t>(view, at + 42);
        std::uint64_t* const fields[] = {&member.npy_bytes, &member.stored_bytes, &entry.header_offset};
        apply_zip64(path, name, view.subspan(at + 46 + name_bytes, extra_bytes), fields);
        at += 46 + name_bytes + extra_bytes + comment_bytes;

        if (std::any_of(entries.begin(), entries.end(), [&](const Entry& e) { return e.member.name == member.name; })) {
            refuse(path, "member '" + name + "' occurs twice");
        }
        const bool plausible = member.deflated ? member.npy_bytes / max_deflate_ratio <= member.stored_bytes
                                               : member.npy_bytes == member.stored_bytes;
        if (!plausible) {
            refuse(path, "member '" + name + "' claims " + std::to_string(member.npy_bytes) + " bytes from " +
                             std::to_string(member.stored_bytes) + " stored ones, which cannot be");
        }

        const auto local = archive.read(entry.header_offset, 30);
        if (number<std::uint32_t>(local, 0) != 0x04034b50) refuse(path, "member '" + name + "' has no local header");
        const std::size_t local_name_bytes = number<std::uint16_t>(local, 26);
        const std::size_t local_extra_bytes = number<std::uint16_t>(local, 28);
        const auto rest = archive.read(entry.header_offset + 30, local_name_bytes + local_extra_bytes);
        const std::string local_name(reinterpret_cast<const char*>(rest.data()), local_name_bytes);
        bool agrees = local_name == name && number<std::uint16_t>(local, 8) == method;
        if ((flags & 0x0008) == 0) {  // otherwise sizes and CRC follow the data, and the directory alone states them
            std::uint64_t stored_bytes = number<std::uint32_t>(local, 18);
            std::uint64_t npy_bytes = number<std::uint32_t>(local, 22);
            std::uint64_t* const local_fields[] = {&npy_bytes, &stored_bytes};
            apply_zip64(path, name, std::span(rest).subspan(local_name_bytes), local_fields);
            agrees = agrees && stored_bytes == member.stored_bytes && npy_bytes == member.npy_bytes &&
                     number<std::uint32_t>(local, 14) == member.crc32;
        }
        if (!agrees) refuse(path, "member '" + name + "': local header and central directory disagree");
        member.data_offset = entry.header_offset + 30 + local_name_bytes + local_extra_bytes;
        if (member.data_offset > directory.offset || member.stored_bytes > directory.offset - member.data_offset) {
            refuse(path, "member '" + name + "' reaches into the ZIP central directory");
        }
        entries.push_back(std::move(entry));
    }
    if (entries.size() != directory.n_entries) {
        refuse(path, "the ZIP end record counts " + std::to_string(directory.n_entries) +
                         " members, the directory has " + std::to_string(entries.size()));
    }

    // Members that share bytes are how a small file claims endless data.
    std::vector<const Entry*> by_offset;
    for (const Entry& entry : entries)
        by_offset.push_back(&entry);
    std::sort(by_offset.begin(), by_offset.end(),
              [](const Entry* a, const Entry* b) { return a->header_offset < b->header_offset; });
    for (std::size_t i = 1; i < by_offset.size(); ++i) {
        const NpzMember& before = by_offset[i - 1]->member;
        if (before.data_offset + before.stored_bytes > by_offset[i]->header_offset) {
            refuse(path, "members '" + before.name + "' and '" + by_offset[i]->member.name + "' overlap");
        }
    }
    return entries;
}

/// Owns zlib's state of one raw deflate stream.
class Inflater {
  public:
    explicit Inflater(const std::string& path) {
        if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw InternalError(path + ": zlib could not be started");
    }
    ~Inflater() { inflateEnd(&stream); }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;

    z_stream stream{};
};

/// Hands the first `limit` bytes of a member's npy file to `sink`, in order, in pieces of at most 1 MiB.
void unpack(Archive& archive, const NpzMember& member, std::uint64_t limit,
            const std::function<void(std::span<const unsigned char>)>& sink) {
    const auto buffer = [](std::uint64_t n) {
        return static_cast<std::size_t>(std::clamp<std::uint64_t>(n, 1, chunk_bytes));
    };
    std::vector<unsigned char> in(buffer(member.deflated ? member.stored_bytes : limit));
    std::uint64_t n_read = 0;
    std::uint64_t n_done = 0;
    const auto next_input = [&] {
        const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(in.size(), member.stored_bytes - n_read));
        archive.read(member.data_offset + n_read, std::span(in).first(n));
        n_read += n;
        return n;
    };
    if (!member.deflated) {
        while (n_done < limit) {
            const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(next_input(), limit - n_done));
            sink(std::span(in).first(n));
            n_done += n;
        }
        return;
    }
    Inflater inflater(archive.path());
    z_stream& z = inflater.stream;
    std::vector<unsigned char> out(buffer(limit));
    int status = Z_OK;
    const bool whole = limit == member.npy_bytes;
    while (status != Z_STREAM_END && (whole || n_done < limit)) {
        if (z.avail_in == 0 && n_read < member.stored_bytes) {
            z.avail_in = static_cast<uInt>(next_input());
            z.next_in = in.data();
        }
        z.next_out = out.data();
        z.avail_out = static_cast<uInt>(out.size());
        status = inflate(&z, Z_NO_FLUSH);
        const std::uint64_t produced = out.size() - z.avail_out;
        if (status != Z_OK && status != Z_STREAM_END) {
            refuse(archive.path(), "member '" + member.name + "': the deflated data is damaged or cut short");
        }
        if (produced > member.npy_bytes - n_done) {
            refuse(archive.path(), "member '" + member.name + "' unpacks to more than the " +
                                       std::to_string(member.npy_bytes) + " bytes it claims");
        }
        const auto n = static_cast<std::size_t>(std::min(produced, limit - n_done));
        sink(std::span(out).first(n));
        n_done += n;
    }
    if (n_done < limit) {
        refuse(archive.path(), "member '" + member.name + "' unpacks to " + std::to_string(n_done) +
                                   " bytes, fewer than the " + std::to_string(member.npy_bytes) + " it claims");
    }
    if (whole && (z.avail_in != 0 || n_read != member.stored_bytes)) {
        refuse(archive.path(), "member '" + member.name + "' has bytes after the end of its deflated data");
    }
}

/// What the Python dictionary of an npy header says.
struct NpyHeader {
    std::optional<std::string> descr;
    std::optional<bool> fortran_order;
    std::optional<std::vector<std::uint64_t>> shape;
};

/// Strict parser of the literal that numpy writes: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class HeaderParser {
  public:
    HeaderParser(std::string_view text, std::string where) : text_(text), where_(std::move(where)) {}

    NpyHeader parse() {
        NpyHeader header;
        expect('{');
        while (!take('}')) {
            const std::string key = quoted();
            expect(':');
            if (key == "descr" && !header.descr) {
                if (peek() == '[') fail("a structured dtype; only '<f4' is read");
                header.descr = quoted();
            } else if (key == "fortran_order" && !header.fortran_order) {
                header.fortran_order = boolean();
            } else if (key == "shape" && !header.shape) {
                header.shape = tuple();
            } else {
                fail("key '" + key + "' is unknown or repeated");
            }
            if (!take(',') && peek() != '}') fail("a comma is missing");
        }
        if (peek() != '\0') fail("text after the dictionary");
        if (!header.descr || !header.fortran_order || !header.shape) fail("descr, fortran_order or shape is missing");
        return header;
    }

  private:
    [[noreturn]] void fail(const std::string& what) const { throw InputError(where_ + what); }

    /// The next character that is not blank; '\0' at the end.
    char peek() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n'))
            ++at_;
        return at_ < text_.size() ? text_[at_] : '\0';
    }
    bool take(char c) {
        if (peek() != c || at_ >= text_.size()) return false;
        ++at_;
        return true;
    }
    void expect(char c) {
        if (!take(c)) fail(std::string("'") + c + "' expected at byte " + std::to_string(at_));
    }
    std::string quoted() {
        const char quote = peek();
        if (quote != '\'' && quote != '"') fail("a string expected at byte " + std::to_string(at_));
        const std::size_t end = text_.find(quote, at_ + 1);
        if (end == std::string_view::npos) fail("a string does not end");
        std::string value(text_.substr(at_ + 1, end - at_ - 1));
        at_ = end + 1;
        return value;
    }
    bool boolean() {
        peek();
        for (const bool value : {true, false}) {
            const std::string_view word = value ? "True" : "False";
            if (text_.substr(at_, word.size()) == word) {
                at_ += word.size();
                return value;
            }
        }
        fail("fortran_order is neither True nor False");
    }
    std::vector<std::uint64_t> tuple() {
        std::vector<std::uint64_t> values;
        expect('(');
        while (!take(')')) {
            peek();
            std::uint64_t value = 0;
            const char* const first = text_.data() + at_;
            const auto [end, code] = std::from_chars(first, text_.data() + text_.size(), value);
            if (code != std::errc()) fail("the shape is no tuple of sizes");
            at_ += static_cast<std::size_t>(end - first);
            values.push_back(value);
            if (values.size() > 32) fail("the shape has more than 32 dimensions");
            if (!take(',') && peek() != ')') fail("the shape is no tuple of sizes");
        }
        return values;
    }

    std::string_view text_;
    std::string where_;
    std::size_t at_ = 0;
};

/// Fills the npy part of `member` and checks that header, shape and size agree.
void read_npy_header(Archive& archive, NpzMember& member) {
    const std::string who = "member '" + member.name + "'";
    std::vector<unsigned char> bytes;
    unpack(archive, member, std::min(member.npy_bytes, 12 + max_npy_header_bytes),
           [&](std::span<const unsigned char> piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
    if (bytes.size() < 10 || std::memcmp(bytes.data(), "\x93NUMPY", 6) != 0) {
        refuse(archive.path(), who + " is no npy array: wrong first bytes");
    }
    const unsigned major = bytes[6], minor = bytes[7];
    if ((major != 1 && major != 2) || minor != 0) {
        refuse(archive.path(), who + " has npy version " + std::to_string(major) + "." + std::to_string(minor) +
                                   "; versions 1.0 and 2.0 are read");
    }
    const std::size_t prefix = major == 1 ? 10 : 12;
    if (bytes.size() < prefix) refuse(archive.path(), who + ": the npy header is cut short");
    const std::uint64_t text_bytes = major == 1 ? number<std::uint16_t>(bytes, 8) : number<std::uint32_t>(bytes, 8);
    if (text_bytes > max_npy_header_bytes || text_bytes > bytes.size() - prefix) {
        refuse(archive.path(), who + ": the npy header is cut short or longer than 10000 bytes");
    }
    member.header_bytes = prefix + text_bytes;
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + prefix, text_bytes);
    const NpyHeader header = HeaderParser(text, archive.path() + ": " + who + ": bad npy header: ").parse();
    if (*header.descr != "<f4") {
        throw InputError(archive.path() + ": " + who + " has dtype '" + *header.descr +
                         "'; only '<f4' (little-endian float32) is read. Convert it with array.astype('<f4').");
    }
    member.fortran_order = *header.fortran_order;
    member.shape = *header.shape;
    member.n_values = 1;
    bool overflow = false;
    for (const std::uint64_t size : member.shape) {
        overflow = overflow || __builtin_mul_overflow(member.n_values, size, &member.n_values);
    }
    std::uint64_t data_bytes = 0;
    std::uint64_t all_bytes = 0;
    overflow = overflow || __builtin_mul_overflow(member.n_values, sizeof(float), &data_bytes) ||
               __builtin_add_overflow(data_bytes, member.header_bytes, &all_bytes);
    if (overflow || all_bytes != member.npy_bytes) {
        refuse(archive.path(),
               who + ": its shape does not fit its size of " + std::to_string(member.npy_bytes) + " bytes");
    }
}

/// Values of `shape` from column-major to row-major order.
std::vector<float> to_row_major(const std::vector<float>& stored, const std::vector<std::uint64_t>& shape) {
    std::vector<std::uint64_t> stride(shape.size(), 1);
    for (std::size_t d = 1; d < shape.size(); ++d)
        stride[d] = stride[d - 1] * shape[d - 1];
    std::vector<std::uint64_t> index(shape.size(), 0);
    std::vector<float> values(stored.size());
    std::uint64_t from = 0;
    for (float& value : values) {
        value = stored[from];
        for (std::size_t d = shape.size(); d-- > 0;) {
            from += stride[d];
            if (++index[d] < shape[d]) break;
            from -= stride[d] * shape[d];
            index[d] = 0;
        }
    }
    return values;
}

}  // namespace

NpzFile::NpzFile(const std::string& path) : path_(path) {
    Archive archive(path);
    for (Entry& entry : read_entries(archive)) {
        read_npy_header(archive, entry.member);
        members_.push_back(std::move(entry.member));
    }
}

const NpzMember* NpzFile::find(std::string_view name) const {
    const auto found = std::find_if(members_.begin(), members_.end(), [&](const auto& m) { return m.name == name; });
    return found == members_.end() ? nullptr : &*found;
}

std::vector<float> NpzFile::read(const NpzMember& member) const {
    Archive archive(path_);
    std::vector<float> values(member.n_values);
    auto* const target = reinterpret_cast<unsigned char*>(values.data());
    std::uint64_t at = 0;
    uLong crc = ::crc32(0, nullptr, 0);
    unpack(archive, member, member.npy_bytes, [&](std::span<const unsigned char> piece) {
        crc = ::crc32(crc, piece.data(), static_cast<uInt>(piece.size()));
        const auto skip = static_cast<std::size_t>(
            at < member.header_bytes ? std::min<std::uint64_t>(member.header_bytes - at, piece.size()) : 0);
        if (piece.size() > skip) {
            std::memcpy(target + (at + skip - member.header_bytes), piece.data() + skip, piece.size() - skip);
        }
        at += piece.size();
    });
    if (crc != member.crc32) refuse(path_, "member '" + member.name + "' is damaged: its CRC-32 does not match");
    if (member.fortran_order && member.shape.size() > 1) return to_row_major(values, member.shape);
    return values;
}

}  // namespace pva::io
