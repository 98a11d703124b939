// Adam on the latents of one rank.
#include "pva/train/state.h"

#include <algorithm>
#include <cmath>

namespace pva::train {

namespace {

constexpr double beta_1 = 0.9;
constexpr double beta_2 = 0.999;
constexpr double tiny = 1e-8;
constexpr std::size_t latents_of_task = 16;

/// What a step multiplies with, in float32.
struct AdamStep {
    float gradient;    ///< the clip's factor
    float rate;        ///< learning rate / (1 - beta_1^t)
    float correction;  ///< 1 / sqrt(1 - beta_2^t)
};

void adam(const AdamStep& step, std::span<const float> gradient, std::span<float> values, float* first, float* second) {
    constexpr auto b1 = static_cast<float>(beta_1);
    constexpr auto b2 = static_cast<float>(beta_2);
    constexpr auto c1 = static_cast<float>(1 - beta_1);
    constexpr auto c2 = static_cast<float>(1 - beta_2);
    constexpr auto eps = static_cast<float>(tiny);
    for (std::size_t i = 0; i < gradient.size(); ++i) {
        const float g = gradient[i] * step.gradient;
        first[i] = b1 * first[i] + c1 * g;
        second[i] = b2 * second[i] + c2 * g * g;
        values[i] -= step.rate * first[i] / (std::sqrt(second[i]) * step.correction + eps);
    }
}

double dot(std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

template <class Body>
void for_owned(const SaeState& state, const kernels::ThreadPool& pool, const Body& body) {
    const std::size_t n = state.last_latent - state.first_latent;
    pool.run(static_cast<std::int64_t>((n + latents_of_task - 1) / latents_of_task), [&](std::int64_t task) {
        const std::size_t first = static_cast<std::size_t>(task) * latents_of_task;
        for (std::size_t place = first; place < std::min(n, first + latents_of_task); ++place) body(place);
    });
}

}  // namespace

SaeState first_state(const Settings& settings, Parameters parameters, std::size_t first_latent, std::size_t last_latent) {
    SaeState state;
    state.settings = settings;
    state.parameters = std::move(parameters);
    state.dead.assign(settings.latents, 0);
    state.first_latent = first_latent;
    state.last_latent = last_latent;
    const std::size_t owned = last_latent - first_latent;
    state.encoder.resize(owned * settings.d);
    state.decoder.resize(owned * settings.d);
    state.small.resize(owned * 2);
    state.b_dec.resize(settings.d);
    state.since_fired.assign(owned, 0);
    return state;
}

std::vector<double> prepare_gradients(const SaeState& state, const OwnedGradients& gradients, std::span<float> decoder, const kernels::ThreadPool& pool) {
    const std::size_t d = state.settings.d;
    std::vector<double> squares(state.last_latent - state.first_latent, 0.0);
    for_owned(state, pool, [&](std::size_t place) {
        const auto row = std::span(state.parameters.decoder).subspan((state.first_latent + place) * d, d);
        const auto gradient = decoder.subspan(place * d, d);
        const auto along = static_cast<float>(dot(gradient, row));
        for (std::size_t i = 0; i < d; ++i) gradient[i] -= along * row[i];
        const auto encoder = gradients.encoder.subspan(place * d, d);
        const auto small = gradients.small.subspan(3 * place, 2);
        squares[place] = dot(encoder, encoder) + dot(gradient, gradient) + dot(small, small);
    });
    return squares;
}

void update(SaeState& state, const OwnedGradients& gradients, std::span<const float> b_dec, const StepSums& sums, double factor, const kernels::ThreadPool& pool) {
    const Settings& settings = state.settings;
    const std::size_t d = settings.d;
    const double t = static_cast<double>(state.step + 1);
    const double rate = learning_rate_at(settings, state.step);
    const AdamStep step{static_cast<float>(factor), static_cast<float>(rate / (1 - std::pow(beta_1, t))), static_cast<float>(1 / std::sqrt(1 - std::pow(beta_2, t)))};
    for_owned(state, pool, [&](std::size_t place) {
        const std::size_t latent = state.first_latent + place;
        const auto encoder = std::span(state.parameters.encoder).subspan(latent * d, d);
        const auto decoder = std::span(state.parameters.decoder).subspan(latent * d, d);
        adam(step, gradients.encoder.subspan(place * d, d), encoder, state.encoder.first.data() + place * d, state.encoder.second.data() + place * d);
        adam(step, gradients.decoder.subspan(place * d, d), decoder, state.decoder.first.data() + place * d, state.decoder.second.data() + place * d);
        const double norm = std::max(std::sqrt(dot(decoder, decoder)), 1e-12);
        for (float& value : decoder) value = static_cast<float>(value / norm);
        float values[2] = {state.parameters.b_enc[latent], state.parameters.threshold[latent]};
        const std::size_t n_small = settings.kind == Kind::jumprelu ? 2 : 1;
        adam(step, gradients.small.subspan(3 * place, n_small), std::span(values, n_small), state.small.first.data() + 2 * place, state.small.second.data() + 2 * place);
        state.parameters.b_enc[latent] = values[0];
        if (n_small == 2) state.parameters.threshold[latent] = std::max(values[1], smallest_threshold);
        std::int64_t& silent = state.since_fired[place];
        silent = gradients.small[3 * place + 2] > 0 ? 0 : silent + settings.batch;
        state.dead[latent] = settings.dead_after > 0 && silent >= settings.dead_after ? 1 : 0;
    });
    adam(step, b_dec, state.parameters.b_dec, state.b_dec.first.data(), state.b_dec.second.data());
    if (settings.kind == Kind::batchtopk) {
        const double smallest = sums.smallest_active / static_cast<double>(settings.micro_batches);
        const double memory = threshold_memory(settings);
        state.batch_threshold = state.step == 0 ? smallest : memory * state.batch_threshold + (1 - memory) * smallest;
    }
    ++state.step;
}

}  // namespace pva::train
