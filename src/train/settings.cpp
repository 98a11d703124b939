// Kinds of SAEs, sense of settings, schedules.
#include "pva/train/settings.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "pva/core/error.h"

namespace pva::train {

namespace {
constexpr std::array<std::string_view, 3> kind_names = {"topk", "batchtopk", "jumprelu"};
}

std::string_view kind_name(Kind kind) { return kind_names.at(static_cast<std::size_t>(kind)); }

Kind kind_from_name(std::string_view name) {
    for (std::size_t i = 0; i < kind_names.size(); ++i) {
        if (name == kind_names[i]) return static_cast<Kind>(i);
    }
    throw UsageError("unknown kind of SAE '" + std::string(name) + "'; known: topk, batchtopk, jumprelu");
}

void check(const Settings& s) {
    const auto refuse = [](const std::string& what) { throw UsageError(what); };
    if (s.d < 1 || s.latents < 1) refuse("an SAE needs rows of at least one number and at least one latent");
    if (s.l0 < 1 || s.l0 > s.latents) refuse("an L0 of " + std::to_string(s.l0) + " with " + std::to_string(s.latents) + " latents: from 1 up to the number of latents is possible");
    if (s.micro_batches < 1 || s.batch < s.micro_batches || s.batch % s.micro_batches != 0)
        refuse("a batch of " + std::to_string(s.batch) + " rows cannot be cut into " + std::to_string(s.micro_batches) + " equal micro-batches");
    if (s.steps < 1) refuse("there are fewer tokens than one batch has rows; take a smaller --batch or more tokens");
    if (!(s.learning_rate > 0)) refuse("the learning rate must be above 0");
    if (s.kind == Kind::jumprelu && !(s.bandwidth > 0)) refuse("the bandwidth of the straight-through estimator must be above 0");
}

double learning_rate_at(const Settings& s, std::int64_t step) {
    double factor = 1;
    if (step < s.warm_up) factor = static_cast<double>(step + 1) / static_cast<double>(s.warm_up);
    const std::int64_t left = s.steps - step;
    if (left < s.decay) factor = std::min(factor, static_cast<double>(left) / static_cast<double>(s.decay));
    return s.learning_rate * factor;
}

double sparsity_at(const Settings& s, std::int64_t step) {
    if (step >= s.sparsity_warm_up) return s.sparsity;
    return s.sparsity * static_cast<double>(step + 1) / static_cast<double>(s.sparsity_warm_up);
}

double threshold_memory(const Settings& s) { return 1 - 1 / std::clamp(static_cast<double>(s.steps) / 50, 1.0, 100.0); }

double usual_learning_rate(std::size_t latents, std::int64_t steps) {
    const double few = std::clamp(std::sqrt(1e5 / static_cast<double>(std::max<std::int64_t>(1, steps))), 1.0, 10.0);
    return few * 2e-4 / std::sqrt(static_cast<double>(latents) / 16384.0);
}

}  // namespace pva::train
