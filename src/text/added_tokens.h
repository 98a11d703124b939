// Added tokens of a tokenizer.json: spellings that become one token wherever they stand, before anything else is done
// to the text (or, when they say so, behind the normalizer).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

#include "aligned_text.h"
#include "bpe.h"
#include "normalizer.h"

namespace pva::text {

struct AddedToken {
    std::int32_t id = 0;
    std::string content;
    bool special = false;      ///< decodes to nothing
    bool normalized = false;   ///< looked for in the normalized text, in its normalized spelling
    bool single_word = false;  ///< not with a word character directly before or behind it
    bool lstrip = false;       ///< takes the white space before it
    bool rstrip = false;       ///< takes the white space behind it
};

/// A stretch of a text: an added token, or what lies between two.
struct TokenOrText {
    ByteRange range;
    std::optional<std::int32_t> id;
};

/// Immutable; may be used by several threads.
class AddedTokens {
  public:
    /// The list `added_tokens`. Errors: InputError for wrong fields, a content given twice, or an id that is not the
    /// one Hugging Face gives the token: that of the vocabulary, or else the next free one.
    AddedTokens(const nlohmann::json& value, const Bpe& bpe, const Normalizer* normalizer, const std::string& where);

    /// Cuts a text at the tokens that are looked for before normalization, or behind it. The longest spelling wins,
    /// from left to right. Never empty for a non-empty text.
    std::vector<TokenOrText> find(std::string_view text, bool normalized) const;

    /// By id, ascending.
    const std::map<std::int32_t, AddedToken>& tokens() const { return tokens_; }
    std::optional<std::int32_t> id_of(std::string_view content) const;

  private:
    /// Spellings as a trie over bytes; the root's children are looked up directly.
    struct Node {
        std::vector<std::pair<unsigned char, std::int32_t>> children;
        std::int32_t id = -1;
    };
    struct Trie {
        std::vector<Node> nodes{Node{}};
        std::vector<bool> first = std::vector<bool>(256, false);
        void add(std::string_view spelling, std::int32_t id);
        /// Id and length of the longest spelling at byte `at`; length 0: none.
        std::pair<std::int32_t, std::size_t> longest(std::string_view text, std::size_t at) const;
    };

    std::map<std::int32_t, AddedToken> tokens_;
    std::unordered_map<std::string, std::int32_t> ids_;
    Trie plain_;
    Trie normalized_;
};

}  // namespace pva::text
