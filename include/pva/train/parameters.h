// The numbers of an SAE in training, and sums of gradients of the same shape.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pva/kernels/thread_pool.h"
#include "pva/sae/save.h"
#include "pva/train/settings.h"

namespace pva::train {

/// h = (x - b_dec) encoder^T + b_enc, x_hat = f decoder + b_dec, for unit rows x. Decoder rows have norm 1.
struct Parameters {
    std::vector<float> encoder;    ///< [latents, d]
    std::vector<float> decoder;    ///< [latents, d]
    std::vector<float> b_enc;      ///< [latents]
    std::vector<float> threshold;  ///< [latents] of jumprelu, above 0; of the others all 0
    std::vector<float> b_dec;      ///< [d]
};

/// Below this no threshold of jumprelu falls, unit.
inline constexpr float smallest_threshold = 1e-6F;

/// Random unit decoder rows (normal numbers, Philox keyed by the seed), the encoder the same, b_dec the mean of `sample`
/// [n, d] (unit rows), biases 0. jumprelu: one threshold for all, above which 2 l0 values a row of the sample lie.
Parameters initial_parameters(const Settings& settings, std::span<const float> sample, const kernels::ThreadPool& pool);

/// Sums over rows of one step; kept as float64 and integers.
struct StepSums {
    double squared_error = 0;   ///< of the reconstruction
    double squared_norm = 0;    ///< of the rows
    double revive_loss = 0;     ///< of the auxiliary loss, weighted
    double sparsity_loss = 0;   ///< of jumprelu, weighted; the mean over micro-batches
    double smallest_active = 0; ///< batchtopk: sum over micro-batches of the smallest value that was kept
    double n_active = 0;        ///< entries of the codes
    double n_rows = 0;
    std::vector<double> row_sum;  ///< [d]

    void add(const StepSums& other);
    /// 1 - error / variance of these rows; NaN where there is none.
    double explained_variance() const;
};

/// A sum of gradients of the mean loss over the batch, and how often each latent fired.
struct Gradients {
    std::vector<float> encoder;    ///< [latents, d]
    std::vector<float> decoder;    ///< [latents, d]
    std::vector<float> small;      ///< [latents, 3]: b_enc, threshold, number of rows in which the latent was active
    std::vector<float> b_dec;      ///< [d]
    StepSums sums;

    Gradients(std::size_t latents, std::size_t d);
    void clear(const kernels::ThreadPool& pool);
};

/// left += right, number by number.
void add(const kernels::ThreadPool& pool, Gradients& left, const Gradients& right);

/// The SAE for rows as the model has them (unit rows divided by `scale`), decoder rows still of norm 1: values, biases and
/// thresholds divided by scale. batchtopk becomes jumprelu with `batch_threshold` (unit) for all latents.
sae::SavedSae finished(const Settings& settings, const Parameters& parameters, double scale, double batch_threshold);

}  // namespace pva::train
