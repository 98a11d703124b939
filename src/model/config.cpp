// Reading config.json of any known architecture.
#include "pva/model/config.h"

#include <fstream>
#include <iterator>

#include "pva/core/error.h"
#include "pva/model/architecture.h"

namespace pva::model {

std::int64_t site_width(const ModelConfig& config, Site site) {
    return site == Site::z ? config.num_attention_heads * config.head_dim : config.hidden_size;
}

std::int64_t cache_bytes_per_token(const ModelConfig& config, std::int64_t bytes_per_value) {
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * bytes_per_value;
}

ModelConfig parse_config(std::string_view json_text, const std::string& where) {
    return parse_architecture(ConfigReader(json_text, where)).config;
}

ModelConfig load_config(const std::string& path) {
    return load_architecture(path).config;
}

ParsedArchitecture load_architecture(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw InputError("model configuration " + path +
                         " cannot be opened. A Hugging Face config.json is expected there.");
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    return parse_architecture(ConfigReader(text, path));
}

}  // namespace pva::model
