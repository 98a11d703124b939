// Packing, folds and structural checks of a sparse autoencoder.
#include "pva/sae/sae.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "pva/core/error.h"

namespace pva::sae {

std::string_view architecture_name(Architecture architecture) {
    switch (architecture) {
        case Architecture::relu:
            return "relu";
        case Architecture::jumprelu:
            return "jumprelu";
        case Architecture::gated:
            return "gated";
        case Architecture::topk:
            return "topk";
        case Architecture::groupmax:
            return "groupmax";
        case Architecture::matching_pursuit:
            return "matching_pursuit";
    }
    throw InternalError("an architecture without a name");
}

std::string_view normalization_name(Normalization normalization) {
    switch (normalization) {
        case Normalization::none:
            return "none";
        case Normalization::constant_norm:
            return "constant_norm_rescale";
        case Normalization::layer_norm:
            return "layer_norm";
    }
    throw InternalError("a normalization without a name");
}

kernels::PackedMatrix pack_encoder(std::span<const float> W_enc, std::size_t d_in, std::size_t d_sae) {
    if (W_enc.size() != d_in * d_sae) throw InternalError("pack_encoder: sizes do not match");
    kernels::PackedMatrix packed(static_cast<std::int64_t>(d_sae), static_cast<std::int64_t>(d_in),
                                 kernels::WeightType::float32);
    constexpr auto width = static_cast<std::size_t>(kernels::strip_width);
    auto* to = static_cast<float*>(packed.data());
    for (std::size_t first = 0; first < d_sae; first += width, to += width * d_in) {
        const std::size_t present = std::min(width, d_sae - first);
        for (std::size_t k = 0; k < d_in; ++k)
            std::copy_n(W_enc.data() + k * d_sae + first, present, to + k * width);
    }
    return packed;
}

kernels::PackedMatrix pack_linear(std::span<const float> weight, std::size_t d_out, std::size_t d_in) {
    if (weight.size() != d_out * d_in) throw InternalError("pack_linear: sizes do not match");
    const kernels::ThreadPool one(1);
    return {one, weight.data(), static_cast<std::int64_t>(d_out), static_cast<std::int64_t>(d_in),
            kernels::WeightType::float32};
}

namespace {

constexpr auto strip = static_cast<std::size_t>(kernels::strip_width);

/// Calls f(weight, latent) for every number of W_enc, so that it can be changed.
template <typename F>
void for_each_encoder_weight(Sae& sae, F f) {
    auto* weights = static_cast<float*>(sae.W_enc.data());
    for (std::size_t first = 0; first < sae.d_sae; first += strip, weights += strip * sae.d_in) {
        const std::size_t present = std::min(strip, sae.d_sae - first);
        for (std::size_t k = 0; k < sae.d_in; ++k) {
            for (std::size_t j = 0; j < present; ++j)
                f(weights[k * strip + j], first + j);
        }
    }
}

double norm_of(std::span<const float> row) {
    double squares = 0.0;
    for (const float value : row)
        squares += static_cast<double>(value) * value;
    return std::sqrt(squares);
}

}  // namespace

std::vector<float> unpack_linear(const kernels::PackedMatrix& packed) {
    const kernels::PackedView view = packed.view();
    const auto depth = static_cast<std::size_t>(view.depth), outputs = static_cast<std::size_t>(view.outputs);
    std::vector<float> weights(outputs * depth);
    const auto* at = static_cast<const float*>(view.data);
    for (std::size_t first = 0; first < outputs; first += strip, at += strip * depth) {
        for (std::size_t j = first; j < std::min(first + strip, outputs); ++j) {
            for (std::size_t k = 0; k < depth; ++k)
                weights[j * depth + k] = at[k * strip + (j - first)];
        }
    }
    return weights;
}

float encoder_weight(const Sae& sae, std::size_t input, std::size_t latent) {
    const auto* weights = static_cast<const float*>(sae.W_enc.view().data);
    return weights[latent / strip * strip * sae.d_in + input * strip + latent % strip];
}

void fold_decoder_norms(Sae& sae, bool selects_by_norm) {
    const bool allowed = sae.architecture == Architecture::relu || sae.architecture == Architecture::jumprelu ||
                         sae.architecture == Architecture::gated ||
                         (sae.architecture == Architecture::topk && selects_by_norm);
    if (!allowed) {
        throw InternalError("decoder norms of a " + std::string(architecture_name(sae.architecture)) +
                            " SAE cannot be folded: other latents would be chosen");
    }
    std::vector<float> norms(sae.d_sae);
    for (std::size_t j = 0; j < sae.d_sae; ++j) {
        const std::span<float> row = std::span(sae.W_dec).subspan(j * sae.d_out, sae.d_out);
        const double norm = norm_of(row);
        // A latent that is chosen by its norm and has none is never chosen.
        norms[j] = selects_by_norm && norm == 0.0 ? 0.0f : static_cast<float>(std::max(norm, 1e-8));
        for (float& value : row)
            value = static_cast<float>(value / std::max(norm, 1e-8));
    }
    for_each_encoder_weight(sae, [&](float& weight, std::size_t j) { weight *= norms[j]; });
    for (std::vector<float>* values : {&sae.b_enc, &sae.b_gate, &sae.b_mag, &sae.threshold}) {
        for (std::size_t j = 0; j < values->size(); ++j)
            (*values)[j] *= norms[j];
    }
    if (sae.latent_scale.empty()) sae.latent_scale.assign(sae.d_sae, 1.0f);
    for (std::size_t j = 0; j < sae.d_sae; ++j)
        sae.latent_scale[j] *= norms[j];
    sae.folds.push_back({"decoder norms: values times the norm of their decoder row", 1.0});
}

void fold_input_scale(Sae& sae, double c, const std::string& what) {
    const auto factor = static_cast<float>(c);
    for_each_encoder_weight(sae, [&](float& weight, std::size_t) { weight *= factor; });
    for (std::vector<float>* values : {&sae.W_dec, &sae.b_dec, &sae.b_in}) {
        for (float& value : *values)
            value /= factor;
    }
    sae.folds.push_back({what, c});
}

void check_width(const SaeInfo& sae, std::size_t d_model, std::uint32_t layer) {
    if (sae.d_in == d_model) return;
    throw InputError(sae.source + ": this SAE reads rows of width " + std::to_string(sae.d_in) + ", but the model's " +
                     (sae.site.empty() ? std::string("site") : sae.site) + " at layer " + std::to_string(layer) +
                     " has width " + std::to_string(d_model) + ". Take an SAE trained on this model and site.");
}

std::size_t weight_bytes(const SaeInfo& sae) {
    return kernels::packed_bytes(static_cast<std::int64_t>(sae.d_sae), static_cast<std::int64_t>(sae.d_in),
                                 kernels::WeightType::float32) +
           (sae.d_sae * sae.d_out + 2 * sae.d_sae + sae.d_in + sae.d_out) * sizeof(float);
}

WeightSummary summarize_weights(const Sae& sae) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> dot(sae.d_sae, 0.0), encoder(sae.d_sae, 0.0);
    const auto* weights = static_cast<const float*>(sae.W_enc.view().data);
    for (std::size_t first = 0; first < sae.d_sae; first += strip, weights += strip * sae.d_in) {
        const std::size_t present = std::min(strip, sae.d_sae - first);
        for (std::size_t k = 0; k < sae.d_in; ++k) {
            for (std::size_t t = 0; t < present; ++t) {
                const double w = weights[k * strip + t];
                encoder[first + t] += w * w;
                if (!sae.transcoder) dot[first + t] += w * sae.W_dec[(first + t) * sae.d_out + k];
            }
        }
    }
    WeightSummary summary;
    summary.decoder_norm_min = std::numeric_limits<double>::infinity();
    std::size_t n_unit = 0, n_positive = 0;
    for (std::size_t j = 0; j < sae.d_sae; ++j) {
        const double norm = norm_of(std::span(sae.W_dec).subspan(j * sae.d_out, sae.d_out));
        const double product = std::sqrt(encoder[j]) * norm;
        summary.decoder_norm_min = std::min(summary.decoder_norm_min, norm);
        summary.decoder_norm_max = std::max(summary.decoder_norm_max, norm);
        summary.decoder_norm_mean += norm;
        summary.encoder_decoder_cosine_mean += product > 0.0 ? dot[j] / product : 0.0;
        n_unit += std::abs(norm - 1.0) <= sae.unit_tolerance;
        n_positive += dot[j] > 0.0;
    }
    const auto n = static_cast<double>(sae.d_sae);
    summary.decoder_norm_mean /= n;
    summary.encoder_decoder_cosine_mean = sae.transcoder ? nan : summary.encoder_decoder_cosine_mean / n;
    summary.unit_norm_share = static_cast<double>(n_unit) / n;
    summary.encoder_decoder_cosine_positive_share = sae.transcoder ? nan : static_cast<double>(n_positive) / n;
    return summary;
}

}  // namespace pva::sae
