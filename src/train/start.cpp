// First values from an SAE that exists.
#include "pva/train/start.h"

#include <algorithm>
#include <string>
#include <utility>

#include "pva/core/error.h"

namespace pva::train {

namespace {

constexpr double unit_tolerance = 1e-3;  // of weights that were stored in 16 bits

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

Parameters parameters_from(const Settings& settings, sae::Sae&& loaded, double scale) {
    check_start(settings, loaded);
    const sae::WeightSummary weights = sae::summarize_weights(loaded);
    const bool topk = loaded.architecture == sae::Architecture::topk;
    const double farthest = std::max(weights.decoder_norm_max - 1, 1 - weights.decoder_norm_min);
    if (topk && farthest > unit_tolerance)
        throw InputError(loaded.source + ": is a topk with decoder rows whose norms are up to " + std::to_string(farthest) + " from 1; making them unit vectors would change which latents are the largest");
    sae::fold_decoder_norms(loaded, topk);
    const std::size_t d = settings.d;
    Parameters parameters;
    parameters.encoder = sae::unpack_linear(loaded.W_enc);
    parameters.decoder = std::move(loaded.W_dec);
    parameters.b_enc.resize(settings.latents);
    parameters.threshold.assign(settings.latents, 0.0F);
    for (std::size_t j = 0; j < settings.latents; ++j) {
        // x W + b_enc - b_in W = (x - b_dec) W + b_enc + (b_dec - b_in) W
        double bias = loaded.b_enc[j];
        for (std::size_t i = 0; i < d; ++i) {
            const double subtracted = loaded.b_in.empty() ? 0.0 : static_cast<double>(loaded.b_in[i]);
            bias += (static_cast<double>(loaded.b_dec[i]) - subtracted) * parameters.encoder[j * d + i];
        }
        parameters.b_enc[j] = static_cast<float>(bias * scale);
        if (settings.kind == Kind::jumprelu) parameters.threshold[j] = std::max(static_cast<float>(loaded.threshold[j] * scale), smallest_threshold);
    }
    for (const float value : loaded.b_dec) parameters.b_dec.push_back(static_cast<float>(value * scale));
    return parameters;
}

}  // namespace pva::train
