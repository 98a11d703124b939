// Sparse gradients: one dense product (the encoder), then only active entries, latent by latent, rows ascending.
#include "pva/train/gradients.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "pva/core/error.h"

namespace pva::train {

namespace {

constexpr std::size_t latents_of_task = 16;

using Lanes = float __attribute__((vector_size(32)));
constexpr std::size_t lanes = 8;

/// One latent's entries: rows ascending, values above 0.
struct Entries {
    const std::uint32_t* rows;
    const float* values;
    std::size_t n;
};

/// What an entry's gradient is made of.
struct Factors {
    const float* error;     ///< [n, d], the loss's gradient with respect to a reconstruction is `slope` times it
    const float* input;     ///< [n, d], what the encoder reads
    std::size_t d;
    float slope;
    float threshold = 0;    ///< an entry is active above it
    float bandwidth = 0;    ///< 0: no gradient for the threshold
    float sparsity = 0;     ///< of the threshold, for an entry in the rectangle
};

struct LatentSums {
    float b_enc = 0;
    float threshold = 0;
    float active = 0;
};

/// a . b: eight chains of every eighth product, in pairs of vectors, then the lanes from the left; rest from the left.
#if defined(__x86_64__)
[[gnu::target_clones("avx2", "default")]]
#endif
float dot(const float* a, const float* b, std::size_t d) {
    Lanes even{};
    Lanes odd{};
    std::size_t i = 0;
    for (; i + 2 * lanes <= d; i += 2 * lanes) {
        Lanes x, y;
        std::memcpy(&x, a + i, sizeof(x));
        std::memcpy(&y, b + i, sizeof(y));
        even += x * y;
        std::memcpy(&x, a + i + lanes, sizeof(x));
        std::memcpy(&y, b + i + lanes, sizeof(y));
        odd += x * y;
    }
    even += odd;
    float sum = 0;
    for (std::size_t l = 0; l < lanes; ++l) sum += even[l];
    for (; i < d; ++i) sum += a[i] * b[i];
    return sum;
}

/// y += factor * x.
#if defined(__x86_64__)
[[gnu::target_clones("avx2", "default")]]
#endif
void add_scaled(float* y, float factor, const float* x, std::size_t d) {
    std::size_t i = 0;
    for (; i + lanes <= d; i += lanes) {
        Lanes a, b;
        std::memcpy(&a, y + i, sizeof(a));
        std::memcpy(&b, x + i, sizeof(b));
        a += b * factor;
        std::memcpy(y + i, &a, sizeof(a));
    }
    for (; i < d; ++i) y[i] += x[i] * factor;
}

LatentSums add_latent(const Entries& entries, const Factors& factors, const float* decoder_row, float* decoder_sum, float* encoder_sum) {
    LatentSums sums;
    const std::size_t d = factors.d;
    for (std::size_t e = 0; e < entries.n; ++e) {
        const float f = entries.values[e];
        const float* const error = factors.error + entries.rows[e] * d;
        const float slope_of_code = factors.slope * dot(error, decoder_row, d);
        if (f > factors.threshold) {
            add_scaled(decoder_sum, f * factors.slope, error, d);
            add_scaled(encoder_sum, slope_of_code, factors.input + entries.rows[e] * d, d);
            sums.b_enc += slope_of_code;
            sums.active += 1;
        }
        if (factors.bandwidth > 0 && std::abs(f - factors.threshold) < factors.bandwidth / 2)
            sums.threshold -= (factors.threshold / factors.bandwidth) * slope_of_code + factors.sparsity;
    }
    return sums;
}

/// Codes by latent.
struct ByLatent {
    std::vector<std::size_t> offsets;  ///< [latents + 1]
    std::vector<std::uint32_t> rows;
    std::vector<float> values;

