// Shuffled labels as bits, and sums over the positive rows of 64 permutations at a time.
#include "pva/stats/permutation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "pva/core/error.h"
#include "pva/core/philox.h"

namespace pva::stats {

LabelPermutations::LabelPermutations(std::span<const std::uint8_t> labels, std::span<const std::uint32_t> strata,
                                     std::uint32_t n, std::uint64_t seed, std::uint64_t stream)
    : n_(n), rows_(labels.size()), words_((labels.size() + 63) / 64), bits_(std::size_t{n} * words_, 0) {
    if (!strata.empty() && strata.size() != labels.size()) {
        throw InputError(std::to_string(labels.size()) + " labels but " + std::to_string(strata.size()) +
                         " strata to permute them in; they must describe the same rows");
    }
    std::map<std::uint32_t, std::vector<std::size_t>> rows_of;  // by stratum
    for (std::size_t row = 0; row < labels.size(); ++row) {
        if (labels[row] > 1) {
            throw InputError("label number " + std::to_string(row) + " is " + std::to_string(labels[row]) +
                             ", expected 0 or 1");
        }
        rows_of[strata.empty() ? 0 : strata[row]].push_back(row);
    }
    std::vector<std::uint8_t> shuffled;
    for (std::uint32_t b = 0; b < n; ++b) {
        PhiloxStream random(seed, stream, b);
        for (const auto& [stratum, rows] : rows_of) {
            shuffled.clear();
            for (const std::size_t row : rows)
                shuffled.push_back(labels[row]);
            for (std::size_t i = shuffled.size(); i > 1; --i)
                std::swap(shuffled[i - 1], shuffled[random.below(static_cast<std::uint32_t>(i))]);
            for (std::size_t i = 0; i < rows.size(); ++i)
                bits_[b * words_ + rows[i] / 64] |= std::uint64_t{shuffled[i]} << (rows[i] % 64);
        }
    }
}

std::vector<double> permuted_labels(const LabelPermutations& permutations, std::uint32_t first) {
    std::vector<double> labels(permutations.n_rows() * permutation_chunk, 0.0);
    const std::uint32_t last = std::min(permutations.size(), first + permutation_chunk);
    for (std::uint32_t b = first; b < last; ++b) {
        for (std::size_t row = 0; row < permutations.n_rows(); ++row)
            labels[row * permutation_chunk + (b - first)] = permutations.positive(b, row) ? 1.0 : 0.0;
    }
    return labels;
}

void permuted_sums(std::span<const double> labels, std::span<const std::uint32_t> rows, std::span<const double> weights,
                   std::span<double> sums) {
    double* const out = sums.data();
    std::fill_n(out, permutation_chunk, 0.0);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const double weight = weights[i];
        const double* const label = labels.data() + std::size_t{rows[i]} * permutation_chunk;
        for (std::uint32_t b = 0; b < permutation_chunk; ++b)
            out[b] += weight * label[b];
    }
}

double permutation_p(std::uint64_t exceedances, std::uint64_t permutations) {
    return static_cast<double>(1 + exceedances) / static_cast<double>(1 + permutations);
}

double max_statistic_threshold(std::span<const double> maxima, double level) {
    std::vector<double> sorted(maxima.begin(), maxima.end());
    std::sort(sorted.begin(), sorted.end());
    const double infinity = std::numeric_limits<double>::infinity();
    // From the highest down: equal maxima count together.
    double threshold = sorted.empty() ? infinity : std::nextafter(sorted.back(), infinity);
    if (permutation_p(0, sorted.size()) > level) return infinity;
    for (std::size_t i = sorted.size(); i > 0;) {
        const double value = sorted[i - 1];
        while (i > 0 && sorted[i - 1] == value)
            --i;
        if (permutation_p(sorted.size() - i, sorted.size()) > level) break;
        threshold = value;
    }
    return threshold;
}

std::vector<double> max_statistic_p(std::span<const double> statistics, std::span<const double> maxima) {
    std::vector<double> sorted(maxima.begin(), maxima.end());
    std::sort(sorted.begin(), sorted.end());
    std::vector<double> result;
    result.reserve(statistics.size());
    for (const double statistic : statistics) {
        const auto at_least = sorted.end() - std::lower_bound(sorted.begin(), sorted.end(), statistic);
        result.push_back(permutation_p(static_cast<std::uint64_t>(at_least), sorted.size()));
    }
    return result;
}

}  // namespace pva::stats
