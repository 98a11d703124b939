// Safetensors and npz, written.
#include "pva/io/array_files.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "pva/core/error.h"
#include "pva/io/whole_file.h"

namespace pva::io {

static_assert(std::endian::native == std::endian::little, "both formats are little-endian");

namespace {

std::span<const std::byte> bytes_of(const NamedArray& array) {
    return std::visit([](const auto& values) { return std::as_bytes(values); }, array.values);
}

void check(std::span<const NamedArray> arrays) {
    std::set<std::string> names;
    for (const NamedArray& array : arrays) {
        std::size_t n = 1;
        for (const std::int64_t extent : array.shape) n *= static_cast<std::size_t>(extent);
        const std::size_t held = std::visit([](const auto& values) { return values.size(); }, array.values);
        if (n != held) throw InternalError("array " + array.name + ": its shape asks for " + std::to_string(n) + " values, it has " + std::to_string(held));
        if (!names.insert(array.name).second) throw InternalError("array " + array.name + " is there twice");
    }
}

template <typename T>
void append(std::string& bytes, T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

std::uint32_t crc_of(std::string_view head, const StreamedArray& array) {
    uLong crc = ::crc32_z(0, reinterpret_cast<const Bytef*>(head.data()), head.size());
    std::uint64_t bytes = 0;
    array.produce([&](std::span<const std::byte> data) {
        crc = ::crc32_z(crc, reinterpret_cast<const Bytef*>(data.data()), data.size());
        bytes += data.size();
    });
    if (bytes != array.bytes) throw InternalError("npz: array " + array.name + " has " + std::to_string(bytes) + " bytes instead of " + std::to_string(array.bytes));
    return static_cast<std::uint32_t>(crc);
}

/// Magic, version 1.0 and the dictionary, padded so that the data begins at a multiple of 64 bytes of the member.
std::string npy_head(const StreamedArray& array) {
    std::string shape;
    for (const std::int64_t extent : array.shape) shape += std::to_string(extent) + (array.shape.size() == 1 ? "," : ", ");
    if (array.shape.size() > 1) shape.resize(shape.size() - 2);
    std::string dictionary = "{'descr': '" + array.descr + "', 'fortran_order': False, 'shape': (" + shape + "), }";
    dictionary += std::string(63 - (10 + dictionary.size()) % 64, ' ') + "\n";
    std::string head = "\x93NUMPY\x01";
    head += '\0';
    append(head, static_cast<std::uint16_t>(dictionary.size()));
    return head + dictionary;
}

}  // namespace

void write_safetensors(const std::string& path, std::span<const NamedArray> arrays, const std::map<std::string, std::string>& metadata) {
    check(arrays);
    std::vector<StreamedTensor> tensors;
    for (const NamedArray& array : arrays) {
        const auto data = bytes_of(array);
        const bool is_float = std::holds_alternative<std::span<const float>>(array.values);
        tensors.push_back({array.name, is_float ? "F32" : "I64", array.shape, data.size(), [data](const auto& take) { take(data); }});
    }
    write_safetensors(path, tensors, metadata);
}

void write_safetensors(const std::string& path, std::span<const StreamedTensor> tensors, const std::map<std::string, std::string>& metadata) {
    nlohmann::ordered_json header;
    if (!metadata.empty()) header["__metadata__"] = metadata;
    std::uint64_t offset = 0;
    for (const StreamedTensor& tensor : tensors) {
        if (header.contains(tensor.name)) throw InternalError("tensor " + tensor.name + " is there twice");
        header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + tensor.bytes}}};
        offset += tensor.bytes;
    }
    std::string json = header.dump();
    json.resize((json.size() + 7) / 8 * 8, ' ');  // data aligned, as the library itself does
    std::string head;
    append(head, static_cast<std::uint64_t>(json.size()));
    WholeFile file(path);
    file.write(head + json);
    for (const StreamedTensor& tensor : tensors) {
        std::uint64_t written = 0;
        tensor.produce([&](std::span<const std::byte> bytes) {
            file.write(bytes);
            written += bytes.size();
        });
        if (written != tensor.bytes) throw InternalError("tensor " + tensor.name + " has " + std::to_string(written) + " bytes, " + std::to_string(tensor.bytes) + " were announced");
    }
    file.finish();
}

