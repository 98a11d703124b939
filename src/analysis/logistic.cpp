// Truncated Newton for logistic regression, folds, nested cross-validation.
#include "pva/analysis/logistic.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/stats/intervals.h"
#include "pva/stats/ranks.h"

namespace pva::analysis {

namespace {

// Four partial sums: a fixed order that leaves the processor something to do at a time.
double dot(const double* a, const double* b, std::size_t n) {
    double s0 = 0;
    double s1 = 0;
    double s2 = 0;
    double s3 = 0;
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        s0 += a[i] * b[i];
        s1 += a[i + 1] * b[i + 1];
        s2 += a[i + 2] * b[i + 2];
        s3 += a[i + 3] * b[i + 3];
    }
    for (; i < n; ++i)
        s0 += a[i] * b[i];
    return (s0 + s1) + (s2 + s3);
}

void add_scaled(double* to, double factor, const double* from, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
        to[i] += factor * from[i];
}

double log_one_plus_exp(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

// The objective on chosen rows; vectors are [d + 1], the intercept last.
class Objective {
  public:
    Objective(const DenseRows& x, std::span<const std::uint32_t> rows, std::span<const std::uint8_t> labels, double C)
        : x_(x), rows_(rows), C_(C) {
        for (const std::uint32_t row : rows)
            y_.push_back(labels[row] == 1 ? 1.0 : -1.0);
    }

    std::size_t size() const { return x_.d + 1; }

    std::vector<double> decisions(const std::vector<double>& w) const {
        std::vector<double> f(rows_.size());
        for (std::size_t i = 0; i < rows_.size(); ++i)
            f[i] = dot(x_.row(rows_[i]).data(), w.data(), x_.d) + w[x_.d];
        return f;
    }

    double value(const std::vector<double>& w, const std::vector<double>& f) const {
        double loss = 0;
        for (std::size_t i = 0; i < f.size(); ++i)
            loss += log_one_plus_exp(-y_[i] * f[i]);
        return 0.5 * dot(w.data(), w.data(), w.size()) + C_ * loss;
    }

    std::vector<double> gradient(const std::vector<double>& w, const std::vector<double>& f) const {
        std::vector<double> g = w;
        for (std::size_t i = 0; i < f.size(); ++i)
            add_row(g, -C_ * y_[i] / (1 + std::exp(y_[i] * f[i])), i);
        return g;
    }

    // Diagonal of the losses' second derivatives.
    std::vector<double> curvature(const std::vector<double>& f) const {
        std::vector<double> c(f.size());
        for (std::size_t i = 0; i < f.size(); ++i) {
            const double e = std::exp(-std::fabs(f[i]));
            c[i] = C_ * e / ((1 + e) * (1 + e));
        }
        return c;
    }

    std::vector<double> hessian_times(const std::vector<double>& c, const std::vector<double>& v) const {
        std::vector<double> result = v;
        for (std::size_t i = 0; i < rows_.size(); ++i)
            add_row(result, c[i] * (dot(x_.row(rows_[i]).data(), v.data(), x_.d) + v[x_.d]), i);
        return result;
    }

  private:
    void add_row(std::vector<double>& to, double factor, std::size_t i) const {
        add_scaled(to.data(), factor, x_.row(rows_[i]).data(), x_.d);
        to[x_.d] += factor;
    }

    const DenseRows& x_;
    std::span<const std::uint32_t> rows_;
    double C_;
    std::vector<double> y_;
};

// Solves H p = -g by conjugate gradients until the residual is `tolerance` of |g|.
std::vector<double> newton_step(const Objective& objective, const std::vector<double>& c, const std::vector<double>& g,
                                double tolerance) {
    const std::size_t n = g.size();
    std::vector<double> step(n, 0.0);
    std::vector<double> residual(n);
    for (std::size_t i = 0; i < n; ++i)
        residual[i] = -g[i];
    std::vector<double> direction = residual;
    double squares = dot(residual.data(), residual.data(), n);
    const double goal = tolerance * tolerance * squares;
    for (std::size_t iteration = 0; iteration < 10 * n && squares > goal; ++iteration) {
        const std::vector<double> product = objective.hessian_times(c, direction);
        const double factor = squares / dot(direction.data(), product.data(), n);
        add_scaled(step.data(), factor, direction.data(), n);
        add_scaled(residual.data(), -factor, product.data(), n);
        const double next = dot(residual.data(), residual.data(), n);
        const double ratio = next / squares;
        for (std::size_t i = 0; i < n; ++i)
            direction[i] = residual[i] + ratio * direction[i];
        squares = next;
    }
    return step;
}

double norm(const std::vector<double>& v) { return std::sqrt(dot(v.data(), v.data(), v.size())); }

// Folds that leave both classes on both sides; 0 where there are none.
std::uint32_t usable_folds(std::span<const std::uint8_t> labels, std::uint32_t wanted) {
    const auto right = static_cast<std::uint64_t>(std::count(labels.begin(), labels.end(), std::uint8_t{1}));
    const auto fewest = std::min<std::uint64_t>({wanted, right, labels.size() - right});
    return fewest < 2 ? 0 : static_cast<std::uint32_t>(fewest);
}

// Decision values of each of `rows` by fits without its fold, for every C; [C][rows].
std::vector<std::vector<double>> held_out_values(const DenseRows& x, std::span<const std::uint32_t> rows,
                                                 std::span<const std::uint8_t> labels,
                                                 std::span<const std::uint32_t> folds, std::uint32_t k,
                                                 const std::vector<double>& strengths, double tolerance) {
    std::vector<std::vector<double>> values(strengths.size(), std::vector<double>(rows.size()));
    for (std::uint32_t fold = 0; fold < k; ++fold) {
        std::vector<std::uint32_t> training;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            if (folds[i] != fold) training.push_back(rows[i]);
        }
        LogisticFit fit;
        for (std::size_t c = 0; c < strengths.size(); ++c) {
            // From the weaker fit to the stronger one it is a short way.
            fit = fit_logistic(x, training, labels, strengths[c], tolerance, c == 0 ? nullptr : &fit);
            for (std::size_t i = 0; i < rows.size(); ++i) {
                if (folds[i] == fold) values[c][i] = decision_value(fit, x.row(rows[i]));
            }
        }
    }
    return values;
}

// The C with the best AUROC within folds of `rows`; the middle one where the rows cannot be folded.
Strength choose_C(const DenseRows& x, std::span<const std::uint32_t> rows, std::span<const std::uint8_t> labels,
                  const ProbeSettings& settings, std::uint64_t stream) {
    std::vector<std::uint8_t> own;
    for (const std::uint32_t row : rows)
        own.push_back(labels[row]);
    const std::uint32_t k = usable_folds(own, settings.folds);
    if (k == 0) return {settings.C[settings.C.size() / 2], 0.5};
    const std::vector<std::uint32_t> folds = stratified_folds(own, k, settings.seed, stream);
    const auto values = held_out_values(x, rows, labels, folds, k, settings.C, settings.tolerance);
    Strength chosen{settings.C.front(), -1};
    for (std::size_t c = 0; c < values.size(); ++c) {
        const double auroc = fold_auroc(values[c], own, folds).auroc;
        if (auroc > chosen.auroc) chosen = {settings.C[c], auroc};
    }
    return chosen;
}

// Intercept and coefficients of the fit on all rows with the probe's C.
void fit_on_all(Probe& probe, const DenseRows& z, std::span<const std::uint32_t> all, std::span<const std::uint8_t> labels,
                double tolerance) {
    const LogisticFit fit = fit_logistic(z, all, labels, probe.C, tolerance);
    probe.intercept = fit.intercept;
    // At the optimum the weights are this sum over the rows; so they are known in the space of x too.
    for (std::size_t i = 0; i < z.n; ++i) {
        const double y = labels[i] == 1 ? 1.0 : -1.0;
        probe.coefficients.push_back(probe.C * y / (1 + std::exp(y * decision_value(fit, z.row(i)))));
    }
}

}  // namespace

