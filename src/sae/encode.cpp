// Encoding by a loop of our own: a library's matrix product may choose its order of sums by the number of rows, and
// then a code would depend on its neighbours. Multiplication and addition stay separate (-ffp-contract=off), so that
// every vector width gives the same bits.
#include "pva/sae/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "pva/core/error.h"

namespace pva::sae {

namespace {

constexpr std::size_t chain_length = 256;  // inputs per chain; shorter chains lose less to rounding
constexpr std::size_t strip = 16;          // latents that one pass over a chain keeps in registers, for 4 rows
constexpr std::size_t tile = 64;           // latents packed at once: 256 contiguous bytes of each row of W_enc
constexpr std::size_t block = 4;           // rows per pass
constexpr std::size_t group = 128;         // rows that share one walk over W_enc

using Vector = float __attribute__((vector_size(32)));
constexpr std::size_t vectors = strip * sizeof(float) / sizeof(Vector);

/// Adds one chain of `n_inputs` products for 4 rows and one strip of latents to `total`.
/// x[r] points at the inputs of row r, `panel` is [n_inputs, strip], total[r] is the strip of row r.
#if defined(__x86_64__)
[[gnu::target_clones("avx2", "default")]]
#endif
void add_chain(const float* const* x, std::size_t n_inputs, const float* panel, float* const* total) {
    Vector sum[block][vectors] = {};
    for (std::size_t k = 0; k < n_inputs; ++k) {
        for (std::size_t v = 0; v < vectors; ++v) {
            Vector weight;
            std::memcpy(&weight, panel + k * strip + v * (strip / vectors), sizeof(weight));
            for (std::size_t r = 0; r < block; ++r)
                sum[r][v] += x[r][k] * weight;
        }
    }
    for (std::size_t r = 0; r < block; ++r) {
        for (std::size_t v = 0; v < vectors; ++v) {
            float* const at = total[r] + v * (strip / vectors);
            Vector value;
            std::memcpy(&value, at, sizeof(value));
            value += sum[r][v];
            std::memcpy(at, &value, sizeof(value));
        }
    }
}

/// Copies inputs [k0, k0 + n_inputs) of latents [j0, j0 + tile) as strips [tile / strip][n_inputs][strip]; zeros beyond
/// the last latent.
void pack(const Sae& sae, std::size_t k0, std::size_t n_inputs, std::size_t j0, float* panel) {
    const std::size_t n_latents = std::min(tile, sae.d_sae - j0);
    if (n_latents < tile) std::fill_n(panel, tile * n_inputs, 0.0f);
    for (std::size_t k = 0; k < n_inputs; ++k) {
        const float* const from = sae.W_enc.data() + (k0 + k) * sae.d_sae + j0;
        for (std::size_t s = 0; s * strip < n_latents; ++s) {
            std::copy_n(from + s * strip, std::min(strip, n_latents - s * strip), panel + (s * n_inputs + k) * strip);
        }
    }
}

struct RowCode {
    std::vector<std::uint32_t> latents;
    std::vector<float> values;
};

[[noreturn]] void refuse_row(const Sae& sae, std::size_t row, const std::string& what) {
    throw InputError("encoding with " + sae.source + ": row " + std::to_string(row) + ": " + what +
                     ". Check the activations that were stored for this row.");
}

/// Appends the codes of rows [row0, row0 + n) to `codes`.
void encode_group(const Sae& sae, const float* rows, std::size_t row0, std::size_t n, CsrRows& codes) {
    std::vector<RowCode> found(n);
    std::vector<float> panel(tile * chain_length);
    std::vector<float> total((n + block) * tile);  // the spare block takes what rows that fill up a block would write
    for (std::size_t j0 = 0; j0 < sae.d_sae; j0 += tile) {
        std::fill(total.begin(), total.end(), 0.0f);
        for (std::size_t k0 = 0; k0 < sae.d_in; k0 += chain_length) {
            const std::size_t n_inputs = std::min(chain_length, sae.d_in - k0);
            pack(sae, k0, n_inputs, j0, panel.data());
            for (std::size_t s = 0; s < tile / strip; ++s) {
                for (std::size_t i0 = 0; i0 < n; i0 += block) {
                    const float* x[block];
                    float* sums[block];
                    for (std::size_t r = 0; r < block; ++r) {
                        const std::size_t row = row0 + std::min(i0 + r, n - 1);
                        x[r] = rows + row * sae.d_in + k0;
                        sums[r] = total.data() + (i0 + r) * tile + s * strip;
                    }
                    add_chain(x, n_inputs, panel.data() + s * n_inputs * strip, sums);
                }
            }
        }
        const std::size_t n_latents = std::min(tile, sae.d_sae - j0);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t t = 0; t < n_latents; ++t) {
                const std::size_t j = j0 + t;
                const float pre = total[i * tile + t] + sae.b_enc[j];
                if (!std::isfinite(pre)) {
                    refuse_row(sae, row0 + i, "the pre-activation of latent " + std::to_string(j) + " overflows");
                }
                if (pre > sae.threshold[j] && pre > 0.0f) {
                    found[i].latents.push_back(static_cast<std::uint32_t>(j));
                    found[i].values.push_back(pre);
                }
            }
        }
    }
    for (const RowCode& row : found) {
        codes.latents.insert(codes.latents.end(), row.latents.begin(), row.latents.end());
        codes.values.insert(codes.values.end(), row.values.begin(), row.values.end());
        codes.row_offsets.push_back(codes.latents.size());
    }
}

}  // namespace

