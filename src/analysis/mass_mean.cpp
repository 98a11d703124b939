// Difference of means and mass-mean probe.
#include "pva/analysis/mass_mean.h"

#include <cmath>

#include "pva/core/error.h"

namespace pva::analysis {

namespace {

struct Means {
    std::vector<double> right, wrong;
    std::size_t n_right = 0, n_wrong = 0;
};

Means means_of(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels) {
    if (rows.size() != labels.size() * d) throw InternalError("rows and labels of a probe do not fit");
    Means means{std::vector<double>(d, 0.0), std::vector<double>(d, 0.0), 0, 0};
    for (std::size_t i = 0; i < labels.size(); ++i) {
        std::vector<double>& sum = labels[i] == 1 ? means.right : means.wrong;
        (labels[i] == 1 ? means.n_right : means.n_wrong) += 1;
        for (std::size_t k = 0; k < d; ++k) sum[k] += static_cast<double>(rows[i * d + k]);
    }
    if (means.n_right == 0 || means.n_wrong == 0) throw InputError("a difference of means needs rows of both classes");
    for (double& value : means.right) value /= static_cast<double>(means.n_right);
    for (double& value : means.wrong) value /= static_cast<double>(means.n_wrong);
    return means;
}

/// Solves a symmetric positive definite system [n, n] in place.
void solve(std::vector<double>& a, std::vector<double>& b) {
    const std::size_t n = b.size();
    for (std::size_t j = 0; j < n; ++j) {
        for (std::size_t i = j; i < n; ++i) {
            double sum = a[i * n + j];
            for (std::size_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
            if (i == j) {
                if (!(sum > 0)) throw InternalError("the covariance of a probe is not positive definite");
                a[j * n + j] = std::sqrt(sum);
            } else {
                a[i * n + j] = sum / a[j * n + j];
            }
        }
    }
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
        b[i] /= a[i * n + i];
    }
    for (std::size_t i = n; i-- > 0;) {
        for (std::size_t k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
        b[i] /= a[i * n + i];
    }
}

}  // namespace

std::vector<double> difference_of_means(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels) {
    const Means means = means_of(rows, d, labels);
    std::vector<double> difference(d);
    for (std::size_t k = 0; k < d; ++k) difference[k] = means.right[k] - means.wrong[k];
    return difference;
}

std::vector<double> mass_mean_probe(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels, double ridge) {
    if (!(ridge > 0)) throw InternalError("the ridge of a mass-mean probe must be above 0");
    const Means means = means_of(rows, d, labels);
    if (means.n_right < 2 || means.n_wrong < 2) throw InputError("a mass-mean probe needs two rows of each class");
    const std::size_t n = labels.size();
    std::vector<double> b(d);
    for (std::size_t k = 0; k < d; ++k) b[k] = means.right[k] - means.wrong[k];
    std::vector<double> z(n * d);  // rows less the mean of their class
    for (std::size_t i = 0; i < n; ++i) {
        const std::vector<double>& mean = labels[i] == 1 ? means.right : means.wrong;
        for (std::size_t k = 0; k < d; ++k) z[i * d + k] = static_cast<double>(rows[i * d + k]) - mean[k];
    }
    const double freedom = static_cast<double>(n) - 2 > 0 ? static_cast<double>(n) - 2 : 1;
    std::vector<double> w(d);
    if (d <= n) {
        std::vector<double> a(d * d, 0.0);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t r = 0; r < d; ++r) {
                for (std::size_t c = 0; c <= r; ++c) a[r * d + c] += z[i * d + r] * z[i * d + c];
            }
        }
        for (std::size_t r = 0; r < d; ++r) {
            for (std::size_t c = 0; c <= r; ++c) a[r * d + c] /= freedom;
            a[r * d + r] += ridge;
        }
        w = b;
        solve(a, w);
    } else {
        // (Z'Z/m + r I)^-1 b = (b - Z' (Z Z' + m r I)^-1 Z b) / r
        std::vector<double> a(n * n, 0.0);
        std::vector<double> zb(n, 0.0);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = 0; j <= i; ++j) {
                double sum = 0;
                for (std::size_t k = 0; k < d; ++k) sum += z[i * d + k] * z[j * d + k];
                a[i * n + j] = sum;
            }
            a[i * n + i] += freedom * ridge;
            for (std::size_t k = 0; k < d; ++k) zb[i] += z[i * d + k] * b[k];
        }
        solve(a, zb);
        for (std::size_t k = 0; k < d; ++k) {
            double sum = 0;
            for (std::size_t i = 0; i < n; ++i) sum += z[i * d + k] * zb[i];
            w[k] = (b[k] - sum) / ridge;
        }
    }
    double squares = 0;
    for (const double value : w) squares += value * value;
    if (squares > 0) {
        for (double& value : w) value /= std::sqrt(squares);
    }
    return w;
}

}  // namespace pva::analysis