    explicit ByLatent(const sae::CsrRows& codes) : offsets(codes.n_latents + 1, 0), rows(codes.latents.size()), values(codes.latents.size()) {
        for (const std::uint32_t latent : codes.latents) ++offsets[latent + 1];
        for (std::size_t j = 1; j < offsets.size(); ++j) offsets[j] += offsets[j - 1];
        std::vector<std::size_t> at(offsets.begin(), offsets.end() - 1);
        for (std::size_t row = 0; row < codes.n_rows(); ++row) {
            for (std::uint64_t e = codes.row_offsets[row]; e < codes.row_offsets[row + 1]; ++e) {
                const std::size_t place = at[codes.latents[e]]++;
                rows[place] = static_cast<std::uint32_t>(row);
                values[place] = codes.values[e];
            }
        }
    }
    Entries of(std::size_t latent) const {
        return {rows.data() + offsets[latent], values.data() + offsets[latent], offsets[latent + 1] - offsets[latent]};
    }
};

/// Calls body(j) for every latent, some of them a task.
template <class Body>
void for_latents(const kernels::ThreadPool& pool, std::size_t latents, const Body& body) {
    pool.run(static_cast<std::int64_t>((latents + latents_of_task - 1) / latents_of_task), [&](std::int64_t task) {
        const std::size_t first = static_cast<std::size_t>(task) * latents_of_task;
        for (std::size_t j = first; j < std::min(latents, first + latents_of_task); ++j) body(j);
    });
}

double squares(std::span<const float> row) {
    double sum = 0;
    for (const float value : row) sum += static_cast<double>(value) * value;
    return sum;
}

/// Keeps the n_kept largest entries; of equal ones those of the lower row, then the lower latent. Returns the smallest kept.
float keep_largest(sae::CsrRows& codes, std::size_t n_kept) {
    std::vector<float> values(codes.values);
    if (values.size() <= n_kept) return values.empty() ? 0.0F : *std::min_element(values.begin(), values.end());
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n_kept - 1), values.end(), std::greater<>());
    const float bound = values[n_kept - 1];
    std::size_t equal_allowed = n_kept - static_cast<std::size_t>(std::count_if(codes.values.begin(), codes.values.end(), [&](float v) { return v > bound; }));
    std::size_t kept = 0;
    std::vector<std::uint64_t> offsets = {0};
    for (std::size_t row = 0; row < codes.n_rows(); ++row) {
        for (std::uint64_t e = codes.row_offsets[row]; e < codes.row_offsets[row + 1]; ++e) {
            if (codes.values[e] < bound) continue;
            if (codes.values[e] == bound) {
                if (equal_allowed == 0) continue;
                --equal_allowed;
            }
            codes.latents[kept] = codes.latents[e];
            codes.values[kept++] = codes.values[e];
        }
        offsets.push_back(kept);
    }
    codes.latents.resize(kept);
    codes.values.resize(kept);
    codes.row_offsets = std::move(offsets);
    return bound;
}

}  // namespace

Packed::Packed(const Settings& settings, const Parameters& parameters, const StepState& state, const kernels::ThreadPool& pool)
    : settings_(settings), parameters_(parameters), state_(state) {
    sae_.architecture = settings.kind == Kind::topk ? sae::Architecture::topk : sae::Architecture::jumprelu;
    sae_.d_in = settings.d;
    sae_.d_out = settings.d;
    sae_.d_sae = settings.latents;
    sae_.k = settings.kind == Kind::topk ? settings.l0 : 0;
    sae_.source = "the SAE in training (has it diverged? Take a smaller --learning-rate)";
    sae_.W_enc = kernels::PackedMatrix(pool, parameters.encoder.data(), static_cast<std::int64_t>(settings.latents), static_cast<std::int64_t>(settings.d), kernels::WeightType::float32);
    sae_.b_enc = parameters.b_enc;
    sae_.W_dec = parameters.decoder;
    sae_.b_dec = parameters.b_dec;
    sae_.b_in = parameters.b_dec;
    if (settings.kind == Kind::jumprelu) {
        for (const float threshold : parameters.threshold) sae_.threshold.push_back(std::max(0.0F, threshold - static_cast<float>(settings.bandwidth) / 2));
    }
    for (std::size_t j = 0; j < state.dead.size(); ++j) {
        if (state.dead[j] != 0) dead_latents_.push_back(static_cast<std::uint32_t>(j));
    }
    if (dead_latents_.empty() || settings.revive <= 0 || settings.kind == Kind::jumprelu) return;
    dead_.architecture = sae::Architecture::topk;
    dead_.d_in = settings.d;
    dead_.d_out = settings.d;
    dead_.d_sae = dead_latents_.size();
    dead_.k = std::min(settings.revive_k, dead_latents_.size());
    dead_.source = sae_.source;
    dead_.b_dec.assign(settings.d, 0.0F);
    dead_.b_in = parameters.b_dec;
    std::vector<float> encoder;
    for (const std::uint32_t latent : dead_latents_) {
        const auto first = static_cast<std::ptrdiff_t>(latent * settings.d);
        const auto last = first + static_cast<std::ptrdiff_t>(settings.d);
        encoder.insert(encoder.end(), parameters.encoder.begin() + first, parameters.encoder.begin() + last);
        dead_.W_dec.insert(dead_.W_dec.end(), parameters.decoder.begin() + first, parameters.decoder.begin() + last);
        dead_.b_enc.push_back(parameters.b_enc[latent]);
    }
    dead_.W_enc = kernels::PackedMatrix(pool, encoder.data(), static_cast<std::int64_t>(dead_.d_sae), static_cast<std::int64_t>(settings.d), kernels::WeightType::float32);
}

