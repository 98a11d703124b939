// Normalizers of a tokenizer.json: what is done to a text before it is split.
#pragma once

#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "aligned_text.h"

namespace pva::text {

/// One step (or a sequence of them). Immutable; may be used by several threads.
class Normalizer {
  public:
    virtual ~Normalizer() = default;
    virtual AlignedText apply(AlignedText text) const = 0;
};

/// The normalizer of a tokenizer.json: null (gives nullptr), NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace,
/// Sequence. Errors: InputError naming a component that is not supported; `where` names the file.
std::unique_ptr<const Normalizer> read_normalizer(const nlohmann::json& value, const std::string& where);

}  // namespace pva::text
