// Hugging Face's tokenizer.json: added tokens are split out, the rest is normalized, cut into parts and encoded by BPE,
// and tokens are put around the whole.
#include <algorithm>
#include <array>
#include <utility>

#include "added_tokens.h"
#include "backend.h"
#include "bpe.h"
#include "byte_level.h"
#include "decoder.h"
#include "json_fields.h"
#include "normalizer.h"
#include "post_processor.h"
#include "pre_tokenizer.h"
#include "pva/core/error.h"
#include "pva/text/utf8.h"
#include "tokenizer_config.h"
#include "unicode.h"

namespace pva::text {

namespace {

/// A token and the bytes of the original it stands for. Added tokens also know how much white space they took.
struct Token {
    std::int32_t id = 0;
    Origin origin;
    std::uint32_t leading_blanks = 0;   // characters
    std::uint32_t trailing_blanks = 0;  // characters
};

const std::string& byte_level_blank() {
    return byte_level_character(' ');
}

/// Blanks at the beginning and end of a token's spelling, in characters: U+0120 or white space.
std::pair<std::uint32_t, std::uint32_t> blanks_around(std::string_view token) {
    std::vector<bool> is_blank;
    std::size_t blank_at = 0;
    const char32_t blank = next_code_point(byte_level_blank(), blank_at);
    for (std::size_t at = 0; at < token.size();) {
        const char32_t c = next_code_point(token, at);
        is_blank.push_back(c == blank || is_white_space(c));
    }
    const auto leading = std::find(is_blank.begin(), is_blank.end(), false) - is_blank.begin();
    const auto trailing = std::find(is_blank.rbegin(), is_blank.rend(), false) - is_blank.rbegin();
    return {static_cast<std::uint32_t>(leading), static_cast<std::uint32_t>(trailing)};
}

class TokenizerJson final : public TokenizerBackend {
  public:
    TokenizerJson(const nlohmann::json& file, const std::string& path)
        : TokenizerJson(Component(file, where_of(path)), path) {}

    bool adds_bos() const override { return adds_bos_; }

    std::optional<std::int32_t> id_of(std::string_view piece) const override {
        if (const auto id = added_.id_of(piece)) return id;
        return bpe_.id_of(piece);
    }

    std::vector<TokenSpan> encode(std::string_view text, Around around, bool with_offsets) const override {
        const std::vector<Token> tokens = encode_body(text, with_offsets);
        std::vector<TokenSpan> result;
        result.reserve(tokens.size() + 2);
        std::vector<std::uint32_t> character;  // by byte
        if (with_offsets) {
            character.reserve(text.size() + 1);
            std::uint32_t count = 0;
            for (const char byte : text) {
                if (!is_continuation_byte(byte)) ++count;
                character.push_back(count - 1);
            }
            character.push_back(count);
        }
        for (const Token& token : tokens) {
            if (with_offsets) {
                result.push_back({token.id, character[token.origin.begin], character[token.origin.end]});
            } else {
                result.push_back({token.id, 0, 0});
            }
        }
        std::size_t before = 0;  // tokens that a template has put in front
        for (const auto& step : post_processor_) {
            if (const auto* trim = std::get_if<TrimOffsets>(&step)) {
                if (with_offsets) trim_offsets(*trim, tokens, before, result);
            } else if (around == Around::by_template) {
                before += put_around(std::get<Template>(step), result);
            }
        }
        if (around == Around::bos) {
            if (bos_id < 0) {
                throw InputError("tokenizer " + path_ +
                                 " has no BOS token, but one is wanted before the text; name it " +
                                 "as bos_token in tokenizer_config.json beside it.");
            }
            if (result.empty() || result.front().id != bos_id) result.insert(result.begin(), TokenSpan{bos_id, 0, 0});
        }
        return result;
    }

