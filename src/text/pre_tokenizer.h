// Pre-tokenizers of a tokenizer.json: how a normalized text is cut into the parts that BPE works on one by one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "aligned_text.h"

namespace pva::text {

/// A text and the parts it is cut into: ascending, non-empty, not necessarily covering all of it.
struct SplitText {
    AlignedText text;
    std::vector<ByteRange> parts;
};

/// One step (or a sequence of them). Immutable; may be used by several threads.
class PreTokenizer {
  public:
    virtual ~PreTokenizer() = default;
    virtual void apply(SplitText& split) const = 0;
    /// Whether the result depends on where the text stands in the original, so that origins must be kept.
    virtual bool needs_origins() const { return false; }
};

/// The pre-tokenizer of a tokenizer.json: null (gives nullptr), ByteLevel, Split, Digits, Metaspace, Sequence. Errors:
/// InputError naming a component that is not supported; `where` names the file.
std::unique_ptr<const PreTokenizer> read_pre_tokenizer(const nlohmann::json& value, const std::string& where);

}  // namespace pva::text
