// First values from an SAE that exists: fine-tuning.
#pragma once

#include "pva/sae/sae.h"
#include "pva/train/parameters.h"
#include "pva/train/settings.h"

namespace pva::train {

/// Errors: InputError naming the SAE where it has another width, number of latents or form than settings ask for: ReLU, TopK
/// and JumpReLU can become topk or batchtopk, JumpReLU alone jumprelu; no transcoders, no rows normalized one by one.
void check_start(const Settings& settings, const sae::SaeInfo& info);

/// The numbers of `loaded`, which reads rows as the model has them, for unit rows (those times `scale`) and the form of
/// Parameters: what it subtracts from a row becomes b_dec, its bias changes by the rest; decoder rows become unit vectors,
/// their norms going into encoder, bias and threshold; thresholds are at least the smallest one. Errors: those of
/// check_start, and InputError for a topk whose decoder rows are not unit vectors. Uses `loaded` up: copies of an SAE share
/// their encoder.
Parameters parameters_from(const Settings& settings, sae::Sae&& loaded, double scale);

}  // namespace pva::train
