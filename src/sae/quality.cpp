// L0, explained variance and cosine of reconstructions.
#include "pva/sae/quality.h"

#include <cmath>
#include <limits>

#include "pva/core/error.h"

namespace pva::sae {

void add_rows(QualitySums& sums, const Sae& sae, std::span<const float> rows, const CsrRows& codes) {
    if (sums.row_sum.empty()) sums.row_sum.assign(sae.d_in, 0.0);
    if (rows.size() != codes.n_rows() * sae.d_in || codes.n_latents != sae.d_sae || sums.row_sum.size() != sae.d_in) {
        throw InternalError("quality: " + std::to_string(rows.size()) + " values and codes of " +
                            std::to_string(codes.n_rows()) + " rows do not fit an SAE of width " +
                            std::to_string(sae.d_in));
    }
    std::vector<float> x_hat(sae.d_in);
    for (std::size_t i = 0; i < codes.n_rows(); ++i) {
        const std::size_t first = codes.row_offsets[i], count = codes.row_offsets[i + 1] - first;
        decode_row(sae, std::span(codes.latents).subspan(first, count), std::span(codes.values).subspan(first, count),
                   x_hat);
        double error = 0.0, norm = 0.0, norm_hat = 0.0, dot = 0.0;
        for (std::size_t k = 0; k < sae.d_in; ++k) {
            const double x = rows[i * sae.d_in + k], y = x_hat[k];
            error += (x - y) * (x - y);
            norm += x * x;
            norm_hat += y * y;
            dot += x * y;
            sums.row_sum[k] += x;
        }
        const double product = std::sqrt(norm) * std::sqrt(norm_hat);
        sums.squared_error += error;
        sums.squared_norm += norm;
        sums.cosine += product > 0.0 ? dot / product : 0.0;
        sums.n_active += count;
        ++sums.n_rows;
    }
}

Quality quality(const QualitySums& sums) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    if (sums.n_rows == 0) return {0, nan, nan, nan};
    const auto n = static_cast<double>(sums.n_rows);
    double squared_mean = 0.0;
    for (const double sum : sums.row_sum)
        squared_mean += (sum / n) * (sum / n);
    const double mean_square = sums.squared_norm / n;
    const double variance = mean_square - squared_mean;
    // What is left of equal rows is rounding, not variance.
    const bool defined = sums.n_rows > 1 && variance > 1e-12 * mean_square;
    return {sums.n_rows, static_cast<double>(sums.n_active) / n,
            defined ? 1.0 - (sums.squared_error / n) / variance : nan, sums.cosine / n};
}

}  // namespace pva::sae
