// The few fields of a tokenizer_config.json that decide about BOS and EOS.
#pragma once

#include <optional>
#include <string>

namespace pva::text {

struct TokenizerConfig {
    std::optional<bool> add_bos_token;
    std::optional<bool> add_eos_token;
    std::optional<std::string> bos_token;
    std::optional<std::string> eos_token;
};

/// The tokenizer_config.json in the folder of `tokenizer_path`; nothing when there is none. Errors: InputError when it
/// is damaged, IoError when it cannot be read.
std::optional<TokenizerConfig> read_tokenizer_config(const std::string& tokenizer_path);

/// All bytes of a file. Errors: IoError.
std::string read_whole_file(const std::string& path);

}  // namespace pva::text
