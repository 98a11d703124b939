// L2-penalised logistic regression on dense features, and probes with it whose strength is chosen by cross-validation.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pva::analysis {

/// Rows of features, row-major.
struct DenseRows {
    std::size_t n = 0;
    std::size_t d = 0;
    std::vector<double> values;  ///< [n, d]

    std::span<const double> row(std::size_t i) const { return std::span(values).subspan(i * d, d); }
};

struct LogisticFit {
    std::vector<double> weights;  ///< [d]
    double intercept = 0;         ///< penalised like the weights
    double gradient = 0;          ///< norm of the objective's gradient, over its norm at weights 0
};

/// Minimises 1/2 |w|^2 + 1/2 b^2 + C sum log(1 + exp(-y (w.x + b))) over `rows` of x, y = 1 or -1 by `labels` (one for each
/// row of x, 1 or 0): the objective of liblinear's solvers 0 and 7 with a constant feature 1, and of scikit-learn's
/// LogisticRegression(solver="liblinear"). Truncated Newton steps (conjugate gradients) with a line search, sums in a fixed
/// order, no BLAS: the same bits everywhere. Ends when the gradient is `tolerance` of what it was at weights 0. InputError
/// for a missing class; InternalError when it does not converge.
LogisticFit fit_logistic(const DenseRows& x, std::span<const std::uint32_t> rows, std::span<const std::uint8_t> labels,
                         double C, double tolerance = 1e-6, const LogisticFit* start = nullptr);

double decision_value(const LogisticFit& fit, std::span<const double> row);

/// x itself where n >= d; else n rows of n features with the same inner products (Cholesky factor of the Gram matrix), on
/// which penalised fits give the same decision values at less cost.
DenseRows with_fewer_features(const DenseRows& x);

/// Mean and standard deviation (n - 1) of each feature; x less the mean, over the deviation and the square root of d, so
/// that a row has a norm of about 1. Constant features become 0.
struct Scaling {
    std::vector<double> mean;
    std::vector<double> factor;
};
Scaling scaling_of(std::span<const float> rows, std::size_t d);
DenseRows scaled(const Scaling& scaling, std::span<const float> rows);

/// Fold of each row, 0 .. k - 1: each class shuffled by a Philox stream and dealt in turn, so that folds differ by at most
/// one row of each class. InputError for k < 2.
std::vector<std::uint32_t> stratified_folds(std::span<const std::uint8_t> labels, std::uint32_t k, std::uint64_t seed,
                                            std::uint64_t stream);

/// AUROC from comparisons within folds only (decision values of different fits are not compared), with DeLong's variances
/// of the folds put together. standard_error is NaN where a fold has fewer than two rows of a class.
struct FoldAuroc {
    double auroc = 0.5;
    double standard_error = 0;
    double low = 0;   ///< 95 %, on the logit scale
    double high = 1;
};
FoldAuroc fold_auroc(std::span<const double> scores, std::span<const std::uint8_t> labels,
                     std::span<const std::uint32_t> folds);

struct ProbeSettings {
    std::vector<double> C = {0.01, 0.1, 1, 10, 100, 1000, 10000};
    std::uint32_t folds = 5;  ///< fewer where a class has fewer rows
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;
    double tolerance = 1e-4;
};

/// Nested cross-validation: every row is scored by a fit that has not seen it, with a C that was chosen without it, by the
/// AUROC within the inner folds (of equal ones the smallest C). Then C is chosen and the fit made on all rows.
struct Probe {
    std::vector<std::uint32_t> folds;  ///< outer fold of each row
    std::vector<double> held_out;      ///< decision value of each row by the fit without its fold
    std::vector<double> fold_C;        ///< chosen for each outer fold
    double C = 1;                      ///< chosen on all rows
    std::vector<double> coefficients;  ///< [n] of the fit on all rows: its weights are the sum of coefficient times row
    double intercept = 0;
};
Probe nested_probe(const DenseRows& x, std::span<const std::uint8_t> labels, const ProbeSettings& settings);

/// The part of nested_probe that comes last: the C that cross-validation on all rows chooses, and the fit on all rows with a
/// C (folds, held_out and fold_C stay empty). The same numbers as nested_probe's.
struct Strength {
    double C = 1;
    double auroc = 0.5;  ///< within the folds that chose it, so a little flattered; 0.5 where the rows cannot be folded
};
Strength choose_strength(const DenseRows& x, std::span<const std::uint8_t> labels, const ProbeSettings& settings);
Probe probe_of_strength(const DenseRows& x, std::span<const std::uint8_t> labels, double C, double tolerance = 1e-6);

/// Weights of a probe in the space of the rows it was fitted on.
std::vector<double> probe_weights(const Probe& probe, const DenseRows& x);

}  // namespace pva::analysis