  private:
    TokenizerJson(const Component& file, const std::string& path)
        : path_(path),
          normalizer_(read_normalizer(file.value("normalizer"), file.where())),
          pre_tokenizer_(read_pre_tokenizer(file.value("pre_tokenizer"), file.where())),
          bpe_(file.value("model"), file.where()),
          added_(file.value("added_tokens"), bpe_, normalizer_.get(), file.where()),
          post_processor_(read_post_processor(file.value("post_processor"), file.where())) {
        file.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                   "decoder", "model"});
        make_tables(Decoder(file.value("decoder"), file.where()));
        for (const auto& step : post_processor_) {
            const auto* around = std::get_if<Template>(&step);
            if (around == nullptr) continue;
            for (const auto* ids : {&around->before, &around->behind}) {
                for (const std::int32_t id : *ids) {
                    if (static_cast<std::size_t>(id) >= bytes.size() || !bytes[static_cast<std::size_t>(id)])
                        file.refuse("the post_processor adds the id " + std::to_string(id) + ", which no token has");
                }
            }
        }
        unk_id = bpe_.unk_id();
        find_bos_and_eos();
    }

    static std::string where_of(const std::string& path) { return "tokenizer " + path; }

    void make_tables(const Decoder& decoder) {
        has_dummy_prefix = decoder.drops_first_blank();
        std::size_t places = 0;
        for (const auto& [piece, id] : bpe_.vocabulary())
            places = std::max(places, static_cast<std::size_t>(id) + 1);
        if (!added_.tokens().empty())
            places = std::max(places, static_cast<std::size_t>(added_.tokens().rbegin()->first) + 1);
        bytes.resize(places);
        blanks_.resize(places);
        for (const auto& [piece, id] : bpe_.vocabulary()) {
            bytes[static_cast<std::size_t>(id)] = decoder.bytes(piece);
            blanks_[static_cast<std::size_t>(id)] = blanks_around(piece);
        }
        for (const auto& [id, token] : added_.tokens()) {
            std::string its_bytes = token.special ? std::string() : decoder.bytes(token.content);
            // The spelling of an added token is text; read as byte-level characters it may be no text at all.
            if (valid_utf8_prefix(its_bytes) != its_bytes.size()) its_bytes = token.content;
            bytes[static_cast<std::size_t>(id)] = std::move(its_bytes);
        }
    }

    /// tokenizer_config.json names them. Without it, BOS is the first token of the template, and otherwise both are the
    /// special tokens that the supported families call so.
    void find_bos_and_eos() {
        const auto first_of = [&](const auto& spellings) {
            for (const std::string_view spelling : spellings) {
                const auto id = added_.id_of(spelling);
                if (id && added_.tokens().at(*id).special) return *id;
            }
            return -1;
        };
        if (const auto config = read_tokenizer_config(path_)) {
            if (config->bos_token) bos_id = id_of(*config->bos_token).value_or(-1);
            if (config->eos_token) eos_id = id_of(*config->eos_token).value_or(-1);
        } else {
            for (const auto& step : post_processor_) {
                const auto* around = std::get_if<Template>(&step);
                if (bos_id < 0 && around != nullptr && !around->before.empty()) bos_id = around->before.front();
            }
            if (bos_id < 0) bos_id = first_of(std::array{"<bos>", "<s>", "<|begin_of_text|>", "<|endoftext|>"});
            eos_id = first_of(std::array{"<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>"});
        }
        for (const auto& step : post_processor_) {
            const auto* around = std::get_if<Template>(&step);
            adds_bos_ =
                adds_bos_ || (around != nullptr && bos_id >= 0 &&
                              std::find(around->before.begin(), around->before.end(), bos_id) != around->before.end());
        }
    }

