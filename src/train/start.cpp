// First values from an SAE that exists.
#include "pva/train/start.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "pva/core/error.h"

namespace pva::train {

namespace {

constexpr double unit_tolerance = 1e-3;  // of weights that were stored in 16 bits

/// [latents] norms of the decoder rows; none is 0.
std::vector<double> decoder_norms(const sae::Sae& loaded) {
    std::vector<double> norms;
    double farthest = 0;
    for (std::size_t j = 0; j < loaded.d_sae; ++j) {
        double squares = 0;
        for (const float value : std::span(loaded.W_dec).subspan(j * loaded.d_out, loaded.d_out)) squares += static_cast<double>(value) * value;
        norms.push_back(std::max(std::sqrt(squares), 1e-8));
        farthest = std::max(farthest, std::abs(norms.back() - 1));
    }
    if (loaded.architecture == sae::Architecture::topk && farthest > unit_tolerance)
        throw InputError(loaded.source + ": is a topk with decoder rows whose norms are up to " + std::to_string(farthest) + " from 1; making them unit vectors would change which latents are the largest");
    return norms;
}

}  // namespace

void check_start(const Settings& settings, const sae::SaeInfo& info) {
    const auto refuse = [&](const std::string& what) { throw InputError(info.source + ": " + what); };
    const std::string word(sae::architecture_name(info.architecture));
    if (info.transcoder) refuse("is a transcoder; training can start from SAEs alone");
    if (info.d_in != settings.d) refuse("reads rows of width " + std::to_string(info.d_in) + ", the model's have " + std::to_string(settings.d));
    if (info.d_sae != settings.latents) refuse("has " + std::to_string(info.d_sae) + " latents; say --latents " + std::to_string(info.d_sae));
    if (info.normalization != sae::Normalization::none) refuse("normalizes every row by itself, which no training here does");
    const bool jumprelu = info.architecture == sae::Architecture::jumprelu;
    const bool known = jumprelu || info.architecture == sae::Architecture::topk || info.architecture == sae::Architecture::relu;
    if (!known) refuse("is of the form " + word + "; training can start from relu, jumprelu and topk");
    if (settings.kind == Kind::jumprelu && !jumprelu) refuse("is of the form " + word + " and has no thresholds, which --kind jumprelu starts from; say --kind topk or batchtopk");
}

Parameters parameters_from(const Settings& settings, const sae::Sae& loaded, double scale) {
    check_start(settings, loaded);
    const std::size_t d = settings.d;
    const std::vector<double> norms = decoder_norms(loaded);
    Parameters parameters;
    parameters.encoder = sae::unpack_linear(loaded.W_enc);
    parameters.decoder = loaded.W_dec;
    parameters.b_enc.resize(settings.latents);
    parameters.threshold.assign(settings.latents, 0.0F);
    for (std::size_t j = 0; j < settings.latents; ++j) {
        const double norm = norms[j];
        // x W + b_enc - b_in W = (x - b_dec) W + b_enc + (b_dec - b_in) W
        double bias = loaded.b_enc[j];
        for (std::size_t i = 0; i < d; ++i) {
            float& weight = parameters.encoder[j * d + i];
            const double subtracted = loaded.b_in.empty() ? 0.0 : static_cast<double>(loaded.b_in[i]);
            bias += (static_cast<double>(loaded.b_dec[i]) - subtracted) * weight;
            weight = static_cast<float>(weight * norm);
            float& decoder = parameters.decoder[j * d + i];
            decoder = static_cast<float>(decoder / norm);
        }
        parameters.b_enc[j] = static_cast<float>(bias * norm * scale);
        if (settings.kind == Kind::jumprelu) parameters.threshold[j] = std::max(static_cast<float>(loaded.threshold[j] * norm * scale), smallest_threshold);
    }
    for (const float value : loaded.b_dec) parameters.b_dec.push_back(static_cast<float>(value * scale));
    return parameters;
}

}  // namespace pva::train
