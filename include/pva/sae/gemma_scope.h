// Loads SAEs in the Gemma Scope format: one params.npz per SAE.
#pragma once

#include <string>

#include "pva/sae/sae.h"

namespace pva::sae {

/// Loads one residual-stream SAE from `path` (a params.npz).
///
/// Format (google/gemma-scope-*-pt-res; Lieberum et al. 2024, arXiv 2408.05147): float32 arrays W_enc [d_in, d_sae],
/// W_dec [d_sae, d_in], b_enc and threshold [d_sae], b_dec [d_in]; w_enc and w_dec are accepted for the matrices;
/// scaling_factor [d_sae] is accepted when all ones. Nothing is subtracted from the row before encoding and nothing is
/// rescaled. The file does not name its site: `site` is "resid_post", and a path that names another kind of Gemma Scope
/// SAE (embedding, mlp, att, transcoder) is refused.
///
/// Throws InputError for missing, unknown or duplicate arrays, shapes that disagree, NaN, Inf, a negative threshold,
/// a scaling factor other than one, and whatever io::NpzFile refuses.
Sae load_gemma_scope(const std::string& path);

}  // namespace pva::sae
