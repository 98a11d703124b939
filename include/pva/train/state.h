// An SAE in the middle of its training, and the optimizer's step for the latents that a rank owns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/kernels/thread_pool.h"
#include "pva/train/parameters.h"
#include "pva/train/settings.h"

namespace pva::train {

/// First and second moments of Adam.
struct Moments {
    std::vector<float> first;
    std::vector<float> second;
    void resize(std::size_t n) {
        first.assign(n, 0.0F);
        second.assign(n, 0.0F);
    }
};

/// Parameters, dead flags and the scalars are the same on every rank; moments and counters belong to the latents
/// [first_latent, last_latent) that this rank owns. b_dec is updated by all alike.
struct SaeState {
    Settings settings;
    Parameters parameters;
    std::vector<std::uint8_t> dead;  ///< [latents]
    double batch_threshold = 0;      ///< batchtopk: moving average of the smallest value kept
    std::int64_t step = 0;           ///< steps done

    std::size_t first_latent = 0;
    std::size_t last_latent = 0;
    Moments encoder;                        ///< [owned, d]
    Moments decoder;                        ///< [owned, d]
    Moments small;                          ///< [owned, 2]: b_enc, threshold
    Moments b_dec;                          ///< [d]
    std::vector<std::int64_t> since_fired;  ///< [owned] rows
};

SaeState first_state(const Settings& settings, Parameters parameters, std::size_t first_latent, std::size_t last_latent);

/// The summed gradients of the owned latents.
struct OwnedGradients {
    std::span<const float> encoder;  ///< [owned, d]
    std::span<const float> decoder;  ///< [owned, d]
    std::span<const float> small;    ///< [owned, 3]
};

/// Takes from each decoder row's gradient what would only change its norm. Then, of each owned latent, the sum of squares
/// of its gradients, float64, by ascending index.
std::vector<double> prepare_gradients(const SaeState& state, const OwnedGradients& gradients, std::span<float> decoder, const kernels::ThreadPool& pool);

/// One step of Adam for the owned latents and b_dec with gradients times `factor`; decoder rows are made unit again,
/// thresholds kept above 0; counters and dead flags of the owned latents follow. Then the step counts.
void update(SaeState& state, const OwnedGradients& gradients, std::span<const float> b_dec, const StepSums& sums, double factor, const kernels::ThreadPool& pool);

}  // namespace pva::train
