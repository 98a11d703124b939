// Reading and checking one memory-mapped safetensors file.
#include "pva/io/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "pva/core/error.h"

namespace pva::io {

namespace {

// The limit of the reference implementation: no real header comes near it, and it keeps a hostile length from costing
// memory.
constexpr std::uint64_t max_header_bytes = 100'000'000;

struct DtypeSize {
    std::string_view name;
    std::size_t bytes;
};
constexpr std::array<DtypeSize, 16> dtype_sizes{{{"BOOL", 1},
                                                 {"U8", 1},
                                                 {"I8", 1},
                                                 {"F8_E4M3", 1},
                                                 {"F8_E5M2", 1},
                                                 {"F8_E8M0", 1},
                                                 {"U16", 2},
                                                 {"I16", 2},
                                                 {"F16", 2},
                                                 {"BF16", 2},
                                                 {"U32", 4},
                                                 {"I32", 4},
                                                 {"F32", 4},
                                                 {"U64", 8},
                                                 {"I64", 8},
                                                 {"F64", 8}}};

std::optional<std::size_t> size_of_dtype(std::string_view name) {
    for (const DtypeSize& known : dtype_sizes) {
        if (known.name == name) return known.bytes;
    }
    return std::nullopt;
}

[[noreturn]] void refuse(const std::string& path, const std::string& reason) {
    throw InputError("safetensors file " + path + ": " + reason +
                     ". The file is damaged or was cut short; fetch or write it again.");
}

// JSON that refuses a repeated key: which of two tensors of one name is meant cannot be known.
nlohmann::json parse_without_duplicates(const std::string& path, std::string_view text) {
    using Json = nlohmann::json;
    std::vector<std::set<std::string>> open_objects;
    const auto callback = [&](int, Json::parse_event_t event, Json& parsed) {
        if (event == Json::parse_event_t::object_start) {
            open_objects.emplace_back();
        } else if (event == Json::parse_event_t::object_end) {
            open_objects.pop_back();
        } else if (event == Json::parse_event_t::key) {
            const auto& key = parsed.get_ref<const std::string&>();
            if (!open_objects.back().insert(key).second) refuse(path, "its header has the key '" + key + "' twice");
        }
        return true;
    };
    try {
        return Json::parse(text.begin(), text.end(), callback);
    } catch (const Json::exception& error) {
        refuse(path, std::string("its header is not valid JSON (") + error.what() + ")");
    }
}

std::size_t unsigned_number(const std::string& path, const std::string& tensor, const char* field,
                            const nlohmann::json& value) {
    if (!value.is_number_unsigned())
        refuse(path, "tensor '" + tensor + "': " + field + " must hold integers from 0 up");
    return value.get<std::size_t>();
}

TensorEntry read_entry(const std::string& path, const std::string& name, const nlohmann::json& object,
                       std::size_t data_begin, std::size_t data_bytes) {
    const std::string what = "tensor '" + name + "': ";
    if (!object.is_object() || object.size() != 3 || !object.contains("dtype") || !object.contains("shape") ||
        !object.contains("data_offsets")) {
        refuse(path, what + "an object with dtype, shape and data_offsets is expected");
    }
    const auto& dtype = object["dtype"];
    const auto& shape = object["shape"];
    const auto& offsets = object["data_offsets"];
    if (!dtype.is_string()) refuse(path, what + "dtype must be a string");
    if (!shape.is_array()) refuse(path, what + "shape must be a list");
    if (!offsets.is_array() || offsets.size() != 2) refuse(path, what + "data_offsets must be a list of two numbers");

    TensorEntry entry;
    entry.dtype = dtype.get<std::string>();
    const auto element_bytes = size_of_dtype(entry.dtype);
    if (!element_bytes) refuse(path, what + "unknown dtype '" + entry.dtype + "'");
    constexpr auto largest = static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max());
    std::size_t total = *element_bytes;
    std::size_t total_without_zeros = *element_bytes;  // so that [2^62, 2^62, 0] is no way around the overflow check
    for (const auto& dimension : shape) {
        const std::size_t extent = unsigned_number(path, name, "shape", dimension);
        if (extent > largest) refuse(path, what + "a dimension is too large");
        entry.shape.push_back(static_cast<std::int64_t>(extent));
        if (extent != 0) {
            if (total_without_zeros > largest / extent) refuse(path, what + "its size overflows 64 bits");
            total_without_zeros *= extent;
        }
        total *= extent;
    }
    const std::size_t begin = unsigned_number(path, name, "data_offsets", offsets[0]);
    const std::size_t end = unsigned_number(path, name, "data_offsets", offsets[1]);
    if (begin > end || end > data_bytes) {
        refuse(path, what + "data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) +
                         "] lie outside the " + std::to_string(data_bytes) + " bytes of data");
    }
    if (end - begin != total) {
        refuse(path, what + "dtype and shape need " + std::to_string(total) + " bytes, data_offsets span " +
                         std::to_string(end - begin));
    }
    entry.offset = data_begin + begin;
    entry.bytes = total;
    return entry;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        throw InputError("safetensors file " + path + " cannot be opened: " + std::strerror(errno) +
                         ". Check the path.");
    struct stat status {};
    if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
        ::close(descriptor);
        throw InputError("safetensors file " + path + ": not a regular file. Name the file itself, not its folder.");
    }
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ < 8) {
        ::close(descriptor);
        refuse(path, "it has " + std::to_string(size_) + " bytes, too few for a header");
    }
    void* mapping = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const int map_error = errno;
    ::close(descriptor);
    if (mapping == MAP_FAILED)
        throw IoError("safetensors file " + path + " cannot be mapped into memory: " + std::strerror(map_error));
    mapping_ = static_cast<const std::byte*>(mapping);

    try {
        std::uint64_t header_bytes = 0;
        for (int i = 7; i >= 0; --i)
            header_bytes = header_bytes << 8 | std::to_integer<std::uint64_t>(mapping_[i]);
        if (header_bytes > max_header_bytes || header_bytes > size_ - 8) {
            refuse(path, "its first 8 bytes give a header of " + std::to_string(header_bytes) +
                             " bytes, but the file has " + std::to_string(size_) + " (a header may have at most " +
                             std::to_string(max_header_bytes) + ")");
        }
        const auto* text = reinterpret_cast<const char*>(mapping_ + 8);
        read_header(std::string_view(text, static_cast<std::size_t>(header_bytes)));
    } catch (...) {
        ::munmap(mapping, size_);
        mapping_ = nullptr;
        throw;
    }
}

