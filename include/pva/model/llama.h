// The Llama family: Llama 2 and 3, Mistral, Qwen2, SmolLM2. RMSNorm before attention and MLP, gated SiLU, optional biases and windows.n// Follows transformers, models/{llama,mistral,qwen2}.
#pragma once

#include "pva/model/architecture.h"

namespace pva::model {

/// Errors: InputError, naming the field, for values that are not implemented.
ParsedArchitecture parse_llama(const ConfigReader& reader);

}  // namespace pva::model
