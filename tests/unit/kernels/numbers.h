// Made-up numbers and comparisons of bits for the tests of the kernels.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "pva/kernels/cpu.h"

namespace kernels_test {

/// Numbers between -1 and 1 from a fixed linear congruence, the same on every machine.
inline std::vector<float> numbers(std::size_t count, std::uint32_t seed = 1) {
    std::vector<float> values(count);
    std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
    for (float& value : values) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        value = static_cast<float>(static_cast<double>(state >> 40) / 8388608.0 - 1.0);
    }
    return values;
}

inline std::uint16_t to_bfloat16(float value) {
    return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
}

inline float from_bfloat16(std::uint16_t value) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

/// Numbers whose bits differ; vectors of different lengths differ in all.
inline std::size_t different_bits(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) return std::max(a.size(), b.size());
    std::size_t different = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        different += std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i]) ? 1 : 0;
    return different;
}

/// The result of `compute` with every usable instruction set, the best first.
inline std::vector<std::pair<std::string, std::vector<float>>> with_all_instruction_sets(
    const std::function<std::vector<float>()>& compute) {
    std::vector<std::pair<std::string, std::vector<float>>> results;
    for (const std::string& name : pva::kernels::usable_instruction_sets()) {
        const pva::kernels::ForcedInstructionSet forced(name);
        results.emplace_back(name, compute());
    }
    return results;
}

/// Sum of 32 partial sums in the documented order of norms and softmax.
inline float pairwise(std::vector<float> partial) {
    for (std::size_t distance = 16; distance > 0; distance /= 2) {
        for (std::size_t i = 0; i < distance; ++i)
            partial[i] += partial[i + distance];
    }
    return partial[0];
}

}  // namespace kernels_test
