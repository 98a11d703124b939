// Gemma-2 (Gemma Team 2024, arXiv 2408.00118): four RMSNorms a block, two of them after attention and MLP, soft caps, windows onn// alternate layers, scaled embeddings. Follows transformers, models/gemma2/modeling_gemma2.py.
#pragma once

#include "pva/model/architecture.h"

namespace pva::model {

/// Errors: InputError, naming the field, for values that are not implemented.
ParsedArchitecture parse_gemma2(const ConfigReader& reader);

}  // namespace pva::model
