// SAE codes of rows, as compressed sparse rows, and reconstruction from codes. Plain CPU code, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pva/sae/sae.h"
#include "pva/stats/csr_view.h"

namespace pva::sae {

/// Sparse codes of n rows (compressed sparse rows). Latents ascend within a row; every value is above zero.
struct CsrRows {
    std::vector<std::uint64_t> row_offsets{0};  ///< [n + 1]
    std::vector<std::uint32_t> latents;         ///< [n_entries]
    std::vector<float> values;                  ///< [n_entries]
    std::uint32_t n_latents = 0;                ///< d_sae

    std::size_t n_rows() const { return row_offsets.size() - 1; }
    stats::CsrView view() const { return {row_offsets, latents, values, n_latents}; }
};

/// Codes of `rows` [n, d_in]: pre = x W_enc + b_enc, f = relu(pre) * [pre > threshold] (strict).
///
/// Float32. pre_j is the sum over blocks of 256 inputs, in order, of one chain of multiplications and additions each,
/// then b_enc_j. The code of a row is the same, bit for bit, whatever other rows are in the call and on every machine.
/// One thread; callers share rows over ranks or threads.
/// Throws InputError for a row or a pre-activation that is not finite, naming the row; InternalError for sizes that
/// do not match.
CsrRows encode(const Sae& sae, std::span<const float> rows, std::size_t n);

/// Writes x_hat = f W_dec + b_dec of one row into `out` [d_in]: decoder rows are added by ascending latent, in float32,
/// then b_dec. Throws InternalError for sizes that do not match or a latent outside the SAE.
void decode_row(const Sae& sae, std::span<const std::uint32_t> latents, std::span<const float> values,
                std::span<float> out);

/// The reconstructions [n, d_in] of all rows of `codes`.
std::vector<float> decode(const Sae& sae, const CsrRows& codes);

}  // namespace pva::sae
