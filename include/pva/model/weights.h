// The weights of a Gemma-2 model as float32 tensors, every one accounted for. For the sources of this room.
#pragma once

#include <vector>

#include <ATen/ATen.h>

#include "pva/io/safetensors.h"
#include "pva/model/config.h"

namespace pva::model {

/// Weights of one block; linear weights are [out, in], norm weights [hidden_size] (applied as 1 + w).
struct Gemma2LayerWeights {
    at::Tensor input_layernorm;
    at::Tensor q_proj;  ///< [heads * head_dim, hidden_size]
    at::Tensor k_proj;  ///< [kv_heads * head_dim, hidden_size]
    at::Tensor v_proj;  ///< [kv_heads * head_dim, hidden_size]
    at::Tensor o_proj;  ///< [hidden_size, heads * head_dim]
    at::Tensor post_attention_layernorm;
    at::Tensor pre_feedforward_layernorm;
    at::Tensor gate_proj;  ///< [intermediate_size, hidden_size]
    at::Tensor up_proj;    ///< [intermediate_size, hidden_size]
    at::Tensor down_proj;  ///< [hidden_size, intermediate_size]
    at::Tensor post_feedforward_layernorm;
};

struct Gemma2Weights {
    at::Tensor embed_tokens;  ///< [vocab_size, hidden_size], also the unembedding
    std::vector<Gemma2LayerWeights> layers;
    at::Tensor norm;  ///< final norm, [hidden_size]
};

/// Copies float32, float16 or bfloat16 tensors of the file to float32 (exact). Errors: InputError, naming the tensor,
/// for one that is missing, unknown, of another shape or dtype, or holds values that are not finite, and for an
/// lm_head.weight that differs from embed_tokens.
Gemma2Weights load_gemma2_weights(const Gemma2Config& config, const io::SafetensorsFile& file);

}  // namespace pva::model