void SafetensorsFile::read_header(std::string_view json) {
    if (!json.starts_with('{')) refuse(path_, "its header does not begin with '{', so it is no safetensors file");
    const nlohmann::json header = parse_without_duplicates(path_, json);
    if (!header.is_object()) refuse(path_, "its header is not a JSON object");
    const std::size_t data_begin = 8 + json.size();
    const std::size_t data_bytes = size_ - data_begin;
    for (const auto& [name, object] : header.items()) {
        if (name == "__metadata__") {
            if (!object.is_object()) refuse(path_, "__metadata__ is not an object");
            for (const auto& [key, value] : object.items()) {
                if (!value.is_string()) refuse(path_, "__metadata__ '" + key + "' is not a string");
                metadata_[key] = value.get<std::string>();
            }
            continue;
        }
        entries_.emplace(name, read_entry(path_, name, object, data_begin, data_bytes));
    }

    std::vector<std::pair<const TensorEntry*, const std::string*>> in_file_order;
    for (const auto& [name, entry] : entries_)
        in_file_order.emplace_back(&entry, &name);
    std::sort(in_file_order.begin(), in_file_order.end(), [](const auto& a, const auto& b) {
        return std::pair(a.first->offset, a.first->bytes) < std::pair(b.first->offset, b.first->bytes);
    });
    std::size_t expected = data_begin;
    for (const auto& [entry, name] : in_file_order) {
        if (entry->offset != expected) {
            refuse(path_, "tensor '" + *name + "' begins at byte " + std::to_string(entry->offset) + " of the file, " +
                              std::to_string(expected) + " was expected: tensors overlap or leave a hole");
        }
        expected += entry->bytes;
    }
    if (expected != size_) {
        refuse(path_, "its tensors end at byte " + std::to_string(expected) + ", but the file has " +
                          std::to_string(size_) + " bytes");
    }
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& other) noexcept
    : path_(std::move(other.path_)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      entries_(std::move(other.entries_)),
      metadata_(std::move(other.metadata_)) {}

SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(mapping_, other.mapping_);
    std::swap(size_, other.size_);
    std::swap(entries_, other.entries_);
    std::swap(metadata_, other.metadata_);
    return *this;
}

SafetensorsFile::~SafetensorsFile() {
    if (mapping_ != nullptr) ::munmap(const_cast<std::byte*>(mapping_), size_);
}

std::vector<std::string> SafetensorsFile::names() const {
    std::vector<std::string> all;
    all.reserve(entries_.size());
    for (const auto& [name, entry] : entries_)
        all.push_back(name);
    return all;
}

bool SafetensorsFile::contains(std::string_view name) const {
    return entries_.find(name) != entries_.end();
}

const TensorEntry& SafetensorsFile::entry(std::string_view name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
        throw InputError("safetensors file " + path_ + " has no tensor '" + std::string(name) +
                         "'; it is of another model or incomplete.");
    }
    return found->second;
}

std::span<const std::byte> SafetensorsFile::bytes(std::string_view name) const {
    const TensorEntry& tensor = entry(name);
    return {mapping_ + tensor.offset, tensor.bytes};
}

}  // namespace pva::io