LogisticFit fit_logistic(const DenseRows& x, std::span<const std::uint32_t> rows, std::span<const std::uint8_t> labels,
                         double C, double tolerance, const LogisticFit* start) {
    if (labels.size() != x.n || x.values.size() != x.n * x.d) throw InternalError("logistic regression: rows and labels do not fit");
    std::size_t right = 0;
    for (const std::uint32_t row : rows)
        right += labels[row] == 1;
    if (right == 0 || right == rows.size()) {
        throw InputError("logistic regression on " + std::to_string(right) + " rows with label 1 and " +
                         std::to_string(rows.size() - right) + " with label 0; both must occur: use more data");
    }
    const Objective objective(x, rows, labels, C);
    const std::size_t n = objective.size();
    std::vector<double> w(n, 0.0);
    std::vector<double> f(rows.size(), 0.0);
    const double at_zero = norm(objective.gradient(w, f));
    if (start != nullptr) {
        std::copy(start->weights.begin(), start->weights.end(), w.begin());
        w[x.d] = start->intercept;
        f = objective.decisions(w);
    }
    std::vector<double> g = objective.gradient(w, f);
    double value = objective.value(w, f);
    for (int iteration = 0; iteration < 500 && norm(g) > tolerance * at_zero; ++iteration) {
        // The nearer the end, the more exact the step.
        const double share = at_zero > 0 ? norm(g) / at_zero : 0;
        const std::vector<double> step =
            newton_step(objective, objective.curvature(f), g, std::min(0.1, std::max(1e-10, std::sqrt(share) * 0.1)));
        const double slope = dot(g.data(), step.data(), n);
        double length = 1;
        bool better = false;
        for (int halving = 0; halving < 40; ++halving, length /= 2) {
            std::vector<double> w_next = w;
            add_scaled(w_next.data(), length, step.data(), n);
            std::vector<double> f_next = objective.decisions(w_next);
            const double next = objective.value(w_next, f_next);
            std::vector<double> g_next = objective.gradient(w_next, f_next);
            // Near the optimum the value no longer resolves what the gradient still shows.
            if (next <= value + 1e-4 * length * slope || (next <= value * (1 + 1e-14) && norm(g_next) < norm(g))) {
                better = true;
                value = next;
                w = std::move(w_next);
                f = std::move(f_next);
                g = std::move(g_next);
                break;
            }
        }
        if (!better) break;
    }
    LogisticFit fit;
    fit.gradient = at_zero > 0 ? norm(g) / at_zero : 0;
    if (!(fit.gradient <= std::max(tolerance, 1e-8))) {
        throw InternalError("logistic regression did not converge: the gradient is " + std::to_string(fit.gradient) +
                            " of what it was at the start");
    }
    fit.weights.assign(w.begin(), w.end() - 1);
    fit.intercept = w[x.d];
    return fit;
}

