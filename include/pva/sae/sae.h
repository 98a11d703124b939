// A sparse autoencoder in the one form that encode, decode and every loader share, and its structural checks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pva::sae {

/// A JumpReLU sparse autoencoder of one site, float32, all matrices row-major.
/// pre = x W_enc + b_enc;  f = pre where pre > threshold and pre > 0, else 0;  x_hat = f W_dec + b_dec.
struct Sae {
    std::size_t d_in = 0;          ///< width of the rows it reads
    std::size_t d_sae = 0;         ///< number of latents
    std::vector<float> W_enc;      ///< [d_in, d_sae]
    std::vector<float> b_enc;      ///< [d_sae]
    std::vector<float> W_dec;      ///< [d_sae, d_in], one decoder row per latent
    std::vector<float> b_dec;      ///< [d_in]
    std::vector<float> threshold;  ///< [d_sae], never negative
    std::string site;              ///< what its rows are, for instance "resid_post"
    std::string source;            ///< path of the file it was loaded from
    std::string sha256;            ///< of that file
};

/// Throws InputError, naming both widths, when the SAE does not read rows of width `d_model` at `layer`.
void check_width(const Sae& sae, std::size_t d_model, std::uint32_t layer);

/// What the weights alone tell. Sums in float64 in index order.
struct WeightSummary {
    double decoder_norm_min = 0.0;
    double decoder_norm_mean = 0.0;
    double decoder_norm_max = 0.0;
    double unit_norm_share = 0.0;  ///< share of decoder rows whose norm is 1 within 1e-5
    /// Mean over latents of cos(encoder column, decoder row); a zero vector counts as 0. About 0 for a transposed or
    /// permuted decoder, clearly above it for a trained SAE.
    double encoder_decoder_cosine_mean = 0.0;
    double encoder_decoder_cosine_positive_share = 0.0;
};

WeightSummary summarize_weights(const Sae& sae);

}  // namespace pva::sae
