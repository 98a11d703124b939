// What is trained and how: one SAE's shape and recipe, and what changes from step to step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pva::train {

/// topk: Gao et al. 2024 (arXiv 2406.04093). batchtopk: Bussmann et al. 2024 (arXiv 2412.06410), the batch being a
/// micro-batch. jumprelu: Rajamanoharan et al. 2024 (arXiv 2407.14435), with its loss for a target L0.
enum class Kind : std::uint8_t { topk, batchtopk, jumprelu };

std::string_view kind_name(Kind kind);
/// Errors: UsageError listing the names.
Kind kind_from_name(std::string_view name);

/// Rows are multiplied by one constant before they come here, so that their mean norm is 1; "unit" below is that.
struct Settings {
    Kind kind = Kind::topk;
    std::size_t d = 0;       ///< width of the rows
    std::size_t latents = 0;
    std::size_t l0 = 0;      ///< k of topk and batchtopk, target of jumprelu: active latents a row
    std::uint64_t seed = 0;

    std::int64_t steps = 0;         ///< optimizer steps of the whole training
    std::int64_t batch = 0;         ///< rows of a step
    std::int64_t micro_batches = 1; ///< of equal size, numbered from 0; gradients are summed in the order of sum_tree.h
    double learning_rate = 0;       ///< of Adam (beta 0.9, 0.999)
    std::int64_t warm_up = 0;       ///< steps of linear warm-up of the learning rate
    std::int64_t decay = 0;         ///< last steps, over which it falls linearly to 0
    double clip = 1;                ///< largest norm of the whole gradient; 0: none

    double sparsity = 1;               ///< jumprelu: lambda of lambda (L0 / target - 1)^2
    std::int64_t sparsity_warm_up = 0; ///< steps over which lambda grows linearly
    double bandwidth = 0;              ///< jumprelu: width of the straight-through estimator's rectangle, unit

    std::int64_t dead_after = 0;  ///< rows without firing after which a latent counts as dead
    double revive = 0;            ///< weight of the auxiliary loss for dead latents; 0: none
    std::size_t revive_k = 0;     ///< dead latents a row that share in it
};

/// Errors: UsageError for numbers that make no sense together.
void check(const Settings& settings);

/// Learning rate of a step, counted from 0.
double learning_rate_at(const Settings& settings, std::int64_t step);
/// lambda of a step.
double sparsity_at(const Settings& settings, std::int64_t step);
/// batchtopk: what the moving average of the threshold keeps in a step. It looks back over a fiftieth of the steps, at most
/// 100: in a short training a longer look would see the values of an SAE that was worse.
double threshold_memory(const Settings& settings);
/// The usual learning rate for a width, 2e-4 / sqrt(latents / 16384) (Gao et al. 2024, as dictionary_learning has it), times
/// sqrt(100000 / steps) between 1 and 10: trainings of few steps gain from larger ones (docs/train_sae.md has figures).
double usual_learning_rate(std::size_t latents, std::int64_t steps);

}  // namespace pva::train
