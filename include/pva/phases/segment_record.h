// Records of segment files: plain numbers one behind the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "pva/core/error.h"

namespace pva::phases {

/// A growing record.
struct RecordWriter {
    std::vector<std::byte> bytes;

    template <class T>
    void add(std::span<const T> values) {
        const auto raw = std::as_bytes(values);
        bytes.insert(bytes.end(), raw.begin(), raw.end());
    }
    template <class T>
    void add(const std::vector<T>& values) {
        add(std::span<const T>(values));
    }
    void add(std::uint64_t value) { add(std::span<const std::uint64_t>(&value, 1)); }
};

/// Takes from a record what was put into it, in the same order. Errors: InternalError when it is shorter.
struct RecordReader {
    std::span<const std::byte> bytes;
    std::size_t at = 0;

    template <class T>
    std::vector<T> take(std::size_t count) {
        if (count > (bytes.size() - at) / sizeof(T)) throw InternalError("a segment record is shorter than its content says");
        std::vector<T> values(count);
        if (count > 0) std::memcpy(values.data(), bytes.data() + at, count * sizeof(T));
        at += count * sizeof(T);
        return values;
    }
    std::uint64_t number() { return take<std::uint64_t>(1)[0]; }
};

}  // namespace pva::phases
