// What every decoder-only model of this room has: shapes, rotary embedding, windows, caps, special tokens, site names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pva/model/sites.h"

namespace pva::model {

/// Llama 3's rescaling of rotary frequencies (`rope_type` "llama3"): wavelengths below original / high_freq_factor stay,
/// those above original / low_freq_factor are stretched by `factor`, those between are blended.
struct Llama3RopeScaling {
    double factor = 0;
    double low_freq_factor = 0;
    double high_freq_factor = 0;
    double original_max_position_embeddings = 0;
};

struct RotaryConfig {
    std::int64_t dims = 0;  ///< frequency i is theta^(-2i / dims), for 2i < dims
    double theta = 0;
    std::optional<Llama3RopeScaling> scaling;
};

/// First channels of each head that are turned, two a frequency (one more than dims when that is odd, as transformers
/// does); the others pass through.
inline std::int64_t turned_channels(const RotaryConfig& rotary) {
    return 2 * ((rotary.dims + 1) / 2);
}

/// An output of a Hugging Face module that is a site ("{}" stands for the layer), or that is easily mistaken for one.
struct ModuleSite {
    std::string module;
    Site site;
    std::string refused;  ///< when not empty: why the output of this module is not the site
};

/// Shapes and constants common to all architectures, under the names of config.json where there is one.
struct ModelConfig {
    std::string model_type;  ///< as config.json has it: "gemma2", "gpt_neox", "llama", "mistral", "qwen2"
    std::int64_t vocab_size = 0;
    std::int64_t hidden_size = 0;  ///< d_model, width of the residual stream
    std::int64_t num_hidden_layers = 0;
    std::int64_t num_attention_heads = 0;
    std::int64_t num_key_value_heads = 0;
    std::int64_t head_dim = 0;  ///< need not be hidden_size / num_attention_heads
    std::int64_t intermediate_size = 0;
    std::int64_t max_position_embeddings = 0;  ///< longest sequence, prompt and generated tokens together
    double norm_eps = 0;                       ///< rms_norm_eps or layer_norm_eps
    double attention_scale = 0;                ///< attention scores are multiplied by it
    std::optional<double> attn_logit_softcapping;   ///< none: scores are not capped
    std::optional<double> final_logit_softcapping;  ///< none: logits are not capped
    RotaryConfig rotary;
    /// [num_hidden_layers]; in a layer of window w > 0 position i sees j with i - w < j <= i, with 0 all j <= i.
    std::vector<std::int64_t> windows;
    bool tie_word_embeddings = false;
    std::vector<std::int32_t> eos_token_ids;  ///< ascending; any of them ends a generation; may be empty
    std::optional<std::int32_t> bos_token_id;
    bool has_resid_mid = false;  ///< false where attention and MLP both read the block's input
    std::vector<ModuleSite> module_sites;
    std::vector<std::string> warnings;  ///< doubtful but usable values, to be shown to the user once
};

/// Width of the rows at a site: num_attention_heads * head_dim for z, hidden_size for all others.
std::int64_t site_width(const ModelConfig& config, Site site);

/// Bytes of keys and values that one token adds to the cache.
std::int64_t cache_bytes_per_token(const ModelConfig& config, std::int64_t bytes_per_value);

/// Reads config.json of any known architecture. `where` names the file in messages. Values absent from the file have
/// the defaults of transformers, except shapes, which must be there. Errors: InputError, naming the field, for an
/// unknown model_type and for every value that would change the result and is not implemented.
ModelConfig parse_config(std::string_view json_text, const std::string& where);

/// The same from a file. Errors: InputError also when it cannot be read.
ModelConfig load_config(const std::string& path);

}  // namespace pva::model
