// Baselines of a layer and of the problems themselves.
#include "pva/analysis/baselines.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "pva/analysis/bag_of_words.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/stats/bootstrap.h"
#include "pva/stats/ranks.h"

namespace pva::analysis {

namespace {

double auroc_of(std::span<const double> scores, std::span<const std::uint8_t> labels) {
    const stats::TwoGroups groups = stats::split_by_label(scores, labels);
    return stats::auroc(groups.positives, groups.negatives);
}

double dot(std::span<const float> row, std::span<const double> weights) {
    double sum = 0;
    for (std::size_t k = 0; k < row.size(); ++k)
        sum += row[k] * weights[k];
    return sum;
}

std::vector<double> projections(std::span<const float> rows, std::span<const double> weights) {
    std::vector<double> values(rows.size() / weights.size());
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = dot(rows.subspan(i * weights.size(), weights.size()), weights);
    return values;
}

// mean(right) - mean(wrong) over the rows that `wanted` says.
template <class Wanted>
std::vector<double> difference_of_means(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels,
                                        Wanted&& wanted) {
    std::vector<double> right(d, 0.0);
    std::vector<double> wrong(d, 0.0);
    double n_right = 0;
    double n_wrong = 0;
    for (std::size_t i = 0; i < labels.size(); ++i) {
        if (!wanted(i)) continue;
        std::vector<double>& sum = labels[i] == 1 ? right : wrong;
        for (std::size_t k = 0; k < d; ++k)
            sum[k] += rows[i * d + k];
        (labels[i] == 1 ? n_right : n_wrong) += 1;
    }
    for (std::size_t k = 0; k < d; ++k)
        right[k] = right[k] / n_right - wrong[k] / n_wrong;
    return right;
}

// A standard normal number.
double normal(PhiloxStream& random) {
    const double u = 1 - random.uniform();  // never 0
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * random.uniform());
}

constexpr std::uint64_t random_direction_stream = 0x72616e646f6d;  // "random"

// The score farthest from chance among many; scores(i) gives that of number i on the part.
template <class Scores>
std::int32_t farthest_from_chance(std::size_t n, std::span<const std::uint8_t> labels, std::vector<double>& distances,
                                  Scores&& scores) {
    std::int32_t best = 0;
    for (std::size_t i = 0; i < n; ++i) {
        distances.push_back(std::fabs(auroc_of(scores(i), labels) - 0.5));
        if (distances.back() > distances[static_cast<std::size_t>(best)]) best = static_cast<std::int32_t>(i);
    }
    return best;
}

}  // namespace

BaselineFigures baseline_figures(const BaselineScores& scores, std::span<const std::uint8_t> labels,
                                 std::span<const std::uint8_t> held_out_labels) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    BaselineFigures figures;
    if (!scores.folds.empty()) {
        const FoldAuroc part = fold_auroc(scores.part, labels, scores.folds);
        figures.auroc = part.auroc;
        figures.low = part.low;
        figures.high = part.high;
    } else {
        const stats::TwoGroups groups = stats::split_by_label(scores.part, labels);
        const stats::DelongAuroc part = stats::delong(groups.positives, groups.negatives);
        const stats::Interval interval = stats::delong_interval(part);
        figures.sign = part.auroc < 0.5 ? -1 : 1;
        figures.auroc = figures.sign < 0 ? 1 - part.auroc : part.auroc;
        figures.low = figures.sign < 0 ? 1 - interval.upper : interval.lower;
        figures.high = figures.sign < 0 ? 1 - interval.lower : interval.upper;
    }
    figures.held_out_auroc = figures.held_out_low = figures.held_out_high = nan;
    const stats::TwoGroups groups = stats::split_by_label(scores.held_out, held_out_labels);
    if (groups.positives.empty() || groups.negatives.empty()) return figures;
    const double auroc = stats::auroc(groups.positives, groups.negatives);
    figures.held_out_auroc = figures.sign < 0 ? 1 - auroc : auroc;
    if (groups.positives.size() < 2 || groups.negatives.size() < 2) return figures;
    const stats::Interval interval = stats::delong_interval(stats::delong(groups.positives, groups.negatives));
    figures.held_out_low = figures.sign < 0 ? 1 - interval.upper : interval.lower;
    figures.held_out_high = figures.sign < 0 ? 1 - interval.lower : interval.upper;
    return figures;
}