double decision_value(const LogisticFit& fit, std::span<const double> row) {
    return dot(fit.weights.data(), row.data(), fit.weights.size()) + fit.intercept;
}

DenseRows with_fewer_features(const DenseRows& x) {
    if (x.n >= x.d) return x;
    DenseRows factor{x.n, x.n, std::vector<double>(x.n * x.n, 0.0)};
    double largest = 0;
    for (std::size_t i = 0; i < x.n; ++i)
        largest = std::max(largest, dot(x.row(i).data(), x.row(i).data(), x.d));
    for (std::size_t i = 0; i < x.n; ++i) {
        double* const own = factor.values.data() + i * x.n;
        for (std::size_t j = 0; j <= i; ++j) {
            const double* const other = factor.values.data() + j * x.n;
            const double rest = dot(x.row(i).data(), x.row(j).data(), x.d) - dot(own, other, j);
            // A row that the rows before it span has nothing of its own; what is left is rounding.
            if (i == j) {
                own[i] = rest > 1e-13 * largest ? std::sqrt(rest) : 0.0;
            } else {
                own[j] = other[j] > 0 ? rest / other[j] : 0.0;
            }
        }
    }
    return factor;
}

Scaling scaling_of(std::span<const float> rows, std::size_t d) {
    const std::size_t n = d == 0 ? 0 : rows.size() / d;
    Scaling scaling{std::vector<double>(d, 0.0), std::vector<double>(d, 0.0)};
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t k = 0; k < d; ++k)
            scaling.mean[k] += rows[i * d + k];
    }
    for (double& mean : scaling.mean)
        mean /= static_cast<double>(n);
    std::vector<double> squares(d, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t k = 0; k < d; ++k) {
            const double deviation = rows[i * d + k] - scaling.mean[k];
            squares[k] += deviation * deviation;
        }
    }
    for (std::size_t k = 0; k < d; ++k) {
        const double variance = n < 2 ? 0.0 : squares[k] / static_cast<double>(n - 1);
        // Rounding of a mean of equal values is no variance.
        const double least = 1e-14 * scaling.mean[k] * scaling.mean[k];
        scaling.factor[k] = variance > least ? 1 / std::sqrt(variance * static_cast<double>(d)) : 0.0;
    }
    return scaling;
}

DenseRows scaled(const Scaling& scaling, std::span<const float> rows) {
    const std::size_t d = scaling.mean.size();
    DenseRows result{d == 0 ? 0 : rows.size() / d, d, std::vector<double>(rows.size())};
    for (std::size_t i = 0; i < rows.size(); ++i)
        result.values[i] = (rows[i] - scaling.mean[i % d]) * scaling.factor[i % d];
    return result;
}

std::vector<std::uint32_t> stratified_folds(std::span<const std::uint8_t> labels, std::uint32_t k, std::uint64_t seed,
                                            std::uint64_t stream) {
    if (k < 2) throw InputError("cross-validation needs at least two folds");
    std::vector<std::uint32_t> folds(labels.size());
    std::uint32_t next = 0;
    for (const std::uint8_t label : {std::uint8_t{1}, std::uint8_t{0}}) {
        std::vector<std::size_t> rows;
        for (std::size_t row = 0; row < labels.size(); ++row) {
            if (labels[row] == label) rows.push_back(row);
        }
        PhiloxStream random(seed, stream, label);
        for (std::size_t i = rows.size(); i > 1; --i)
            std::swap(rows[i - 1], rows[random.below(static_cast<std::uint32_t>(i))]);
        for (const std::size_t row : rows)
            folds[row] = next++ % k;
    }
    return folds;
}

