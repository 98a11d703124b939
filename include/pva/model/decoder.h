// A decoder-only model as data, in terms that all architectures here share. What the fast forward pass is built from.
// For the sources of this room.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/ATen.h>

namespace pva::model {

enum class NormKind : std::uint8_t {
    gemma_rms,  ///< x r (1 + weight)
    llama_rms,  ///< weight (x r)
    layer,      ///< with mean and bias
};

struct Norm {
    NormKind kind = NormKind::llama_rms;
    at::Tensor weight;  ///< [hidden_size]
    at::Tensor bias;    ///< [hidden_size], undefined without
};

/// A matrix [out, in] and its bias [out], undefined without.
struct Affine {
    at::Tensor weight;
    at::Tensor bias;
};

enum class ActivationKind : std::uint8_t { gelu, gelu_tanh, silu, relu };

struct DecoderLayer {
    Norm attention_norm;
    Affine q;  ///< [heads * head_dim, hidden_size], rows head by head
    Affine k;  ///< [kv_heads * head_dim, hidden_size]
    Affine v;
    Affine o;                             ///< [hidden_size, heads * head_dim]
    std::optional<Norm> after_attention;  ///< before it is added to the stream
    Norm mlp_norm;
    Affine gate;  ///< [intermediate_size, hidden_size]; undefined: activation(up) without a gate
    Affine up;
    Affine down;  ///< [hidden_size, intermediate_size]
    std::optional<Norm> after_mlp;
};

struct DecoderDescription {
    at::Tensor embedding;          ///< [vocab_size, hidden_size]
    double embedding_scale = 1.0;  ///< rows are multiplied by it
    std::vector<DecoderLayer> layers;
    bool parallel_residual = false;  ///< the MLP reads the block's input, not the stream after attention
    ActivationKind activation = ActivationKind::silu;
    Norm final_norm;
    at::Tensor unembedding;  ///< [vocab_size, hidden_size]; the same tensor as the embedding where they are tied
};

}  // namespace pva::model
