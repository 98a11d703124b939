// Decoding by decoder rows: only those of active latents are read. A few rows are decoded each by itself. Of many rows
// the entries are walked by ascending latent, so that each decoder row is fetched from memory once for all of them.
// Either way an output is the sum of the same products in the same order.
#include <algorithm>
#include <cstring>

#include "pva/core/error.h"
#include "pva/kernels/linear.h"
#include "pva/sae/encode.h"

namespace pva::sae {

namespace {

constexpr std::size_t strip_columns = 128;  // outputs of one task
constexpr std::size_t most_rows = 512;      // of one task: their sums stay in the second-level cache
constexpr std::size_t few_rows = 8;         // up to here rows have few latents in common

using Vector = float __attribute__((vector_size(32)));
constexpr std::size_t lanes = sizeof(Vector) / sizeof(float);

/// One active latent of one row.
struct Entry {
    std::uint32_t latent;
    std::uint32_t row;  ///< within the task's rows
    float value;
};

/// sums[entry.row] += entry.value * W[entry.latent], columns [0, strip_columns) of W and of each row's sums.
#if defined(__x86_64__)
[[gnu::target_clones("avx2", "default")]]
#endif
void add_entries(const Entry* entries, std::size_t n, const float* W, std::size_t stride, float* sums) {
    constexpr std::size_t ahead = 12;  // entries fetched early: their decoder rows lie far apart
    constexpr std::size_t line = 16;
    for (std::size_t e = 0; e < n; ++e) {
        if (e + ahead < n) {
            const float* const next = W + entries[e + ahead].latent * stride;
            for (std::size_t k = 0; k < strip_columns; k += line)
                __builtin_prefetch(next + k);
        }
        const float* const w = W + entries[e].latent * stride;
        float* const sum = sums + entries[e].row * strip_columns;
        const float value = entries[e].value;
        for (std::size_t k = 0; k < strip_columns; k += lanes) {
            Vector weight, total;
            std::memcpy(&weight, w + k, sizeof(weight));
            std::memcpy(&total, sum + k, sizeof(total));
            total += value * weight;
            std::memcpy(sum + k, &total, sizeof(total));
        }
    }
}

/// The same for a last strip that is narrower.
void add_entries_of(const Entry* entries, std::size_t n, const float* W, std::size_t stride, std::size_t width,
                    float* sums) {
    for (std::size_t e = 0; e < n; ++e) {
        const float* const w = W + entries[e].latent * stride;
        float* const sum = sums + entries[e].row * strip_columns;
        for (std::size_t k = 0; k < width; ++k)
            sum[k] += entries[e].value * w[k];
    }
}

/// The entries of rows [first, last), by ascending latent where that pays; of one row always by ascending latent.
std::vector<Entry> entries_of(const CsrRows& codes, std::size_t first, std::size_t last) {
    const std::size_t begin = codes.row_offsets[first], end = codes.row_offsets[last];
    std::vector<Entry> entries(end - begin);
    if (last - first <= few_rows) {
        for (std::size_t row = first, e = 0; row < last; ++row) {
            for (std::size_t at = codes.row_offsets[row]; at < codes.row_offsets[row + 1]; ++at, ++e)
                entries[e] = {codes.latents[at], static_cast<std::uint32_t>(row - first), codes.values[at]};
        }
        return entries;
    }
    std::vector<std::uint32_t> place(codes.n_latents + std::size_t{1}, 0);
    for (std::size_t at = begin; at < end; ++at)
        ++place[codes.latents[at] + 1];
    for (std::size_t j = 1; j < place.size(); ++j)
        place[j] += place[j - 1];
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t at = codes.row_offsets[row]; at < codes.row_offsets[row + 1]; ++at)
            entries[place[codes.latents[at]]++] = {codes.latents[at], static_cast<std::uint32_t>(row - first),
                                                   codes.values[at]};
    }
    return entries;
}

}  // namespace

void check_decode(const Sae& sae, const CsrRows& codes, std::size_t n_out, std::size_t n_in) {
    const std::size_t n = codes.n_rows(), d = sae.d_out;
    if (codes.n_latents != sae.d_sae || n_out != n * d || codes.latents.size() != codes.values.size() ||
        codes.row_offsets.back() > codes.latents.size() || (!codes.norms.empty() && codes.norms.size() != n)) {
        throw InternalError("decode: codes of " + std::to_string(n) + " rows and " + std::to_string(codes.n_latents) +
                            " latents, " + std::to_string(n_out) + " outputs, an SAE of " +
                            std::to_string(sae.d_sae) + " latents and width " + std::to_string(d));
    }
    if (sae.has_skip && n_in != n * sae.d_in)
        throw InternalError("decode: W_skip needs the rows that were encoded");
    for (const std::uint32_t latent : codes.latents) {
        if (latent >= sae.d_sae) {
            throw InternalError("decode: latent " + std::to_string(latent) + " of an SAE with " +
                                std::to_string(sae.d_sae));
        }
    }
}

void decode(const Sae& sae, const CsrRows& codes, const kernels::ThreadPool& pool, std::span<float> out,
            std::span<const float> rows) {
    check_decode(sae, codes, out.size(), rows.size());
    const std::size_t n = codes.n_rows(), d = sae.d_out;
    const std::size_t strips = (d + strip_columns - 1) / strip_columns;
    for (std::size_t first = 0; first < n; first += most_rows) {
        const std::size_t last = std::min(first + most_rows, n);
        const std::vector<Entry> entries = entries_of(codes, first, last);
        pool.run(static_cast<std::int64_t>(strips), [&](std::int64_t task) {
            const std::size_t column = static_cast<std::size_t>(task) * strip_columns;
            const std::size_t width = std::min(strip_columns, d - column);
            std::vector<float> sums((last - first) * strip_columns, 0.0f);
            if (width == strip_columns) {
                add_entries(entries.data(), entries.size(), sae.W_dec.data() + column, d, sums.data());
            } else {
                add_entries_of(entries.data(), entries.size(), sae.W_dec.data() + column, d, width, sums.data());
            }
            for (std::size_t row = first; row < last; ++row) {
                const float* const sum = sums.data() + (row - first) * strip_columns;
                float* const y = out.data() + row * d + column;
                for (std::size_t k = 0; k < width; ++k)
                    y[k] = sum[k] + sae.b_dec[column + k];
                if (codes.norms.empty()) continue;
                for (std::size_t k = 0; k < width; ++k)
                    y[k] = y[k] * codes.norms[row].scale + codes.norms[row].shift;
            }
        });
    }
    if (sae.has_skip) {
        std::vector<float> skip(out.size());
        kernels::linear(pool, rows.data(), static_cast<std::int64_t>(n), static_cast<std::int64_t>(sae.d_in),
                        sae.W_skip.view(), nullptr, skip.data(), static_cast<std::int64_t>(d));
        for (std::size_t i = 0; i < out.size(); ++i)
            out[i] += skip[i];
    }
}

std::vector<float> decode(const Sae& sae, const CsrRows& codes, std::span<const float> rows) {
    const kernels::ThreadPool one(1);
    std::vector<float> out(codes.n_rows() * sae.d_out);
    decode(sae, codes, one, out, rows);
    return out;
}

}  // namespace pva::sae
