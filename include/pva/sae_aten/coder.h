// Codes of rows where the model runs: on a GPU by ATen, on CPU by the kernels of the room sae.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "pva/kernels/thread_pool.h"
#include "pva/model/placement.h"
#include "pva/sae/encode.h"

namespace pva::sae_aten {

/// The encoder and decoder of an SAE as float32 tensors on one device. The formulas and the meaning of ties are those of
/// sae::encode and sae::decode; sums are in the order of the device's own products, so codes and reconstructions agree to
/// rounding, a latent within rounding of its threshold may be on one side here and on the other there, and a row's last
/// bits may change with the rows beside it.
class AtenCoder {
  public:
    /// Copies the weights. `sae` must outlive it. Errors: what ATen throws when the device has too little memory.
    AtenCoder(const sae::Sae& sae, const model::Placement& placement);
    ~AtenCoder();
    AtenCoder(AtenCoder&&) noexcept;

    /// Codes of `rows` [n, d_in]. Pre-activations of at most 64 million latents (256 MiB) exist at a time. Rows are prepared
    /// (normalized, b_in subtracted) on the CPU. Errors: as sae::encode; UsageError for matching pursuit, whose steps
    /// follow each other: it runs on CPU.
    sae::CsrRows encode(std::span<const float> rows, std::size_t n, const kernels::ThreadPool& pool) const;

    /// Reconstructions [n, d_out] into `out`; `rows` as in sae::decode. Errors: as sae::decode.
    void decode(const sae::CsrRows& codes, std::span<float> out, std::span<const float> rows = {}) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// An SAE and the way its rows are coded: AtenCoder where the placement is a GPU, else sae::encode and sae::decode, and
/// those for matching pursuit everywhere.
class Coder {
  public:
    /// `sae` must outlive it.
    Coder(const sae::Sae& sae, const model::Placement& placement);

    const sae::Sae& sae() const { return *sae_; }
    /// Errors: as sae::encode.
    sae::CsrRows encode(std::span<const float> rows, std::size_t n, const kernels::ThreadPool& pool) const;
    /// Errors: as sae::decode.
    void decode(const sae::CsrRows& codes, const kernels::ThreadPool& pool, std::span<float> out, std::span<const float> rows = {}) const;

  private:
    const sae::Sae* sae_;
    std::unique_ptr<AtenCoder> on_device_;
};

}  // namespace pva::sae_aten
