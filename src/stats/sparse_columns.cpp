// Gathering columns, and their groups of equal values by sorting integers.
#include "pva/stats/sparse_columns.h"

#include <algorithm>
#include <bit>
#include <string>

#include "pva/core/error.h"

namespace pva::stats {

namespace {

// Order of integers = order of values; 0 and -0 do not occur.
std::uint32_t ordered_bits(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

constexpr std::uint32_t ordered_zero = 0x80000000U;

}  // namespace

SparseColumns sparse_columns(const CsrView& codes, std::uint32_t first, std::uint32_t last, double threshold) {
    if (first > last || last > codes.n_latents) {
        throw InternalError("latents " + std::to_string(first) + " to " + std::to_string(last) + " are no range of " +
                            std::to_string(codes.n_latents) + " latents");
    }
    const auto fires = [&](float value) { return threshold > 0 ? static_cast<double>(value) > threshold : value != 0; };
    const auto for_each_entry = [&](auto&& visit) {
        for (std::uint64_t row = 0; row < codes.n_rows(); ++row) {
            const auto begin = codes.latents.begin() + static_cast<std::ptrdiff_t>(codes.row_offsets[row]);
            const auto row_end = codes.latents.begin() + static_cast<std::ptrdiff_t>(codes.row_offsets[row + 1]);
            for (auto entry = first == 0 ? begin : std::lower_bound(begin, row_end, first);
                 entry != row_end && *entry < last; ++entry) {
                const float value = codes.values[static_cast<std::size_t>(entry - codes.latents.begin())];
                if (fires(value)) visit(static_cast<std::uint32_t>(row), *entry - first, value);
            }
        }
    };
    SparseColumns columns;
    columns.first = first;
    columns.n_rows = codes.n_rows();
    columns.offsets.assign(std::size_t{last - first} + 1, 0);
    for_each_entry([&](std::uint32_t, std::uint32_t column, float) { ++columns.offsets[std::size_t{column} + 1]; });
    for (std::size_t column = 0; column < last - first; ++column)
        columns.offsets[column + 1] += columns.offsets[column];
    columns.rows.resize(columns.offsets.back());
    columns.values.resize(columns.offsets.back());
    std::vector<std::uint64_t> next(columns.offsets.begin(), columns.offsets.end() - 1);
    for_each_entry([&](std::uint32_t row, std::uint32_t column, float value) {
        const std::uint64_t place = next[column]++;
        columns.rows[place] = row;
        columns.values[place] = value;
    });
    return columns;
}

void tie_groups_of_column(std::span<const std::uint32_t> rows, std::span<const float> values,
                          std::span<const std::uint8_t> labels, std::uint64_t n_positives, std::uint64_t n_negatives,
                          std::vector<std::uint64_t>& keys, std::vector<TieGroup>& groups) {
    keys.clear();
    groups.clear();
    TieGroup zeros{n_positives, n_negatives};
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::uint64_t label = labels[rows[i]];
        keys.push_back(std::uint64_t{ordered_bits(values[i])} << 1 | label);
        --(label == 1 ? zeros.positives : zeros.negatives);
    }
    std::sort(keys.begin(), keys.end());
    bool placed = zeros.positives + zeros.negatives == 0;
    for (std::size_t i = 0; i < keys.size();) {
        const std::uint64_t value = keys[i] >> 1;
        if (!placed && value > ordered_zero) {
            groups.push_back(zeros);
            placed = true;
        }
        TieGroup group;
        for (; i < keys.size() && keys[i] >> 1 == value; ++i)
            ++((keys[i] & 1U) != 0 ? group.positives : group.negatives);
        groups.push_back(group);
    }
    if (!placed) groups.push_back(zeros);
}

}  // namespace pva::stats
