// Search for added tokens with a trie, and their options.
#include "added_tokens.h"

#include <algorithm>
#include <utility>

#include "json_fields.h"
#include "unicode.h"

namespace pva::text {

void AddedTokens::Trie::add(std::string_view spelling, std::int32_t id) {
    if (spelling.empty()) return;
    first[static_cast<unsigned char>(spelling[0])] = true;
    std::size_t node = 0;
    for (const char c : spelling) {
        const auto byte = static_cast<unsigned char>(c);
        auto& children = nodes[node].children;
        const auto child = std::find_if(children.begin(), children.end(), [&](auto& one) { return one.first == byte; });
        if (child != children.end()) {
            node = static_cast<std::size_t>(child->second);
        } else {
            children.emplace_back(byte, static_cast<std::int32_t>(nodes.size()));
            node = nodes.size();
            nodes.emplace_back();
        }
    }
    if (nodes[node].id < 0) nodes[node].id = id;  // of two equal spellings the first one counts
}

std::pair<std::int32_t, std::size_t> AddedTokens::Trie::longest(std::string_view text, std::size_t at) const {
    std::pair<std::int32_t, std::size_t> best{-1, 0};
    std::size_t node = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const auto& children = nodes[node].children;
        const auto child = std::find_if(children.begin(), children.end(), [&](auto& one) { return one.first == byte; });
        if (child == children.end()) break;
        node = static_cast<std::size_t>(child->second);
        if (nodes[node].id >= 0) best = {nodes[node].id, i + 1 - at};
    }
    return best;
}

AddedTokens::AddedTokens(const nlohmann::json& value, const Bpe& bpe, const Normalizer* normalizer,
                         const std::string& where) {
    if (value.is_null()) return;
    const Component list(nlohmann::json::object(), where + ", added_tokens");
    if (!value.is_array()) list.refuse("a list is expected here");
    std::int32_t next_id = static_cast<std::int32_t>(bpe.size());
    std::vector<const AddedToken*> in_order;
    for (const auto& one : value) {
        const Component fields(one, list.where() + ", entry " + std::to_string(in_order.size()));
        fields.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
        AddedToken token;
        token.id = fields.id("id");
        token.content = fields.string("content");
        token.special = fields.boolean("special");
        token.normalized = fields.boolean("normalized");
        token.single_word = fields.boolean("single_word");
        token.lstrip = fields.boolean("lstrip");
        token.rstrip = fields.boolean("rstrip");
        if (token.content.empty()) fields.refuse("the content is empty");
        const auto id = bpe.id_of(token.content);
        const std::int32_t expected = id ? *id : next_id;
        if (token.id != expected) {
            fields.refuse("\"" + token.content + "\" has the id " + std::to_string(token.id) +
                          ", but Hugging Face would give it " + std::to_string(expected) +
                          " (its id in the vocabulary, or else the next free one)");
        }
        if (!id || *id >= next_id) next_id = expected + 1;
        if (!ids_.emplace(token.content, token.id).second || tokens_.count(token.id) != 0)
            fields.refuse("\"" + token.content + "\" is given twice");
        in_order.push_back(&tokens_.emplace(token.id, std::move(token)).first->second);
    }
    // Special tokens come first, so that they win against others of the same normalized spelling.
    std::stable_partition(in_order.begin(), in_order.end(), [](const AddedToken* token) { return token->special; });
    for (const AddedToken* token : in_order) {
        if (!token->normalized) {
            plain_.add(token->content, token->id);
        } else if (normalizer == nullptr) {
            normalized_.add(token->content, token->id);
        } else {
            normalized_.add(normalizer->apply(AlignedText(token->content, 0, false)).text(), token->id);
        }
    }
}

std::optional<std::int32_t> AddedTokens::id_of(std::string_view content) const {
    const auto found = ids_.find(std::string(content));
    if (found == ids_.end()) return std::nullopt;
    return found->second;
}

std::vector<TokenOrText> AddedTokens::find(std::string_view text, bool normalized) const {
    const Trie& trie = normalized ? normalized_ : plain_;
    std::vector<TokenOrText> result;
    std::size_t done = 0;  // everything before this byte is in `result`
    for (std::size_t at = 0; at < text.size();) {
        if (!trie.first[static_cast<unsigned char>(text[at])]) {
            ++at;
            continue;
        }
        const auto [id, length] = trie.longest(text, at);
        if (length == 0) {
            ++at;
            continue;
        }
        std::size_t begin = at;
        std::size_t end = at + length;
        at = end;
        const AddedToken& token = tokens_.at(id);
        if (token.single_word) {
            std::size_t before = begin;
            while (before > 0 && is_continuation_byte(text[--before])) {
            }
            std::size_t behind = end;
            if (begin > 0 && is_word_character(next_code_point(text, before))) continue;
            if (end < text.size() && is_word_character(next_code_point(text, behind))) continue;
        }
        // White space that the token before has taken stays with that one.
        if (token.lstrip) {
            begin = std::max(begin - trailing_white_space(text.substr(0, begin)), done);
            begin = std::min(begin, end);  // a token of white space may lie inside what is taken already
        }
        if (token.rstrip) end += leading_white_space(text.substr(end));
        if (done < begin) result.push_back({{done, begin}, std::nullopt});
        result.push_back({{begin, end}, id});
        done = end;
    }
    if (done != text.size()) result.push_back({{done, text.size()}, std::nullopt});
    return result;
}

}  // namespace pva::text