FoldAuroc fold_auroc(std::span<const double> scores, std::span<const std::uint8_t> labels,
                     std::span<const std::uint32_t> folds) {
    if (scores.size() != labels.size() || folds.size() != labels.size()) throw InternalError("scores, labels and folds do not fit");
    const std::uint32_t k = folds.empty() ? 0 : *std::max_element(folds.begin(), folds.end()) + 1;
    double pairs = 0;
    double wins = 0;
    double variance = 0;
    FoldAuroc result;
    for (std::uint32_t fold = 0; fold < k; ++fold) {
        std::vector<double> right;
        std::vector<double> wrong;
        for (std::size_t i = 0; i < scores.size(); ++i) {
            if (folds[i] == fold) (labels[i] == 1 ? right : wrong).push_back(scores[i]);
        }
        if (right.empty() || wrong.empty()) continue;
        const double here = static_cast<double>(right.size()) * static_cast<double>(wrong.size());
        pairs += here;
        wins += here * stats::auroc(right, wrong);
        if (right.size() < 2 || wrong.size() < 2) {
            variance = std::numeric_limits<double>::quiet_NaN();
        } else {
            variance += here * here * stats::delong(right, wrong).variance;
        }
    }
    if (pairs == 0) return result;
    result.auroc = wins / pairs;
    result.standard_error = std::sqrt(variance) / pairs;
    if (std::isnan(result.standard_error)) {
        result.low = result.high = result.standard_error;
        return result;
    }
    stats::DelongAuroc together{result.auroc, result.standard_error * result.standard_error, 0, 0};
    for (const std::uint8_t label : labels)
        ++(label == 1 ? together.n_positives : together.n_negatives);
    const stats::Interval interval = stats::delong_interval(together);
    result.low = interval.lower;
    result.high = interval.upper;
    return result;
}

Probe nested_probe(const DenseRows& x, std::span<const std::uint8_t> labels, const ProbeSettings& settings) {
    const DenseRows z = with_fewer_features(x);
    Probe probe;
    std::vector<std::uint32_t> all(x.n);
    std::iota(all.begin(), all.end(), 0U);
    const std::uint32_t k = usable_folds(labels, settings.folds);
    if (k == 0) throw InputError("cross-validation needs at least two rows of each class; use more data");
    // Streams: the outer folds, the inner ones of each, and those of the last choice.
    const std::uint64_t stream = settings.stream << 8;
    probe.folds = stratified_folds(labels, k, settings.seed, stream);
    probe.held_out.assign(x.n, 0.0);
    for (std::uint32_t fold = 0; fold < k; ++fold) {
        std::vector<std::uint32_t> training;
        for (const std::uint32_t row : all) {
            if (probe.folds[row] != fold) training.push_back(row);
        }
        probe.fold_C.push_back(choose_C(z, training, labels, settings, stream + 1 + fold).C);
        const LogisticFit fit = fit_logistic(z, training, labels, probe.fold_C.back(), settings.tolerance);
        for (const std::uint32_t row : all) {
            if (probe.folds[row] == fold) probe.held_out[row] = decision_value(fit, z.row(row));
        }
    }
    probe.C = choose_C(z, all, labels, settings, stream + 255).C;
    fit_on_all(probe, z, all, labels, std::min(settings.tolerance, 1e-6));
    return probe;
}

Strength choose_strength(const DenseRows& x, std::span<const std::uint8_t> labels, const ProbeSettings& settings) {
    std::vector<std::uint32_t> all(x.n);
    std::iota(all.begin(), all.end(), 0U);
    return choose_C(with_fewer_features(x), all, labels, settings, (settings.stream << 8) + 255);
}

Probe probe_of_strength(const DenseRows& x, std::span<const std::uint8_t> labels, double C, double tolerance) {
    Probe probe;
    probe.C = C;
    std::vector<std::uint32_t> all(x.n);
    std::iota(all.begin(), all.end(), 0U);
    fit_on_all(probe, with_fewer_features(x), all, labels, tolerance);
    return probe;
}

std::vector<double> probe_weights(const Probe& probe, const DenseRows& x) {
    std::vector<double> weights(x.d, 0.0);
    for (std::size_t i = 0; i < x.n; ++i)
        add_scaled(weights.data(), probe.coefficients[i], x.row(i).data(), x.d);
    return weights;
}

}  // namespace pva::analysis
