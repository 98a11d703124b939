// Structural checks of a sparse autoencoder.
#include "pva/sae/sae.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "pva/core/error.h"

namespace pva::sae {

void check_width(const Sae& sae, std::size_t d_model, std::uint32_t layer) {
    if (sae.d_in == d_model) return;
    throw InputError(sae.source + ": this SAE reads rows of width " + std::to_string(sae.d_in) + ", but the model's " +
                     sae.site + " at layer " + std::to_string(layer) + " has width " + std::to_string(d_model) +
                     ". Take an SAE trained on this model and site.");
}

WeightSummary summarize_weights(const Sae& sae) {
    // W_enc is read row by row, because a column of it is a walk over the whole matrix.
    std::vector<double> dot(sae.d_sae, 0.0), encoder(sae.d_sae, 0.0), decoder(sae.d_sae, 0.0);
    for (std::size_t j = 0; j < sae.d_sae; ++j) {
        for (std::size_t k = 0; k < sae.d_in; ++k) {
            const double w = sae.W_dec[j * sae.d_in + k];
            decoder[j] += w * w;
        }
    }
    for (std::size_t k = 0; k < sae.d_in; ++k) {
        for (std::size_t j = 0; j < sae.d_sae; ++j) {
            const double w = sae.W_enc[k * sae.d_sae + j];
            encoder[j] += w * w;
            dot[j] += w * sae.W_dec[j * sae.d_in + k];
        }
    }
    WeightSummary summary;
    summary.decoder_norm_min = std::numeric_limits<double>::infinity();
    std::size_t n_unit = 0, n_positive = 0;
    for (std::size_t j = 0; j < sae.d_sae; ++j) {
        const double norm = std::sqrt(decoder[j]);
        const double product = std::sqrt(encoder[j]) * norm;
        summary.decoder_norm_min = std::min(summary.decoder_norm_min, norm);
        summary.decoder_norm_max = std::max(summary.decoder_norm_max, norm);
        summary.decoder_norm_mean += norm;
        summary.encoder_decoder_cosine_mean += product > 0.0 ? dot[j] / product : 0.0;
        n_unit += std::abs(norm - 1.0) <= 1e-5;
        n_positive += dot[j] > 0.0;
    }
    const auto n = static_cast<double>(sae.d_sae);
    summary.decoder_norm_mean /= n;
    summary.encoder_decoder_cosine_mean /= n;
    summary.unit_norm_share = static_cast<double>(n_unit) / n;
    summary.encoder_decoder_cosine_positive_share = static_cast<double>(n_positive) / n;
    return summary;
}

}  // namespace pva::sae