sae::CsrRows Packed::encode_batch_topk(std::span<const float> rows, std::size_t n, const kernels::ThreadPool& pool) const {
    // Whatever the first cut is: once enough values lie above it, the largest are the largest of all.
    sae::Sae with_cut = sae_;  // the packed matrix is shared
    const std::size_t wanted = n * settings_.l0;
    for (auto cut = static_cast<float>(0.7 * state_.batch_threshold);; cut = cut > 1e-4F ? cut / 2 : 0.0F) {
        with_cut.threshold.assign(settings_.latents, cut);
        sae::CsrRows codes = sae::encode(with_cut, rows, n, pool);
        if (codes.values.size() >= wanted || cut == 0.0F) return codes;
    }
}

void Packed::add_gradients(std::span<const float> rows, const kernels::ThreadPool& pool, Gradients& sum) const {
    const std::size_t d = settings_.d;
    const std::size_t n = rows.size() / d;
    if (n * d != rows.size() || static_cast<std::int64_t>(n) * settings_.micro_batches != settings_.batch) throw InternalError("a micro-batch of another size");
    const bool jump = settings_.kind == Kind::jumprelu;
    sae::CsrRows codes = settings_.kind == Kind::batchtopk ? encode_batch_topk(rows, n, pool) : sae::encode(sae_, rows, n, pool);
    if (settings_.kind == Kind::batchtopk) sum.sums.smallest_active += keep_largest(codes, n * settings_.l0);
    const ByLatent by_latent(codes);

    // Reconstruction by the active entries alone: jumprelu's codes hold those in the rectangle below the threshold too.
    std::size_t n_active = codes.values.size();
    if (jump) {
        sae::CsrRows active;
        active.n_latents = codes.n_latents;
        for (std::size_t row = 0; row < n; ++row) {
            for (std::uint64_t e = codes.row_offsets[row]; e < codes.row_offsets[row + 1]; ++e) {
                if (!(codes.values[e] > parameters_.threshold[codes.latents[e]])) continue;
                active.latents.push_back(codes.latents[e]);
                active.values.push_back(codes.values[e]);
            }
            active.row_offsets.push_back(active.latents.size());
        }
        codes = std::move(active);
        n_active = codes.values.size();
    }
    std::vector<float> error(rows.size());
    sae::decode(sae_, codes, pool, error);
    std::vector<float> input(rows.size());
    std::vector<double> of_row(2 * n);
    pool.run(static_cast<std::int64_t>(n), [&](std::int64_t task) {
        const auto row = static_cast<std::size_t>(task);
        for (std::size_t i = row * d; i < (row + 1) * d; ++i) {
            error[i] = rows[i] - error[i];
            input[i] = rows[i] - parameters_.b_dec[i - row * d];
        }
        of_row[2 * row] = squares(std::span(error).subspan(row * d, d));
        of_row[2 * row + 1] = squares(rows.subspan(row * d, d));
    });
    StepSums here;
    here.row_sum.assign(d, 0.0);
    std::vector<float> error_sum(d, 0.0F);
    for (std::size_t row = 0; row < n; ++row) {
        here.squared_error += of_row[2 * row];
        here.squared_norm += of_row[2 * row + 1];
        for (std::size_t i = 0; i < d; ++i) {
            here.row_sum[i] += rows[row * d + i];
            error_sum[i] += error[row * d + i];
        }
    }
    here.n_rows = static_cast<double>(n);
    here.n_active = static_cast<double>(n_active);

    Factors factors{error.data(), input.data(), d, static_cast<float>(-2.0 / static_cast<double>(settings_.batch))};
    if (jump) {
        const double target = static_cast<double>(settings_.l0);
        const double excess = here.n_active / here.n_rows / target - 1;
        const double share = 1.0 / static_cast<double>(settings_.micro_batches);
        here.sparsity_loss = share * state_.sparsity * excess * excess;
        factors.bandwidth = static_cast<float>(settings_.bandwidth);
        factors.sparsity = static_cast<float>(share * state_.sparsity * 2 * excess / target / here.n_rows / settings_.bandwidth);
    }
    std::vector<float> b_enc(settings_.latents, 0.0F);
    for_latents(pool, settings_.latents, [&](std::size_t j) {
        const Entries entries = by_latent.of(j);
        if (entries.n == 0) return;
        Factors own = factors;
        own.threshold = jump ? parameters_.threshold[j] : 0.0F;
        const LatentSums sums = add_latent(entries, own, parameters_.decoder.data() + j * d, sum.decoder.data() + j * d, sum.encoder.data() + j * d);
        b_enc[j] = sums.b_enc;
        sum.small[3 * j + 1] += sums.threshold;
        sum.small[3 * j + 2] += sums.active;
    });
    sum.sums.add(here);
    if (!dead_latents_.empty() && settings_.revive > 0) add_revival(rows, error, here.squared_error, pool, b_enc, sum);

    // b_dec is added to every reconstruction and taken from every input.
    for (std::size_t j = 0; j < settings_.latents; ++j) sum.small[3 * j] += b_enc[j];
    constexpr std::size_t columns = 64;
    pool.run(static_cast<std::int64_t>((d + columns - 1) / columns), [&](std::int64_t task) {
        const std::size_t first = static_cast<std::size_t>(task) * columns;
        const std::size_t width = std::min(columns, d - first);
        float taken[columns] = {};
        for (std::size_t j = 0; j < settings_.latents; ++j) {
            if (b_enc[j] != 0.0F) add_scaled(taken, b_enc[j], parameters_.encoder.data() + j * d + first, width);
        }
        for (std::size_t i = 0; i < width; ++i) sum.b_dec[first + i] += factors.slope * error_sum[first + i] - taken[i];
    });
}

