// Plain scores that a latent has to beat: directions in the residual stream that need no SAE, and what the problem alone
// tells.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pva/analysis/logistic.h"

namespace pva::analysis {

/// One score of the rows of a part and of held-out rows.
struct BaselineScores {
    std::string name;
    std::int32_t layer = -1;           ///< -1: of no layer
    std::int32_t index = -1;           ///< dimension or number of the direction, where one was picked out of many
    double C = 0;                      ///< strength of the fit on all rows of the part; 0 where nothing is fitted
    std::vector<std::uint32_t> folds;  ///< fold of each row where the score is fitted: its value is from a fit without it
    std::vector<double> part;          ///< [rows of the part]
    std::vector<double> held_out;      ///< [held-out rows], by the fit on all rows of the part
};

/// What a score says of both sets of rows. AUROCs are for the class that it speaks for on the part: of fitted scores right
/// programs, of others the side their AUROC is on.
struct BaselineFigures {
    int sign = 1;            ///< -1: a low score speaks for right programs
    double auroc = 0.5;      ///< on the part; of fitted scores within folds, on rows that the fit has not seen
    double low = 0;          ///< 95 %
    double high = 1;
    double held_out_auroc = 0.5;  ///< NaN where a class is missing there
    double held_out_low = 0;      ///< NaN with fewer than two rows of a class
    double held_out_high = 1;
};
BaselineFigures baseline_figures(const BaselineScores& scores, std::span<const std::uint8_t> labels,
                                 std::span<const std::uint8_t> held_out_labels);

struct BaselineSettings {
    ProbeSettings probe;
    std::uint32_t random_directions = 100;
};

/// Random directions of a layer on the part: how far their AUROCs are from one half.
struct RandomSpread {
    double mean = 0;
    double share_95 = 0;  ///< 95 % are nearer
    double largest = 0;
};

struct LayerBaselines {
    std::vector<BaselineScores> scores;  ///< "difference of means", "logistic probe", "best dimension", "best random direction"
    RandomSpread random;
};

/// Baselines of one layer's rows [n, d], float32. Difference of means: projection on mean(right) - mean(wrong). Logistic
/// probe: nested_probe on features scaled by the part. Best dimension: the raw dimension with the AUROC farthest from 1/2
/// on the part. Random directions: Gaussian, from the Philox stream of the layer. InputError for fewer than two rows of a
/// class.
LayerBaselines layer_baselines(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels,
                               std::span<const float> held_out_rows, std::int32_t layer, const BaselineSettings& settings);

/// A direction: the score of a row x is intercept + sum of weight times x. A high score speaks for right programs.
struct LinearScore {
    std::vector<double> weights;  ///< [d]
    double intercept = 0;
};
/// Score of each row of [n, d].
std::vector<double> linear_scores(const LinearScore& score, std::span<const float> rows);
/// mean(right) - mean(wrong) over rows [n, d]. InputError where a class is missing.
LinearScore fit_difference_of_means(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels);
/// The logistic probe of layer_baselines and numbers_baseline on all rows with a strength that is known, as a direction of
/// the rows as they are. InputError where a class is missing.
LinearScore fit_probe(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels, double C);
/// Both directions of a layer with figures to compare layers by: AUROC within the folds of stream `layer + 1`. The probe's
/// strength is chosen in the same folds (not nested), so its figure is a little flattered.
struct LayerDirections {
    LinearScore difference_of_means;
    double difference_of_means_auroc = 0.5;
    LinearScore probe;
    double probe_auroc = 0.5;
};
LayerDirections layer_directions(std::span<const float> rows, std::size_t d, std::span<const std::uint8_t> labels,
                                 std::int32_t layer, const ProbeSettings& settings);

/// Logistic regression on the words and pairs of words of texts (fit_bag_of_words, C = 1): "words of the text".
BaselineScores words_baseline(std::span<const std::string> texts, std::span<const std::uint8_t> labels,
                              std::span<const std::string> held_out_texts, const ProbeSettings& settings);

/// Nested logistic probe on a few plain numbers of each row [n, d].
BaselineScores numbers_baseline(const std::string& name, std::span<const float> numbers, std::size_t d,
                                std::span<const std::uint8_t> labels, std::span<const float> held_out_numbers,
                                const ProbeSettings& settings);

}  // namespace pva::analysis