void write_npz(const std::string& path, std::span<const NamedArray> arrays) {
    check(arrays);
    std::vector<StreamedArray> streamed;
    for (const NamedArray& array : arrays) {
        if (!std::holds_alternative<std::span<const float>>(array.values)) throw InternalError("npz: array " + array.name + " holds no floats");
        const auto data = bytes_of(array);
        streamed.push_back({array.name, "<f4", array.shape, data.size(), [data](const auto& take) { take(data); }});
    }
    write_npz(path, streamed);
}

void write_npz(const std::string& path, std::span<const StreamedArray> arrays) {
    std::set<std::string> names;
    for (const StreamedArray& array : arrays) {
        if (!names.insert(array.name).second) throw InternalError("array " + array.name + " is there twice");
    }
    constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    constexpr std::uint16_t date = 0x0021;  // 1 January 1980, the first that ZIP has
    WholeFile file(path);
    std::string directory;
    std::uint64_t offset = 0;
    for (const StreamedArray& array : arrays) {
        const std::string head = npy_head(array);
        const std::uint64_t size = head.size() + array.bytes;
        const std::uint32_t crc = crc_of(head, array);
        const std::string name = array.name + ".npy";
        const bool big = size >= most || offset >= most;
        const std::uint16_t version = big ? 45 : 20;
        const auto small = [&](std::uint64_t n) { return big ? static_cast<std::uint32_t>(most) : static_cast<std::uint32_t>(n); };
        std::string local_extra;
        std::string extra;
        if (big) {
            append<std::uint16_t>(local_extra, 1);
            append<std::uint16_t>(local_extra, 16);
            append(local_extra, size);
            append(local_extra, size);
            append<std::uint16_t>(extra, 1);
            append<std::uint16_t>(extra, 24);
            append(extra, size);
            append(extra, size);
            append(extra, offset);
        }
        const auto common = [&](std::string& record, std::uint16_t extra_size) {
            append<std::uint16_t>(record, version);
            append<std::uint16_t>(record, 0);  // no flags
            append<std::uint16_t>(record, 0);  // stored
            append<std::uint16_t>(record, 0);
            append(record, date);
            append(record, crc);
            append(record, small(size));
            append(record, small(size));
            append(record, static_cast<std::uint16_t>(name.size()));
            append(record, extra_size);
        };
        std::string local;
        append<std::uint32_t>(local, 0x04034b50);
        common(local, static_cast<std::uint16_t>(local_extra.size()));
        local += name + local_extra;
        append<std::uint32_t>(directory, 0x02014b50);
        append(directory, version);
        common(directory, static_cast<std::uint16_t>(extra.size()));
        append<std::uint16_t>(directory, 0);  // no comment
        append<std::uint16_t>(directory, 0);  // first disk
        append<std::uint16_t>(directory, 0);
        append<std::uint32_t>(directory, 0);
        append(directory, small(offset));
        directory += name + extra;
        file.write(local);
        file.write(head);
        std::uint64_t written = 0;
        array.produce([&](std::span<const std::byte> data) {
            written += data.size();
            file.write(data);
        });
        if (written != array.bytes) throw InternalError("npz: array " + array.name + " changed while it was written");
        offset += local.size() + size;
    }
    std::string end;
    const bool big = offset >= most;
    if (big) {
        append<std::uint32_t>(end, 0x06064b50);
        append<std::uint64_t>(end, 44);
        append<std::uint16_t>(end, 45);
        append<std::uint16_t>(end, 45);
        append<std::uint32_t>(end, 0);
        append<std::uint32_t>(end, 0);
        append<std::uint64_t>(end, arrays.size());
        append<std::uint64_t>(end, arrays.size());
        append<std::uint64_t>(end, directory.size());
        append(end, offset);
        append<std::uint32_t>(end, 0x07064b50);
        append<std::uint32_t>(end, 0);
        append<std::uint64_t>(end, offset + directory.size());
        append<std::uint32_t>(end, 1);
    }
    append<std::uint32_t>(end, 0x06054b50);
    append<std::uint32_t>(end, 0);
    append(end, static_cast<std::uint16_t>(arrays.size()));
    append(end, static_cast<std::uint16_t>(arrays.size()));
    append(end, static_cast<std::uint32_t>(directory.size()));
    append(end, big ? static_cast<std::uint32_t>(most) : static_cast<std::uint32_t>(offset));
    append<std::uint16_t>(end, 0);
    file.write(directory + end);
    file.finish();
}

}  // namespace pva::io
