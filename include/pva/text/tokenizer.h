// Tokenizers: text to token ids and back, byte for byte. Two kinds of file: a SentencePiece model (`tokenizer.model`)
// and Hugging Face's `tokenizer.json` with a BPE model. docs/tokenizers.md says what is supported and what is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pva::text {

/// A token and the characters [begin, end) of the text it stands for, counted in code points. A token put there by the
/// tokenizer itself has {0, 0}.
struct TokenSpan {
    std::int32_t id = 0;
    std::size_t begin = 0;
    std::size_t end = 0;
    bool operator==(const TokenSpan&) const = default;
};

class TokenizerBackend;

/// A loaded tokenizer. Immutable after loading; const members may be called from several threads.
/// Sources: the SentencePiece library (Kudo and Richardson 2018), ids equal those of its own processor; the
/// `tokenizers` library of Hugging Face, whose ids and offsets are computed anew from the same file.
class Tokenizer {
  public:
    /// Reads a tokenizer file; its content decides which kind it is. A `tokenizer_config.json` beside it says which
    /// tokens are BOS and EOS (tokenizer.json) and whether they are added (SentencePiece).
    /// Errors: InputError when the file is missing, damaged, of another kind, or has components that are not supported.
    static Tokenizer load(const std::string& path);

    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;
    ~Tokenizer();

    /// Token ids of `text` (UTF-8) as the reference gives them by default: with the tokens that the post-processor of
    /// tokenizer.json puts around a text; with BOS and EOS of a SentencePiece model as `add_bos_token` and
    /// `add_eos_token` say (without a file that says it: BOS if the model has one, no EOS). BOS comes once: if the text
    /// already begins with the BOS token's own spelling (for Gemma "<bos>"), that spelling becomes the BOS token.
    /// Errors: InputError for invalid UTF-8 (with the byte offset) and for texts of 2 GiB or more.
    std::vector<std::int32_t> encode(std::string_view text) const;

    /// The same with nothing around the text but BOS, once, if `add_bos` is set. No EOS is added.
    /// Errors: as above, and InputError when BOS is wanted and the tokenizer has none.
    std::vector<std::int32_t> encode(std::string_view text, bool add_bos) const;

    /// The same tokens with the characters they stand for, as Hugging Face's `offset_mapping` has them. Several tokens
    /// may share a character (bytes of one) and a token may have none.
    std::vector<TokenSpan> encode_with_offsets(std::string_view text) const;
    std::vector<TokenSpan> encode_with_offsets(std::string_view text, bool add_bos) const;

    /// Whether `encode(text)` puts BOS before the text.
    bool adds_bos() const;

    /// The bytes the tokens stand for, one after another: byte-level and byte-fallback tokens give their bytes, control
    /// tokens and special added tokens nothing, and nothing is stripped or mended; the result may be invalid UTF-8.
    /// One exception: ids that begin with BOS are a whole text, and the one blank that a tokenizer with a dummy prefix
    /// (Llama 2, Mistral; not Gemma) put before it is taken away, so that decode(encode(text)) is the text.
    /// Errors: InputError for an id that the tokenizer does not have.
    std::string decode(std::span<const std::int32_t> ids) const;

    /// Appends the bytes of one token to `text`. Bytes of a character may be spread over several tokens, so `text` may
    /// end in the middle of one. Appending token after token equals `decode` of all of them, but for the blank after
    /// BOS.
    void append(std::int32_t id, std::string& text) const;

    /// Id of the begin-of-sequence token, -1 if there is none.
    std::int32_t bos_id() const;
    /// Id of the end-of-sequence token, -1 if there is none.
    std::int32_t eos_id() const;
    /// Id of the token for characters that no other covers, -1 if there is none.
    std::int32_t unk_id() const;
    /// Id of a token by its spelling in the tokenizer file ("<end_of_turn>"; ordinary pieces as the file writes them,
    /// for instance with U+2581 for a blank). Nothing when there is no such token.
    std::optional<std::int32_t> id_of(std::string_view piece) const;
    /// One more than the largest id. Ids of a tokenizer.json may have gaps.
    std::int32_t vocab_size() const;
    /// SHA-256 of the file, 64 hexadecimal digits.
    const std::string& sha256() const;
    /// The path given to `load`.
    const std::string& path() const;

  private:
    Tokenizer(std::string path, std::string sha256, std::unique_ptr<const TokenizerBackend> backend);
    const std::string& bytes_of(std::int32_t id) const;

    std::string path_;
    std::string sha256_;
    std::unique_ptr<const TokenizerBackend> backend_;
};

}  // namespace pva::text
