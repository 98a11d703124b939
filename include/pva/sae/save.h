// Writes SAEs in the published formats that `load` reads.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "pva/sae/sae.h"

namespace pva::sae {

/// An SAE on its way to a file, for rows as the model has them: h = (x - b_dec) W_enc + b_enc, x_hat = f W_dec + b_dec.
struct SavedSae {
    Architecture architecture = Architecture::topk;  ///< topk or jumprelu
    std::size_t d_in = 0;
    std::size_t d_sae = 0;
    std::size_t k = 0;              ///< of topk
    std::vector<float> encoder;     ///< [d_sae, d_in], one row a latent
    std::vector<float> b_enc;       ///< [d_sae]
    std::vector<float> W_dec;       ///< [d_sae, d_in]
    std::vector<float> b_dec;       ///< [d_in]
    std::vector<float> threshold;   ///< [d_sae] of jumprelu
};

/// The same as encode and decode use it.
Sae to_sae(const SavedSae& saved);

/// Where the rows come from, as SAELens' metadata has it.
struct SavedPlace {
    std::string model_name;
    std::string hook_name;  ///< as TransformerLens spells it
    bool prepend_bos = true;
    std::size_t context_size = 0;
    std::string dataset;
    nlohmann::ordered_json training;  ///< more fields of `metadata`; SAELens keeps what it does not know
};

/// cfg.json (version 6) and sae_weights.safetensors in `folder`, as SAELens 6.45.2 writes and loads them. Errors: IoError.
void save_saelens(const std::string& folder, const SavedSae& saved, const SavedPlace& place);

/// params.npz at `path` in Gemma Scope's layout, which subtracts nothing from its input: b_dec goes into b_enc, in float64.
/// Errors: IoError; InternalError for another architecture than jumprelu.
void save_gemma_scope(const std::string& path, const SavedSae& saved);

}  // namespace pva::sae
