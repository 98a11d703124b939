// Text that remembers which bytes of the original text each of its bytes stands for, through all transformations.
// The rules of alignment are those of the `tokenizers` library (NormalizedString), odd ones included: offsets of
// tokens are compared with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pva::text {

/// Bytes [begin, end) of the original text.
struct Origin {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
};

/// A half-open range of bytes.
struct ByteRange {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t size() const { return end - begin; }
};

/// Text with the origin of each byte. Without `aligned` the origins are not kept (they cost 8 bytes a byte).
class AlignedText {
  public:
    /// Empty text.
    explicit AlignedText(bool aligned) : aligned_(aligned) {}
    /// Bytes of the original text as they are; they begin there at byte `at`.
    AlignedText(std::string_view bytes, std::size_t at, bool aligned);

    const std::string& text() const { return text_; }
    bool aligned() const { return aligned_; }
    bool empty() const { return text_.empty(); }
    /// Origin of one byte of the text; {0, 0} when origins are not kept or there is no such byte.
    Origin origin(std::size_t at) const { return at < origin_.size() ? origin_[at] : Origin{}; }

    /// Appends bytes that all have one origin.
    void append(std::string_view bytes, Origin origin);
    /// Appends a range of another text with its origins.
    void append(const AlignedText& other, ByteRange range);
    void reserve(std::size_t bytes);

  private:
    std::string text_;
    std::vector<Origin> origin_;
    bool aligned_;
};

/// One character of a transformed text. change 0: it replaces the next character; n > 0: it is a new one and shares the
/// origin of what precedes it; -n: it replaces the next character and the n characters behind that are dropped.
struct CharacterChange {
    char32_t code_point = 0;
    int change = 0;
};

/// The text put together from `changes`, after dropping the first `dropped_at_start` characters.
AlignedText transformed(const AlignedText& text, std::span<const CharacterChange> changes,
                        std::size_t dropped_at_start = 0);

}  // namespace pva::text