void Packed::add_revival(std::span<const float> rows, std::span<const float> error, double squared_error, const kernels::ThreadPool& pool, std::vector<float>& b_enc, Gradients& sum) const {
    const std::size_t d = settings_.d;
    const std::size_t n = rows.size() / d;
    const double share = settings_.revive / static_cast<double>(settings_.micro_batches);
    if (settings_.kind == Kind::jumprelu) {
        for (const std::uint32_t latent : dead_latents_) {
            sum.small[3 * latent] -= static_cast<float>(share);
            sum.small[3 * latent + 1] += static_cast<float>(share);
        }
        return;
    }
    if (!(squared_error > 0)) return;
    const sae::CsrRows codes = sae::encode(dead_, rows, n, pool);
    if (codes.values.empty()) return;
    std::vector<float> missed(rows.size());
    sae::decode(dead_, codes, pool, missed);
    std::vector<float> input(rows.size());
    std::vector<double> of_row(n);
    pool.run(static_cast<std::int64_t>(n), [&](std::int64_t task) {
        const auto row = static_cast<std::size_t>(task);
        for (std::size_t i = row * d; i < (row + 1) * d; ++i) {
            missed[i] = error[i] - missed[i];
            input[i] = rows[i] - parameters_.b_dec[i - row * d];
        }
        of_row[row] = squares(std::span(missed).subspan(row * d, d));
    });
    double total = 0;
    for (const double value : of_row) total += value;
    sum.sums.revive_loss += share * total / squared_error;
    const ByLatent by_latent(codes);
    const Factors factors{missed.data(), input.data(), d, static_cast<float>(-2.0 * share / squared_error)};
    for_latents(pool, dead_latents_.size(), [&](std::size_t place) {
        const Entries entries = by_latent.of(place);
        if (entries.n == 0) return;
        const std::size_t j = dead_latents_[place];
        const LatentSums sums = add_latent(entries, factors, parameters_.decoder.data() + j * d, sum.decoder.data() + j * d, sum.encoder.data() + j * d);
        b_enc[j] += sums.b_enc;
    });
}

}  // namespace pva::train
