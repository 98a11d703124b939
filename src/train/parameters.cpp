// First values, sums of gradients, and the finished SAE.
#include "pva/train/parameters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/kernels/linear.h"

namespace pva::train {

namespace {

constexpr std::uint64_t initial_stream = 0x696e697469616cULL;  // "initial"

/// Two normal numbers of one block (Box and Muller).
void fill_normal(std::uint64_t seed, std::uint32_t latent, std::span<float> row) {
    PhiloxStream random(seed, initial_stream, latent);
    for (std::size_t i = 0; i < row.size(); i += 2) {
        const double radius = std::sqrt(-2.0 * std::log(1.0 - random.uniform()));
        const double angle = 2.0 * std::numbers::pi * random.uniform();
        row[i] = static_cast<float>(radius * std::cos(angle));
        if (i + 1 < row.size()) row[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
}

void make_unit(std::span<float> row) {
    double squares = 0;
    for (const float value : row) squares += static_cast<double>(value) * value;
    const double norm = std::max(std::sqrt(squares), 1e-12);
    for (float& value : row) value = static_cast<float>(value / norm);
}

/// The value above which `wanted` of the pre-activations of the sample lie.
float quantile_of_codes(const Settings& settings, const Parameters& parameters, std::span<const float> sample, std::size_t wanted, const kernels::ThreadPool& pool) {
    const std::size_t d = settings.d;
    const std::size_t n = sample.size() / d;
    std::vector<float> centred(sample.begin(), sample.end());
    for (std::size_t i = 0; i < centred.size(); ++i) centred[i] -= parameters.b_dec[i % d];
    const kernels::PackedMatrix packed(pool, parameters.encoder.data(), static_cast<std::int64_t>(settings.latents), static_cast<std::int64_t>(d), kernels::WeightType::float32);
    std::vector<float> h(n * settings.latents);
    kernels::linear(pool, centred.data(), static_cast<std::int64_t>(n), static_cast<std::int64_t>(d), packed.view(), nullptr, h.data(), static_cast<std::int64_t>(settings.latents));
    const std::size_t place = std::min(h.size() - 1, wanted * n);
    std::nth_element(h.begin(), h.begin() + static_cast<std::ptrdiff_t>(place), h.end(), std::greater<>());
    return h[place];
}

}  // namespace

Parameters initial_parameters(const Settings& settings, std::span<const float> sample, const kernels::ThreadPool& pool) {
    const std::size_t d = settings.d;
    const std::size_t n = sample.size() / d;
    if (n == 0) throw InternalError("initial_parameters wants a sample of rows");
    Parameters parameters;
    parameters.decoder.resize(settings.latents * d);
    pool.run(static_cast<std::int64_t>(settings.latents), [&](std::int64_t j) {
        const auto row = std::span(parameters.decoder).subspan(static_cast<std::size_t>(j) * d, d);
        fill_normal(settings.seed, static_cast<std::uint32_t>(j), row);
        make_unit(row);
    });
    parameters.encoder = parameters.decoder;
    parameters.b_enc.assign(settings.latents, 0.0F);
    parameters.threshold.assign(settings.latents, 0.0F);
    std::vector<double> mean(d, 0.0);
    for (std::size_t i = 0; i < sample.size(); ++i) mean[i % d] += sample[i];
    for (const double value : mean) parameters.b_dec.push_back(static_cast<float>(value / static_cast<double>(n)));
    if (settings.kind == Kind::jumprelu) {
        const auto part = sample.first(std::min<std::size_t>(n, 512) * d);
        const float start = quantile_of_codes(settings, parameters, part, std::min(2 * settings.l0, settings.latents / 2), pool);
        parameters.threshold.assign(settings.latents, std::max(start, static_cast<float>(settings.bandwidth)));
    }
    return parameters;
}

void StepSums::add(const StepSums& other) {
    squared_error += other.squared_error;
    squared_norm += other.squared_norm;
    revive_loss += other.revive_loss;
    sparsity_loss += other.sparsity_loss;
    smallest_active += other.smallest_active;
    n_active += other.n_active;
    n_rows += other.n_rows;
    row_sum.resize(std::max(row_sum.size(), other.row_sum.size()), 0.0);
    for (std::size_t i = 0; i < other.row_sum.size(); ++i) row_sum[i] += other.row_sum[i];
}

double StepSums::explained_variance() const {
    double mean_squares = 0;
    for (const double value : row_sum) mean_squares += value * value;
    const double variance = squared_norm - mean_squares / std::max(1.0, n_rows);
    return variance > 0 ? 1 - squared_error / variance : std::numeric_limits<double>::quiet_NaN();
}

Gradients::Gradients(std::size_t latents, std::size_t d) : encoder(latents * d), decoder(latents * d), small(3 * latents), b_dec(d) {}

void Gradients::clear(const kernels::ThreadPool& pool) {
    constexpr std::size_t piece = 1 << 16;
    const auto zero = [&](std::vector<float>& values) {
        pool.run(static_cast<std::int64_t>((values.size() + piece - 1) / piece), [&](std::int64_t task) {
            const std::size_t first = static_cast<std::size_t>(task) * piece;
            std::fill(values.begin() + static_cast<std::ptrdiff_t>(first), values.begin() + static_cast<std::ptrdiff_t>(std::min(values.size(), first + piece)), 0.0F);
        });
    };
    zero(encoder);
    zero(decoder);
    zero(small);
    zero(b_dec);
    sums = {};
}

void add(const kernels::ThreadPool& pool, Gradients& left, const Gradients& right) {
    constexpr std::size_t piece = 1 << 16;
    const auto sum = [&](std::vector<float>& into, const std::vector<float>& from) {
        pool.run(static_cast<std::int64_t>((into.size() + piece - 1) / piece), [&](std::int64_t task) {
            const std::size_t first = static_cast<std::size_t>(task) * piece;
            const std::size_t last = std::min(into.size(), first + piece);
            for (std::size_t i = first; i < last; ++i) into[i] += from[i];
        });
    };
    sum(left.encoder, right.encoder);
    sum(left.decoder, right.decoder);
    sum(left.small, right.small);
    sum(left.b_dec, right.b_dec);
    left.sums.add(right.sums);
}

sae::SavedSae finished(const Settings& settings, const Parameters& parameters, double scale, double batch_threshold) {
    sae::SavedSae saved;
    saved.architecture = settings.kind == Kind::topk ? sae::Architecture::topk : sae::Architecture::jumprelu;
    saved.d_in = settings.d;
    saved.d_sae = settings.latents;
    saved.k = settings.kind == Kind::topk ? settings.l0 : 0;
    saved.encoder = parameters.encoder;
    saved.W_dec = parameters.decoder;
    const auto unscaled = [&](const std::vector<float>& values) {
        std::vector<float> result;
        for (const float value : values) result.push_back(static_cast<float>(value / scale));
        return result;
    };
    saved.b_enc = unscaled(parameters.b_enc);
    saved.b_dec = unscaled(parameters.b_dec);
    if (settings.kind == Kind::jumprelu) saved.threshold = unscaled(parameters.threshold);
    if (settings.kind == Kind::batchtopk) saved.threshold.assign(settings.latents, static_cast<float>(batch_threshold / scale));
    return saved;
}

}  // namespace pva::train
