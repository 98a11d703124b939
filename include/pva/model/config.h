// Gemma-2 configuration: what config.json of a Hugging Face folder says, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pva::model {

enum class AttentionKind : std::uint8_t { full, sliding };

/// Shapes and constants of a Gemma-2 model, under the names of config.json.
struct Gemma2Config {
    std::int64_t vocab_size = 0;
    std::int64_t hidden_size = 0;  ///< d_model, width of the residual stream
    std::int64_t num_hidden_layers = 0;
    std::int64_t num_attention_heads = 0;
    std::int64_t num_key_value_heads = 0;
    std::int64_t head_dim = 0;  ///< not hidden_size / num_attention_heads in any Gemma-2
    std::int64_t intermediate_size = 0;
    std::int64_t max_position_embeddings = 0;  ///< longest sequence, prompt and generated tokens together
    std::int64_t sliding_window = 0;           ///< on sliding layers position i sees j with i - sliding_window < j <= i
    double query_pre_attn_scalar = 0;          ///< attention scores are multiplied by its -1/2 power
    double rms_norm_eps = 0;
    double rope_theta = 0;
    std::optional<double> attn_logit_softcapping;   ///< none: scores are not capped
    std::optional<double> final_logit_softcapping;  ///< none: logits are not capped
    std::vector<AttentionKind> layer_types;         ///< [num_hidden_layers]
    std::vector<std::int32_t> eos_token_ids;        ///< any of them ends a generation; empty when the file says null
    std::optional<std::int32_t> bos_token_id;
    std::vector<std::string> warnings;  ///< doubtful but usable values, to be shown to the user once
};

/// Reads config.json as transformers 4 and 5 write it (rope_theta or rope_parameters; hidden_act or hidden_activation;
/// layer_types present or not: without it even layers slide). `where` names the file in messages.
/// Values absent from the file have the defaults of transformers' Gemma2Config, except shapes, which must be there.
/// Errors: InputError, naming the field, for another model_type and for every value that would change the result and
/// is not implemented.
Gemma2Config parse_gemma2_config(std::string_view json_text, const std::string& where);

/// The same from a file. Errors: InputError also when it cannot be read.
Gemma2Config load_gemma2_config(const std::string& path);

}  // namespace pva::model
