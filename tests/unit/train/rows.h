// Made-up rows.
#pragma once

#include <cmath>
#include <numbers>
#include <vector>

#include "pva/core/philox.h"

namespace pva::test {

inline std::vector<float> normal_numbers(std::uint64_t seed, std::size_t n, double size) {
    PhiloxStream random(seed, 99, 0);
    std::vector<float> numbers;
    while (numbers.size() < n) {
        const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
        numbers.push_back(static_cast<float>(size * radius * std::cos(2 * std::numbers::pi * random.uniform())));
    }
    return numbers;
}

}  // namespace pva::test