CsrRows encode(const Sae& sae, std::span<const float> rows, std::size_t n) {
    if (rows.size() != n * sae.d_in) {
        throw InternalError("encode: " + std::to_string(rows.size()) + " values given for " + std::to_string(n) +
                            " rows of width " + std::to_string(sae.d_in));
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!std::isfinite(rows[i]))
            refuse_row(sae, i / sae.d_in, "value " + std::to_string(i % sae.d_in) + " is not finite");
    }
    CsrRows codes;
    codes.n_latents = static_cast<std::uint32_t>(sae.d_sae);
    codes.row_offsets.reserve(n + 1);
    for (std::size_t row = 0; row < n; row += group) {
        encode_group(sae, rows.data(), row, std::min(group, n - row), codes);
    }
    return codes;
}

void decode_row(const Sae& sae, std::span<const std::uint32_t> latents, std::span<const float> values,
                std::span<float> out) {
    if (latents.size() != values.size() || out.size() != sae.d_in) {
        throw InternalError("decode_row: " + std::to_string(latents.size()) + " latents, " +
                            std::to_string(values.size()) + " values and " + std::to_string(out.size()) +
                            " outputs for width " + std::to_string(sae.d_in));
    }
    std::fill(out.begin(), out.end(), 0.0f);
    for (std::size_t e = 0; e < latents.size(); ++e) {
        if (latents[e] >= sae.d_sae) {
            throw InternalError("decode_row: latent " + std::to_string(latents[e]) + " of an SAE with " +
                                std::to_string(sae.d_sae));
        }
        const float* const row = sae.W_dec.data() + latents[e] * sae.d_in;
        for (std::size_t k = 0; k < sae.d_in; ++k)
            out[k] += values[e] * row[k];
    }
    for (std::size_t k = 0; k < sae.d_in; ++k)
        out[k] += sae.b_dec[k];
}

std::vector<float> decode(const Sae& sae, const CsrRows& codes) {
    if (codes.n_latents != sae.d_sae) {
        throw InternalError("decode: codes of " + std::to_string(codes.n_latents) + " latents, SAE of " +
                            std::to_string(sae.d_sae));
    }
    std::vector<float> out(codes.n_rows() * sae.d_in);
    for (std::size_t i = 0; i < codes.n_rows(); ++i) {
        const std::size_t first = codes.row_offsets[i], count = codes.row_offsets[i + 1] - first;
        decode_row(sae, std::span(codes.latents).subspan(first, count), std::span(codes.values).subspan(first, count),
                   std::span(out).subspan(i * sae.d_in, sae.d_in));
    }
    return out;
}

}  // namespace pva::sae
