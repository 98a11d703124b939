// Floating-point numbers of tensor files as float32.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace pva::io {

/// Bytes of an element of F32, F16, BF16 or F64 (the spelling of safetensors); 0 for any other type.
std::size_t float_dtype_bytes(std::string_view dtype);

/// values.size() little-endian numbers of that type at `bytes` (no alignment needed) as float32. Exact but for F64,
/// which is rounded to nearest. Throws InternalError for another type.
void to_floats(std::string_view dtype, const void* bytes, std::span<float> values);

/// The same numbers rounded to the nearest of that type, ties to even, as little-endian bytes. F32, F16 and BF16 only. A value beyond F16's
/// largest number (65504, after rounding) becomes infinite, as IEEE 754 has it. Throws InternalError for another type or
/// a wrong number of bytes.
void from_floats(std::string_view dtype, std::span<const float> values, std::span<std::byte> bytes);

}  // namespace pva::io
