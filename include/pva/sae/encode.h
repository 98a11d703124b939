// SAE codes of rows, as compressed sparse rows, and reconstruction from codes. CPU, on a pool of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pva/kernels/thread_pool.h"
#include "pva/sae/sae.h"
#include "pva/stats/csr_view.h"

namespace pva::sae {

/// What undoes a row's normalization: y * scale + shift.
struct RowNorm {
    float scale = 1.0f;
    float shift = 0.0f;
};

/// Sparse codes of n rows (compressed sparse rows). Latents ascend within a row; every value is above zero.
struct CsrRows {
    std::vector<std::uint64_t> row_offsets{0};  ///< [n + 1]
    std::vector<std::uint32_t> latents;         ///< [n_entries]
    std::vector<float> values;                  ///< [n_entries]
    std::uint32_t n_latents = 0;                ///< d_sae
    std::vector<RowNorm> norms = {};            ///< [n] where the SAE normalizes rows and undoes it; else empty

    std::size_t n_rows() const { return row_offsets.size() - 1; }
    std::span<const std::uint32_t> latents_of(std::size_t row) const {
        return std::span(latents).subspan(row_offsets[row], row_offsets[row + 1] - row_offsets[row]);
    }
    std::span<const float> values_of(std::size_t row) const {
        return std::span(values).subspan(row_offsets[row], row_offsets[row + 1] - row_offsets[row]);
    }
    stats::CsrView view() const { return {row_offsets, latents, values, n_latents}; }
};

/// Codes of `rows` [n, d_in] by the formula of the SAE's architecture.
///
/// Float32: h = s W_enc + b_enc by kernels::linear, so chains of 256 fused multiply-adds, added in order, then the
/// bias. Pre-activations exist for a tile of at most 96 rows and 256 latents at a time. The code of a row is the same,
/// bit for bit, whatever other rows are in the call, wherever it stands among them, and for any number of threads.
/// Throws InputError for a row or a pre-activation that is not finite, and for a row that cannot be normalized, naming
/// the row; InternalError for sizes that do not match.
CsrRows encode(const Sae& sae, std::span<const float> rows, std::size_t n, const kernels::ThreadPool& pool);
/// On the calling thread.
CsrRows encode(const Sae& sae, std::span<const float> rows, std::size_t n);

/// Rows as the encoder's product reads them.
struct PreparedRows {
    std::vector<float> rows;     ///< [n, d_in], normalized, b_in subtracted
    std::vector<RowNorm> norms;  ///< [n] where decoding undoes the normalization; else empty
};
/// For encoders on other devices. `first_row` is the number of the first row in messages. Errors: InputError as encode.
PreparedRows prepare_rows(const Sae& sae, std::span<const float> rows, std::size_t first_row, const kernels::ThreadPool& pool);

/// [d_sae] what a pre-activation must be above to count: the threshold, 0, or what opens a gate.
std::vector<float> activation_cut(const Sae& sae);

/// Reconstructions [n, d_out] of all rows of `codes` into `out`: decoder rows times values, added by ascending latent
/// in float32, then b_dec, then the normalization undone, then x W_skip^T where the SAE has such a matrix; only then
/// `rows` [n, d_in], what was encoded, is read. The same bits for a row whatever is beside it and for any number of
/// threads. Throws InternalError for sizes that do not match or a latent outside the SAE.
void decode(const Sae& sae, const CsrRows& codes, const kernels::ThreadPool& pool, std::span<float> out,
            std::span<const float> rows = {});
/// What decode checks before anything: `n_out` and `n_in` numbers of outputs and of rows that were encoded. Throws
/// InternalError as decode.
void check_decode(const Sae& sae, const CsrRows& codes, std::size_t n_out, std::size_t n_in);
/// The same on the calling thread.
std::vector<float> decode(const Sae& sae, const CsrRows& codes, std::span<const float> rows = {});

}  // namespace pva::sae