LayerBaselines layer_baselines(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels,
                               std::span<const float> held_out_rows, std::int32_t layer,
                               const BaselineSettings& settings) {
    if (d == 0 || rows.size() != labels.size() * d || held_out_rows.size() % d != 0) {
        throw InternalError("baselines: rows and labels do not fit");
    }
    LayerBaselines result;
    const std::size_t n = labels.size();
    ProbeSettings probe_settings = settings.probe;
    probe_settings.stream = static_cast<std::uint64_t>(layer) + 1;  // 0 is for what belongs to no layer

    const Scaling scaling = scaling_of(rows, d);
    const DenseRows features = scaled(scaling, rows);
    const Probe probe = nested_probe(features, labels, probe_settings);

    BaselineScores means{"difference of means", layer, -1, 0, probe.folds, std::vector<double>(n), {}};
    const std::uint32_t k = *std::max_element(probe.folds.begin(), probe.folds.end()) + 1;
    for (std::uint32_t fold = 0; fold < k; ++fold) {
        const auto weights = difference_of_means(rows, d, labels, [&](std::size_t i) { return probe.folds[i] != fold; });
        for (std::size_t i = 0; i < n; ++i) {
            if (probe.folds[i] == fold) means.part[i] = dot(rows.subspan(i * d, d), weights);
        }
    }
    means.held_out = projections(held_out_rows, difference_of_means(rows, d, labels, [](std::size_t) { return true; }));
    result.scores.push_back(std::move(means));

    BaselineScores logistic{"logistic probe", layer, -1, probe.C, probe.folds, probe.held_out, {}};
    const std::vector<double> weights = probe_weights(probe, features);
    const DenseRows held_out_features = scaled(scaling, held_out_rows);
    for (std::size_t i = 0; i < held_out_features.n; ++i) {
        double value = probe.intercept;
        for (std::size_t j = 0; j < d; ++j)
            value += weights[j] * held_out_features.row(i)[j];
        logistic.held_out.push_back(value);
    }
    result.scores.push_back(std::move(logistic));

    const auto column = [&](std::span<const float> of, std::size_t k_column) {
        std::vector<double> values(of.size() / d);
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i] = of[i * d + k_column];
        return values;
    };
    std::vector<double> distances;
    const std::int32_t dimension = farthest_from_chance(d, labels, distances, [&](std::size_t j) { return column(rows, j); });
    result.scores.push_back({"best dimension", layer, dimension, 0, {}, column(rows, static_cast<std::size_t>(dimension)),
                             column(held_out_rows, static_cast<std::size_t>(dimension))});

    if (settings.random_directions > 0) {
        const auto direction = [&](std::size_t i) {
            PhiloxStream random(settings.probe.seed, random_direction_stream + static_cast<std::uint64_t>(layer),
                                static_cast<std::uint32_t>(i));
            std::vector<double> values(d);
            for (double& value : values)
                value = normal(random);
            return values;
        };
        distances.clear();
        const std::int32_t best = farthest_from_chance(settings.random_directions, labels, distances,
                                                       [&](std::size_t i) { return projections(rows, direction(i)); });
        const std::vector<double> chosen = direction(static_cast<std::size_t>(best));
        result.scores.push_back({"best random direction", layer, best, 0, {}, projections(rows, chosen), projections(held_out_rows, chosen)});
        for (const double distance : distances)
            result.random.mean += distance / static_cast<double>(distances.size());
        result.random.share_95 = stats::quantile(distances, 0.95);
        result.random.largest = *std::max_element(distances.begin(), distances.end());
    }
    return result;
}

std::vector<double> linear_scores(const LinearScore& score, std::span<const float> rows) {
    std::vector<double> values = projections(rows, score.weights);
    for (double& value : values)
        value += score.intercept;
    return values;
}

LinearScore fit_difference_of_means(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels) {
    const auto right = std::count(labels.begin(), labels.end(), std::uint8_t{1});
    if (right == 0 || right == static_cast<std::ptrdiff_t>(labels.size()))
        throw InputError("a difference of means needs rows of both classes; use more data");
    return {difference_of_means(rows, d, labels, [](std::size_t) { return true; }), 0.0};
}

