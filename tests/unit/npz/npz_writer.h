// Writes npz files byte by byte, right and wrong ones, for the tests of the reader and of the SAE loader.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace pva::test {

template <typename T>
void append(std::string& bytes, T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

/// An npy file around `header`, the Python dictionary.
inline std::string npy(const std::string& header, const std::vector<float>& values, int version = 1) {
    std::string bytes = "\x93NUMPY";
    bytes += static_cast<char>(version);
    bytes += '\0';
    const std::string text = header + "\n";
    if (version == 1) {
        append(bytes, static_cast<std::uint16_t>(text.size()));
    } else {
        append(bytes, static_cast<std::uint32_t>(text.size()));
    }
    bytes += text;
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    return bytes;
}

inline std::string header(const std::string& shape, const std::string& descr = "<f4", bool fortran_order = false) {
    return "{'descr': '" + descr + "', 'fortran_order': " + (fortran_order ? "True" : "False") + ", 'shape': " + shape +
           ", }";
}

struct ZipMember {
    std::string name;  ///< with ".npy"
    std::string data;
    bool deflated = false;
    bool zip64 = false;       ///< sizes and offset in the ZIP64 extra field
    bool descriptor = false;  ///< sizes and CRC after the data, zeros in the local header
    std::uint16_t flags = 0;
    std::optional<std::uint16_t> method = std::nullopt;
    std::optional<std::uint32_t> crc = std::nullopt;
    std::optional<std::uint64_t> claimed_bytes = std::nullopt;  ///< unpacked size as the headers state it
};

struct ZipOptions {
    bool zip64 = false;  ///< a ZIP64 end record and locator, sentinels in the plain one
    std::string comment = {};
    int extra_count = 0;  ///< added to the count of members
};

inline std::string deflate_raw(const std::string& data) {
    z_stream z{};
    if (deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) throw std::runtime_error("zlib");
    std::string out(deflateBound(&z, data.size()), '\0');
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
    z.avail_in = static_cast<uInt>(data.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    const int status = deflate(&z, Z_FINISH);
    out.resize(out.size() - z.avail_out);
    deflateEnd(&z);
    if (status != Z_STREAM_END) throw std::runtime_error("zlib");
    return out;
}

inline std::string zip(const std::vector<ZipMember>& members, const ZipOptions& options = {}) {
    std::string bytes, directory;
    for (const ZipMember& m : members) {
        const std::string stored = m.deflated ? deflate_raw(m.data) : m.data;
        const std::uint64_t unpacked = m.claimed_bytes.value_or(m.data.size());
        const auto crc = m.crc.value_or(static_cast<std::uint32_t>(
            ::crc32(0, reinterpret_cast<const Bytef*>(m.data.data()), static_cast<uInt>(m.data.size()))));
        const std::uint16_t method = m.method.value_or(m.deflated ? 8 : 0);
        const auto flags = static_cast<std::uint16_t>(m.flags | (m.descriptor ? 8 : 0));
        const std::uint64_t offset = bytes.size();
        std::string local_extra, extra;
        if (m.zip64) {
            append<std::uint16_t>(extra, 0x7777);  // a field to be skipped
            append<std::uint16_t>(extra, 3);
            extra += "abc";
            local_extra = extra;
            append<std::uint16_t>(local_extra, 1);
            append<std::uint16_t>(local_extra, 16);
            append<std::uint64_t>(local_extra, unpacked);
            append<std::uint64_t>(local_extra, stored.size());
            append<std::uint16_t>(extra, 1);
            append<std::uint16_t>(extra, 24);
            append<std::uint64_t>(extra, unpacked);
            append<std::uint64_t>(extra, stored.size());
            append<std::uint64_t>(extra, offset);
        }
        const auto small = [&](std::uint64_t n) { return m.zip64 ? 0xFFFFFFFFu : static_cast<std::uint32_t>(n); };
        append<std::uint32_t>(bytes, 0x04034b50);
        append<std::uint16_t>(bytes, 20);
        append<std::uint16_t>(bytes, flags);
        append<std::uint16_t>(bytes, method);
        append<std::uint32_t>(bytes, 0);
        append<std::uint32_t>(bytes, m.descriptor ? 0 : crc);
        append<std::uint32_t>(bytes, m.descriptor ? 0 : small(stored.size()));
        append<std::uint32_t>(bytes, m.descriptor ? 0 : small(unpacked));
        append(bytes, static_cast<std::uint16_t>(m.name.size()));
        append(bytes, static_cast<std::uint16_t>(local_extra.size()));
        bytes += m.name + local_extra + stored;
        if (m.descriptor) {
            append<std::uint32_t>(bytes, 0x08074b50);
            append<std::uint32_t>(bytes, crc);
            append(bytes, static_cast<std::uint32_t>(stored.size()));
            append(bytes, static_cast<std::uint32_t>(unpacked));
        }
        append<std::uint32_t>(directory, 0x02014b50);
        append<std::uint16_t>(directory, 20);
        append<std::uint16_t>(directory, 20);
        append<std::uint16_t>(directory, flags);
        append<std::uint16_t>(directory, method);
        append<std::uint32_t>(directory, 0);
        append<std::uint32_t>(directory, crc);
        append<std::uint32_t>(directory, small(stored.size()));
        append<std::uint32_t>(directory, small(unpacked));
        append(directory, static_cast<std::uint16_t>(m.name.size()));
        append(directory, static_cast<std::uint16_t>(extra.size()));
        append<std::uint16_t>(directory, 0);
        append<std::uint16_t>(directory, 0);
        append<std::uint16_t>(directory, 0);
        append<std::uint32_t>(directory, 0);
        append<std::uint32_t>(directory, small(offset));
        directory += m.name + extra;
    }
    const std::uint64_t directory_offset = bytes.size();
    bytes += directory;
    const std::uint64_t count = members.size() + options.extra_count;
    if (options.zip64) {
        const std::uint64_t record_offset = bytes.size();
        append<std::uint32_t>(bytes, 0x06064b50);
        append<std::uint64_t>(bytes, 44);
        append<std::uint16_t>(bytes, 45);
        append<std::uint16_t>(bytes, 45);
        append<std::uint64_t>(bytes, 0);
        append<std::uint64_t>(bytes, count);
        append<std::uint64_t>(bytes, count);
        append<std::uint64_t>(bytes, directory.size());
        append<std::uint64_t>(bytes, directory_offset);
        append<std::uint32_t>(bytes, 0x07064b50);
        append<std::uint32_t>(bytes, 0);
        append<std::uint64_t>(bytes, record_offset);
        append<std::uint32_t>(bytes, 1);
    }
    append<std::uint32_t>(bytes, 0x06054b50);
    append<std::uint32_t>(bytes, 0);
    append(bytes, static_cast<std::uint16_t>(options.zip64 ? 0xFFFF : count));
    append(bytes, static_cast<std::uint16_t>(options.zip64 ? 0xFFFF : count));
    append(bytes, static_cast<std::uint32_t>(options.zip64 ? 0xFFFFFFFF : directory.size()));
    append(bytes, static_cast<std::uint32_t>(options.zip64 ? 0xFFFFFFFF : directory_offset));
    append(bytes, static_cast<std::uint16_t>(options.comment.size()));
    return bytes + options.comment;
}

}  // namespace pva::test
