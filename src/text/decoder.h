// Decoders of a tokenizer.json: the bytes one token stands for.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "pattern.h"

namespace pva::text {

/// Immutable. What the file's decoder does to all tokens together (joining them, mending UTF-8, taking one blank from
/// the front) is not done here: `bytes` looks at one token.
class Decoder {
  public:
    /// Supported: ByteLevel, Metaspace, and Replace, ByteFallback, Fuse, Strip alone or in a Sequence. Errors:
    /// InputError naming a component that is not supported; `where` names the file.
    Decoder(const nlohmann::json& value, const std::string& where);

    std::string bytes(std::string_view token) const;
    /// Whether decoding takes one blank from the front of the text: the one the tokenizer put there.
    bool drops_first_blank() const { return drops_first_blank_; }

  private:
    struct ByteLevel {};
    struct ByteFallback {};
    struct Replace {
        Pattern pattern;
        std::string content;
    };
    struct Strip {
        std::string content;
        std::size_t start = 0;
        std::size_t stop = 0;
    };
    using Step = std::variant<ByteLevel, ByteFallback, Replace, Strip>;

    void read(const nlohmann::json& value, const std::string& where, bool& fused);

    std::vector<Step> steps_;
    bool drops_first_blank_ = false;
};

}  // namespace pva::text
