// What the two kinds of tokenizer have in common, behind pva::text::Tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pva/text/tokenizer.h"

namespace pva::text {

/// Which tokens are put around a text: those of the file's own template, BOS alone, or none.
enum class Around { by_template, bos, nothing };

/// Immutable; const members may be called from several threads.
class TokenizerBackend {
  public:
    virtual ~TokenizerBackend() = default;

    /// Tokens of valid UTF-8. Spans are filled only `with_offsets`. Errors: InputError when BOS is wanted and missing.
    virtual std::vector<TokenSpan> encode(std::string_view text, Around around, bool with_offsets) const = 0;
    virtual bool adds_bos() const = 0;
    virtual std::optional<std::int32_t> id_of(std::string_view piece) const = 0;

    std::int32_t bos_id = -1;
    std::int32_t eos_id = -1;
    std::int32_t unk_id = -1;
    /// Whether the tokenizer puts a blank before a text that it should not have after decoding.
    bool has_dummy_prefix = false;
    /// Bytes of every token, by id; nothing where the file has no token.
    std::vector<std::optional<std::string>> bytes;
};

/// A SentencePiece model. Errors: InputError.
std::unique_ptr<const TokenizerBackend> load_sentencepiece(const std::string& path);

/// A tokenizer.json; `content` is the text of the file at `path`. Errors: InputError.
std::unique_ptr<const TokenizerBackend> load_tokenizer_json(const std::string& path, const std::string& content);

}  // namespace pva::text