LinearScore fit_probe(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels, double C) {
    const Scaling scaling = scaling_of(rows, d);
    const DenseRows features = scaled(scaling, rows);
    const Probe probe = probe_of_strength(features, labels, C);
    LinearScore score{probe_weights(probe, features), probe.intercept};
    for (std::size_t k = 0; k < d; ++k) {
        score.weights[k] *= scaling.factor[k];
        score.intercept -= score.weights[k] * scaling.mean[k];
    }
    return score;
}

LayerDirections layer_directions(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels,
                                 std::int32_t layer, const ProbeSettings& settings) {
    ProbeSettings own = settings;
    own.stream = static_cast<std::uint64_t>(layer) + 1;
    const Strength strength = choose_strength(scaled(scaling_of(rows, d), rows), labels, own);
    LayerDirections result{fit_difference_of_means(rows, d, labels), 0.5, fit_probe(rows, d, labels, strength.C), strength.auroc};
    const auto right = static_cast<std::uint64_t>(std::count(labels.begin(), labels.end(), std::uint8_t{1}));
    const auto k = static_cast<std::uint32_t>(std::min<std::uint64_t>({settings.folds, right, labels.size() - right}));
    if (k < 2) return result;
    const std::vector<std::uint32_t> folds = stratified_folds(labels, k, own.seed, own.stream << 8);
    std::vector<double> values(labels.size());
    for (std::uint32_t fold = 0; fold < k; ++fold) {
        const auto weights = difference_of_means(rows, d, labels, [&](std::size_t i) { return folds[i] != fold; });
        for (std::size_t i = 0; i < labels.size(); ++i) {
            if (folds[i] == fold) values[i] = dot(rows.subspan(i * d, d), weights);
        }
    }
    result.difference_of_means_auroc = fold_auroc(values, labels, folds).auroc;
    return result;
}

BaselineScores words_baseline(std::span<const std::string> texts, std::span<const std::uint8_t> labels,
                              std::span<const std::string> held_out_texts, const ProbeSettings& settings) {
    if (texts.size() != labels.size()) throw InternalError("words baseline: texts and labels do not fit");
    const auto right = static_cast<std::uint64_t>(std::count(labels.begin(), labels.end(), std::uint8_t{1}));
    const auto k = static_cast<std::uint32_t>(std::min<std::uint64_t>({settings.folds, right, labels.size() - right}));
    if (k < 2) throw InputError("cross-validation needs at least two rows of each class; use more data");
    BaselineScores result{"words of the text", -1, -1, 1, stratified_folds(labels, k, settings.seed, settings.stream << 8), std::vector<double>(texts.size()), {}};
    for (std::uint32_t fold = 0; fold < k; ++fold) {
        std::vector<std::string> training;
        std::vector<std::uint8_t> training_labels;
        std::vector<std::string> others;
        for (std::size_t i = 0; i < texts.size(); ++i) {
            if (result.folds[i] == fold) {
                others.push_back(texts[i]);
            } else {
                training.push_back(texts[i]);
                training_labels.push_back(labels[i]);
            }
        }
        const std::vector<double> values = decision_values(fit_bag_of_words(training, training_labels), others);
        for (std::size_t i = 0, at = 0; i < texts.size(); ++i) {
            if (result.folds[i] == fold) result.part[i] = values[at++];
        }
    }
    result.held_out = decision_values(fit_bag_of_words(texts, labels), held_out_texts);
    return result;
}

BaselineScores numbers_baseline(const std::string& name, std::span<const float> numbers, std::size_t d,
                                std::span<const std::uint8_t> labels, std::span<const float> held_out_numbers,
                                const ProbeSettings& settings) {
    const Scaling scaling = scaling_of(numbers, d);
    const DenseRows features = scaled(scaling, numbers);
    const Probe probe = nested_probe(features, labels, settings);
    BaselineScores result{name, -1, -1, probe.C, probe.folds, probe.held_out, {}};
    const std::vector<double> weights = probe_weights(probe, features);
    const DenseRows held_out = scaled(scaling, held_out_numbers);
    for (std::size_t i = 0; i < held_out.n; ++i) {
        double value = probe.intercept;
        for (std::size_t j = 0; j < d; ++j)
            value += weights[j] * held_out.row(i)[j];
        result.held_out.push_back(value);
    }
    return result;
}

}  // namespace pva::analysis
