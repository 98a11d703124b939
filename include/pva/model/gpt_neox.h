// GPT-NeoX and Pythia (Black et al. 2022, arXiv 2204.06745): parallel or serial residual, LayerNorm with bias, rotary embedding onn// part of each head. Follows transformers, models/gpt_neox/modeling_gpt_neox.py.
#pragma once

#include "pva/model/architecture.h"

namespace pva::model {

/// Errors: InputError, naming the field, for values that are not implemented.
ParsedArchitecture parse_gpt_neox(const ConfigReader& reader);

}  // namespace pva::model
