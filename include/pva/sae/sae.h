// A sparse autoencoder in the one form that encode, decode and every loader share, and its structural checks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pva/kernels/packed_matrix.h"

namespace pva::sae {

/// How a code comes from the pre-activation h = s W_enc + b_enc, where s is the prepared row (see SaeInfo).
enum class Architecture : std::uint8_t {
    relu,              ///< f = max(h, 0)
    jumprelu,          ///< f = h where h > threshold and h > 0, else 0 (strict)
    gated,             ///< f = max(h exp(r_mag) + b_mag, 0) where h + b_gate > 0; h without b_enc
    topk,              ///< the k largest of a row where above 0; of equal ones the lower index is larger
    groupmax,          ///< the largest of each of k equal groups of neighbouring latents, where above 0; ties as topk
    matching_pursuit,  ///< greedy on the decoder rows, see SaeInfo
};

/// "relu", "jumprelu" and so on.
std::string_view architecture_name(Architecture architecture);

/// What is done to a row before anything is subtracted, and undone after decoding with the same row's numbers.
enum class Normalization : std::uint8_t {
    none,
    constant_norm,  ///< x sqrt(d) / ||x||
    layer_norm,     ///< (x - mean) / (std + 1e-5), std with n - 1; undone as y std + mean
};

std::string_view normalization_name(Normalization normalization);

/// A change of the stored numbers that leaves the reconstruction as it is and is already done to them.
struct Fold {
    std::string what;     ///< in words, for provenance
    double factor = 1.0;  ///< the constant; 1 where there is one factor a latent (see Sae::latent_scale)
};

/// Everything a file says besides the weights.
struct SaeInfo {
    Architecture architecture = Architecture::jumprelu;
    Normalization normalization = Normalization::none;
    std::string format;       ///< "Gemma Scope", "SAELens", "sparsify", "dictionary_learning", "Llama Scope"
    std::string kind;         ///< the file's own word for its architecture or class
    std::size_t d_in = 0;     ///< width of the rows it reads
    std::size_t d_sae = 0;    ///< number of latents
    std::size_t d_out = 0;    ///< width of the rows it writes; d_in but for transcoders
    std::size_t k = 0;        ///< of topk and groupmax
    bool transcoder = false;  ///< writes rows of another site than it reads
    /// Matching pursuit stops below this norm of what is left, after so many steps, and, if asked for, when a step
    /// chose a latent that was chosen before. A latent chosen again adds to its value.
    double residual_threshold = 0.0;
    std::size_t max_iterations = 0;
    bool stop_on_duplicate_support = true;

    std::string site;  ///< what its rows are, in pva's words ("resid_post", "mlp_out", "z"); empty: no place pva knows
    std::string hook;  ///< the same as the file spells it; empty: it does not say
    std::optional<std::uint32_t> layer;
    std::string model;  ///< the model it was trained on; empty: it does not say
    std::optional<bool> prepend_bos;
    std::optional<std::int64_t> context_size;
    std::optional<double> advertised_l0;  ///< mean active latents a row, as path, configuration or k say
    std::string advertised_by;            ///< which of them
    bool unit_decoder = false;            ///< the format promises decoder rows of norm 1
    double unit_tolerance = 1e-5;         ///< how exactly, given the stored data type
    std::string source;                   ///< path, for messages
};

/// A loaded SAE, float32, matrices row-major. s = normalized x - b_in; x_hat = f W_dec + b_dec, normalization undone,
/// + x W_skip^T.
struct Sae : SaeInfo {
    kernels::PackedMatrix W_enc;       ///< d_sae outputs of depth d_in, packed for kernels::linear
    std::vector<float> b_enc;          ///< [d_sae]; empty for gated and matching_pursuit
    std::vector<float> W_dec;          ///< [d_sae, d_out], one decoder row per latent
    std::vector<float> b_dec;          ///< [d_out]
    std::vector<float> b_in;           ///< [d_in]; empty: nothing is subtracted
    std::vector<float> threshold;      ///< [d_sae] of jumprelu, never negative; else empty
    std::vector<float> b_gate, b_mag;  ///< [d_sae] of gated
    std::vector<float> magnitude;      ///< [d_sae] of gated: exp(r_mag)
    kernels::PackedMatrix W_skip;      ///< d_out outputs of depth d_in
    bool has_skip = false;
    std::vector<Fold> folds;  ///< in the order they were done
    /// [d_sae]; a latent's value in the file's own scale is its value divided by this. Empty: all ones.
    std::vector<float> latent_scale;
};

/// Packs W_enc [d_in, d_sae], row-major, as most files have it.
kernels::PackedMatrix pack_encoder(std::span<const float> W_enc, std::size_t d_in, std::size_t d_sae);
/// Packs weights [d_out, d_in], row-major, as torch's linear layers have them.
kernels::PackedMatrix pack_linear(std::span<const float> weight, std::size_t d_out, std::size_t d_in);

/// The weights [outputs, depth], row-major, of a packed float32 matrix.
std::vector<float> unpack_linear(const kernels::PackedMatrix& packed);

/// W_enc[input, latent].
float encoder_weight(const Sae& sae, std::size_t input, std::size_t latent);

/// Makes every decoder row a unit vector and its latent's value larger by the row's norm n: W_dec / n, W_enc, b_enc,
/// b_gate, b_mag and threshold times n, so the reconstruction stays. n is at least 1e-8, so that dead rows stay finite.
/// Throws InternalError for topk unless `selects_by_norm` says that the k largest are chosen after this scaling, and
/// for groupmax and matching pursuit, whose choice would change.
void fold_decoder_norms(Sae& sae, bool selects_by_norm = false);

/// The SAE for rows that were multiplied by `c` before they reached it, turned into one for the rows as they are:
/// W_enc times c; W_dec, b_dec and b_in divided by c. Biases of the encoder and thresholds stay.
void fold_input_scale(Sae& sae, double c, const std::string& what);

/// Throws InputError, naming both widths, when the SAE does not read rows of width `d_model` at `layer`.
void check_width(const SaeInfo& sae, std::size_t d_model, std::uint32_t layer);

/// Bytes of the weights in memory once loaded.
std::size_t weight_bytes(const SaeInfo& sae);

/// What the weights alone tell. Sums in float64 in index order.
struct WeightSummary {
    double decoder_norm_min = 0.0;
    double decoder_norm_mean = 0.0;
    double decoder_norm_max = 0.0;
    double unit_norm_share = 0.0;  ///< share of decoder rows whose norm is 1 within SaeInfo::unit_tolerance
    /// Mean over latents of cos(encoder column, decoder row); a zero vector counts as 0. About 0 for a transposed or
    /// permuted decoder, clearly above it for a trained SAE. NaN for transcoders, whose two sides are different spaces.
    double encoder_decoder_cosine_mean = 0.0;
    double encoder_decoder_cosine_positive_share = 0.0;
};

WeightSummary summarize_weights(const Sae& sae);

}  // namespace pva::sae