    std::vector<Token> encode_body(std::string_view text, bool with_offsets) const {
        std::vector<Token> tokens;
        Bpe::Workspace workspace;
        std::vector<BpeToken> of_part;
        SplitText split{AlignedText(false), {}};
        const bool aligned = with_offsets || (pre_tokenizer_ && pre_tokenizer_->needs_origins());
        const auto put_added = [&](std::int32_t id, std::string_view spelling, Origin origin) {
            const auto [leading, trailing] = with_offsets ? blanks_around(spelling) : std::pair{0u, 0u};
            tokens.push_back({id, origin, leading, trailing});
        };
        for (const TokenOrText& plain : added_.find(text, false)) {
            const std::string_view section = text.substr(plain.range.begin, plain.range.size());
            if (plain.id) {
                put_added(*plain.id, section,
                          {static_cast<std::uint32_t>(plain.range.begin), static_cast<std::uint32_t>(plain.range.end)});
                continue;
            }
            AlignedText normalized(section, plain.range.begin, aligned);
            if (normalizer_) normalized = normalizer_->apply(std::move(normalized));
            for (const TokenOrText& one : added_.find(normalized.text(), true)) {
                if (one.id) {
                    put_added(*one.id, std::string_view(normalized.text()).substr(one.range.begin, one.range.size()),
                              origin_of(normalized, one.range));
                    continue;
                }
                split.text = AlignedText(aligned);
                split.text.append(normalized, one.range);
                split.parts.assign(1, {0, one.range.size()});
                if (pre_tokenizer_) pre_tokenizer_->apply(split);
                for (const ByteRange& part : split.parts) {
                    of_part.clear();
                    bpe_.encode(std::string_view(split.text.text()).substr(part.begin, part.size()), workspace,
                                of_part);
                    std::size_t begin = part.begin;
                    for (const BpeToken& token : of_part) {
                        const std::size_t end = part.begin + token.end;
                        const auto [leading, trailing] = blanks_[static_cast<std::size_t>(token.id)];
                        tokens.push_back({token.id, origin_of(split.text, {begin, end}), leading, trailing});
                        begin = end;
                    }
                }
            }
        }
        return tokens;
    }

    static Origin origin_of(const AlignedText& text, ByteRange range) {
        return {text.origin(range.begin).begin, text.origin(range.end - 1).end};
    }

    /// As ByteLevel's post-processing does it: the first token keeps the one blank that was put before the text.
    static void trim_offsets(const TrimOffsets& trim, const std::vector<Token>& tokens, std::size_t before,
                             std::vector<TokenSpan>& result) {
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            TokenSpan& span = result[before + i];
            std::size_t leading = tokens[i].leading_blanks;
            const std::size_t trailing = tokens[i].trailing_blanks;
            if (leading > 0) {
                const bool is_first = before + i == 0 || span.begin == 0;
                if (is_first && trim.add_prefix_space && leading == 1) leading = 0;
                span.begin = std::min(span.begin + leading, span.end);
            }
            if (trailing > 0 && span.end >= trailing) span.end = std::max(span.end - trailing, span.begin);
        }
    }

    /// Returns the number of tokens put in front. BOS is left out when the text spells it itself.
    std::size_t put_around(const Template& around, std::vector<TokenSpan>& result) const {
        std::vector<TokenSpan> before;
        for (const std::int32_t id : around.before)
            before.push_back({id, 0, 0});
        if (!before.empty() && before.back().id == bos_id && !result.empty() && result.front().id == bos_id)
            before.pop_back();
        result.insert(result.begin(), before.begin(), before.end());
        for (const std::int32_t id : around.behind)
            result.push_back({id, 0, 0});
        return before.size();
    }

    std::string path_;
    std::unique_ptr<const Normalizer> normalizer_;
    std::unique_ptr<const PreTokenizer> pre_tokenizer_;
    Bpe bpe_;
    AddedTokens added_;
    std::vector<std::variant<TrimOffsets, Template>> post_processor_;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> blanks_;  // by id, of the spelling: leading, trailing
    bool adds_bos_ = false;
};

}  // namespace

std::unique_ptr<const TokenizerBackend> load_tokenizer_json(const std::string& path, const std::string& content) {
    return std::make_unique<TokenizerJson>(parse_json(content, "tokenizer " + path), path);
}

}  // namespace pva::text
