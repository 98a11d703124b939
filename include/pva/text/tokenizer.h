// SentencePiece tokenizer (`tokenizer.model` of Gemma): text to token ids and back, byte for byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pva::text {

/// A loaded SentencePiece model. Immutable after loading; const members may be called from several threads.
/// Source: the SentencePiece library (Kudo and Richardson 2018); ids equal those of its own processor.
class Tokenizer {
  public:
    /// Reads a SentencePiece model file. Errors: InputError when it is missing, damaged or of another kind.
    static Tokenizer load(const std::string& path);

    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;
    ~Tokenizer();

    /// Token ids of `text` (UTF-8). With `add_bos` the BOS token comes first, once: if the text already begins with the
    /// BOS piece's own spelling (for Gemma "<bos>"), that spelling becomes the BOS token. No EOS is added.
    /// Errors: InputError for invalid UTF-8 (with the byte offset) or when the model has no BOS token.
    std::vector<std::int32_t> encode(std::string_view text, bool add_bos) const;

    /// The bytes the tokens stand for, one after another: byte-fallback tokens give their byte, control tokens nothing,
    /// and no blank is stripped (a tokenizer with `add_dummy_prefix`, which Gemma's is not, gives its blank back).
    /// The result may be invalid UTF-8 when the model wrote such bytes. Errors: InputError for an id out of range.
    std::string decode(std::span<const std::int32_t> ids) const;

    /// Appends the bytes of one token to `text`. Bytes of a character may be spread over several tokens, so `text` may
    /// end in the middle of one. Appending token after token equals `decode` of all of them.
    void append(std::int32_t id, std::string& text) const;

    /// Id of the begin-of-sequence token, -1 if the model has none.
    std::int32_t bos_id() const;
    /// Id of the end-of-sequence token, -1 if the model has none.
    std::int32_t eos_id() const;
    /// Number of pieces; valid ids are 0 to vocab_size() - 1.
    std::int32_t vocab_size() const;
    /// SHA-256 of the file, 64 hexadecimal digits.
    const std::string& sha256() const;
    /// The path given to `load`.
    const std::string& path() const;

  private:
    struct Impl;
    explicit Tokenizer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace pva::text
