// The training step's one costly part: losses and gradients of a micro-batch.
//
// Loss of a batch of B unit rows: mean |x - x_hat|^2
//   + jumprelu: lambda * mean over micro-batches of (L0 / target - 1)^2, L0 the micro-batch's mean;
//     thresholds by the straight-through estimator with a rectangle of width `bandwidth` (arXiv 2407.14435, eqs. 11, 12 and
//     the target form of its appendix), encoder and bias through active latents only, as there;
//   + topk, batchtopk: revive * |e - e_hat|^2 / |e|^2, e the micro-batch's error (without gradient), e_hat what the
//     revive_k largest positive pre-activations of dead latents make of it (AuxK of arXiv 2406.04093);
//   + jumprelu with dead latents: revive * mean (threshold - h) of each, of which bias and threshold get the gradient, so
//     that they fall and rise until the latent fires (the pre-activation loss of Anthropic, January 2025, without its
//     part for the encoder).
#pragma once

#include <cstdint>
#include <span>

#include "pva/kernels/thread_pool.h"
#include "pva/sae/encode.h"
#include "pva/train/parameters.h"
#include "pva/train/settings.h"

namespace pva::train {

/// What a step's micro-batches share.
struct StepState {
    double sparsity = 0;                ///< lambda now
    double batch_threshold = 0;         ///< batchtopk: where to look for the smallest kept value first; no result depends on it
    std::span<const std::uint8_t> dead; ///< [latents], 1 for dead ones; empty: none
};

/// Parameters in the order in which the kernels read them; one for all micro-batches of a step.
class Packed {
  public:
    Packed(const Settings& settings, const Parameters& parameters, const StepState& state, const kernels::ThreadPool& pool);

    /// Adds the gradients of one micro-batch of unit rows [n, d], n = batch / micro_batches, to `sum`. Float32, by the
    /// row-invariant kernels and sums in the order of rows: the same bits for any number of threads. Only active entries
    /// of the codes are touched after the encoder. Errors: InputError when a pre-activation is not finite (diverged).
    void add_gradients(std::span<const float> rows, const kernels::ThreadPool& pool, Gradients& sum) const;

  private:
    sae::CsrRows encode_batch_topk(std::span<const float> rows, std::size_t n, const kernels::ThreadPool& pool) const;
    void add_revival(std::span<const float> rows, std::span<const float> error, double squared_error, const kernels::ThreadPool& pool, std::vector<float>& b_enc, Gradients& sum) const;

    const Settings& settings_;
    const Parameters& parameters_;
    StepState state_;
    sae::Sae sae_;
    sae::Sae dead_;                           ///< the dead latents alone
    std::vector<std::uint32_t> dead_latents_; ///< their indices
};

/// The same by automatic differentiation of dense float64 tensors (libtorch), written as the formulas stand: what
/// add_gradients is tested against. Slow.
void add_gradients_reference(const Settings& settings, const Parameters& parameters, const StepState& state, std::span<const float> rows, Gradients& sum);

}  // namespace pva::train
