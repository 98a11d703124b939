// Widening of half-precision numbers by their bits.
#include "pva/io/float_values.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "pva/core/error.h"

namespace pva::io {

namespace {

float from_half(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1FU;
    const std::uint32_t fraction = bits & 0x3FFU;
    if (exponent == 0) {  // zero or subnormal: fraction times 2^-24
        const float value = static_cast<float>(fraction) * 0x1p-24F;
        return sign != 0 ? -value : value;
    }
    const std::uint32_t wide = exponent == 31 ? 0x7F800000U : (exponent + 112U) << 23;
    return std::bit_cast<float>(sign | wide | fraction << 13);
}

std::uint16_t to_half(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000U);
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) return sign | 0x7E00U;   // not a number
    if (magnitude >= 0x47800000U) return sign | 0x7C00U;  // 65536 and more
    std::uint32_t shift = 13;
    std::uint32_t wide = magnitude - (112U << 23);
    if (magnitude < 0x38800000U) {  // below 2^-14: subnormal, in steps of 2^-24
        if (magnitude < 0x33000000U) return sign;  // below half of the smallest
        shift = 126U - (magnitude >> 23);
        wide = (magnitude & 0x7FFFFFU) | 0x800000U;
    }
    const std::uint32_t kept = wide >> shift;
    const std::uint32_t rest = wide & ((1U << shift) - 1U);
    const std::uint32_t middle = 1U << (shift - 1U);
    const std::uint32_t up = rest > middle || (rest == middle && (kept & 1U) != 0) ? 1U : 0U;
    return static_cast<std::uint16_t>(sign | (kept + up));
}

std::uint16_t to_bfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
    return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

template <typename Stored, typename Convert>
void convert(const void* bytes, std::span<float> values, Convert to_float) {
    const auto* from = static_cast<const unsigned char*>(bytes);
    for (float& value : values) {
        Stored stored;
        std::memcpy(&stored, from, sizeof(stored));
        value = to_float(stored);
        from += sizeof(stored);
    }
}

}  // namespace

std::size_t float_dtype_bytes(std::string_view dtype) {
    if (dtype == "F32") return 4;
    if (dtype == "F64") return 8;
    if (dtype == "F16" || dtype == "BF16") return 2;
    return 0;
}

void to_floats(std::string_view dtype, const void* bytes, std::span<float> values) {
    if (values.empty()) return;
    if (dtype == "F32") {
        std::memcpy(values.data(), bytes, values.size_bytes());
    } else if (dtype == "BF16") {
        convert<std::uint16_t>(
            bytes, values, [](std::uint16_t v) { return std::bit_cast<float>(static_cast<std::uint32_t>(v) << 16); });
    } else if (dtype == "F16") {
        convert<std::uint16_t>(bytes, values, from_half);
    } else if (dtype == "F64") {
        convert<double>(bytes, values, [](double v) { return static_cast<float>(v); });
    } else {
        throw InternalError("to_floats: type " + std::string(dtype));
    }
}

void from_floats(std::string_view dtype, std::span<const float> values, std::span<std::byte> bytes) {
    if (dtype != "F32" && dtype != "F16" && dtype != "BF16") throw InternalError("from_floats: type " + std::string(dtype));
    if (bytes.size() != values.size() * float_dtype_bytes(dtype)) throw InternalError("from_floats: " + std::to_string(bytes.size()) + " bytes for " + std::to_string(values.size()) + " numbers");
    if (values.empty()) return;
    if (dtype == "F32") {
        std::memcpy(bytes.data(), values.data(), values.size_bytes());
        return;
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
        const std::uint16_t stored = dtype == "F16" ? to_half(values[i]) : to_bfloat16(values[i]);
        std::memcpy(bytes.data() + 2 * i, &stored, sizeof stored);
    }
}

}  // namespace pva::io
