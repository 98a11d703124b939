// Every score is a function of sums over the rows that are labelled right, of the ranks, ones, values or squares of the
// entries of a column; so a permutation costs a multiplication and an addition an entry.
#include "pva/analysis/latent_permutation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

#include "pva/core/error.h"

namespace pva::analysis {

namespace {

constexpr std::uint32_t chunk = stats::permutation_chunk;

// What the score of a column needs besides the sums over right rows.
struct ColumnForm {
    std::vector<double> weights;  // of each entry
    std::vector<double> squares;  // of welch_t: second weight
    double constant = 0;
    double total = 0;          // sum of the values, or number of entries
    double total_squares = 0;  // of deviations from the mean
};

// order: places of the entries by ascending value.
ColumnForm form_of(Score score, std::span<const std::uint32_t> rows, std::span<const float> values, double n1, double n0,
                   const std::vector<std::size_t>& order) {
    ColumnForm form;
    const double n = n1 + n0;
    if (score == Score::auroc) {
        // Twice the midrank of each entry less that of the zeros; U's distance from its mean is then a difference of whole
        // numbers.
        form.weights.resize(rows.size());
        const double zeros = n - static_cast<double>(rows.size());
        double negative = 0;
        for (const float value : values)
            negative += value < 0;
        const double rank_of_zero = 2 * negative + zeros + 1;
        double below = 0;
        std::size_t at = 0;
        bool zeros_passed = zeros == 0;
        while (at < order.size()) {
            const float value = values[order[at]];
            if (!zeros_passed && value > 0) {
                below += zeros;
                zeros_passed = true;
            }
            std::size_t end = at;
            while (end < order.size() && values[order[end]] == value)
                ++end;
            const double size = static_cast<double>(end - at);
            const double rank = 2 * below + size + 1;
            for (; at < end; ++at)
                form.weights[order[at]] = rank - rank_of_zero;
            below += size;
        }
        form.constant = n1 * n0 + n1 * (n1 + 1) - n1 * rank_of_zero;
        return form;
    }
    for (const float value : values) {
        form.weights.push_back(score == Score::frequency_difference ? 1.0 : value);
        form.total += form.weights.back();
        if (score == Score::welch_t) form.squares.push_back(static_cast<double>(value) * value);
    }
    const double mean = form.total / n;
    for (const double weight : form.weights)
        form.total_squares += (weight - mean) * (weight - mean);
    form.total_squares += (n - static_cast<double>(values.size())) * (mean * mean);
    if (score == Score::welch_t) {
        form.constant = 0;
        for (const double square : form.squares)
            form.constant += square;
    }
    return form;
}

// |score| from the sums over right rows.
double score_of(Score score, const ColumnForm& form, double sum, double squares, double n1, double n0) {
    const double infinity = std::numeric_limits<double>::infinity();
    switch (score) {
        case Score::auroc:
            return std::fabs(sum - form.constant) / (2 * n1 * n0);
        case Score::frequency_difference:
            return std::fabs(sum / n1 - (form.total - sum) / n0);
        case Score::cohens_d:
        case Score::notebook_d: {
            const double difference = sum / n1 - (form.total - sum) / n0;
            const double between = difference * difference * (n1 * n0 / (n1 + n0));
            const double within = form.total_squares - between;
            // What rounding leaves of no variance is none.
            if (within <= 1e-12 * form.total_squares) return difference == 0 || form.total_squares == 0 ? 0 : infinity;
            return std::fabs(difference) / std::sqrt(within / (n1 + n0 - 2));
        }
        case Score::welch_t: {
            const double other = form.total - sum;
            const double mean1 = sum / n1;
            const double mean0 = other / n0;
            const double ss1 = std::max(0.0, squares - sum * mean1);
            const double ss0 = std::max(0.0, form.constant - squares - other * mean0);
            if (ss1 + ss0 <= 1e-12 * form.constant) return mean1 == mean0 ? 0 : infinity;
            return std::fabs(mean1 - mean0) / std::sqrt(ss1 / (n1 - 1) / n1 + ss0 / (n0 - 1) / n0);
        }
    }
    return 0;
}

}  // namespace

PermutedColumns permute_columns(const stats::SparseColumns& columns, std::span<const std::uint8_t> labels,
                                std::span<const std::uint8_t> tested, const stats::LabelPermutations& permutations,
                                Score score) {
    if (labels.size() != columns.n_rows || permutations.n_rows() != columns.n_rows || tested.size() != columns.size()) {
        throw InternalError("permutations of " + std::to_string(permutations.n_rows()) + " rows and " +
                            std::to_string(labels.size()) + " labels for " + std::to_string(columns.n_rows) + " rows");
    }
    const auto right = std::count(labels.begin(), labels.end(), std::uint8_t{1});
    const double n1 = static_cast<double>(right);
    const double n0 = static_cast<double>(labels.size()) - n1;
    if (n1 < 2 || n0 < 2) throw InputError("permutations of labels need two rows of each class; use more data");
    PermutedColumns result;
    result.exceedances.assign(columns.size(), 0);
    result.observed.assign(columns.size(), 0);
    result.maxima.assign(permutations.size(), 0);

    std::vector<std::size_t> order;
    std::vector<ColumnForm> forms(columns.size());
    for (std::size_t column = 0; column < columns.size(); ++column) {
        if (tested[column] == 0) continue;
        const auto rows = columns.rows_of(column);
        const auto values = columns.values_of(column);
        order.resize(rows.size());
        for (std::size_t i = 0; i < order.size(); ++i)
            order[i] = i;
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
        ColumnForm& form = forms[column];
        form = form_of(score, rows, values, n1, n0, order);
        double sum = 0;
        double squares = 0;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            sum += form.weights[i] * labels[rows[i]];
            if (!form.squares.empty()) squares += form.squares[i] * labels[rows[i]];
        }
        result.observed[column] = score_of(score, form, sum, squares, n1, n0);
    }
    std::array<double, chunk> sums{};
    std::array<double, chunk> squares{};
    for (std::uint32_t first = 0; first < permutations.size(); first += chunk) {
        const std::vector<double> permuted = stats::permuted_labels(permutations, first);
        const std::uint32_t count = std::min(chunk, permutations.size() - first);
        for (std::size_t column = 0; column < columns.size(); ++column) {
            if (tested[column] == 0) continue;
            const ColumnForm& form = forms[column];
            stats::permuted_sums(permuted, columns.rows_of(column), form.weights, sums);
            if (!form.squares.empty()) stats::permuted_sums(permuted, columns.rows_of(column), form.squares, squares);
            const double bound = result.observed[column] * (1 - 1e-12);
            for (std::uint32_t b = 0; b < count; ++b) {
                const double value = score_of(score, form, sums[b], squares[b], n1, n0);
                result.exceedances[column] += value >= bound;
                result.maxima[first + b] = std::max(result.maxima[first + b], value);
            }
        }
    }
    return result;
}

}  // namespace pva::analysis
