// Normalizers. Unicode normalization forms are put together here from ICU's character data, because the alignment of
// every character with the original text is wanted too; a text that is normalized already is left alone.
#include "normalizer.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include "json_fields.h"
#include "pattern.h"
#include "pva/core/error.h"
#include "unicode.h"

namespace pva::text {

namespace {

enum class Form { nfc, nfd, nfkc, nfkd };

/// Whether the reference's normalization knows a character: the `tokenizers` library (0.23 still) normalizes by the
/// data of Unicode 9, for which later characters are unassigned: they neither decompose nor compose nor change places.
bool known_to_reference(char32_t c) {
    if (c < 0x7FD) return true;  // the first character that came later
    UVersionInfo age;
    u_charAge(static_cast<UChar32>(c), age);
    return age[0] <= 9;
}

class UnicodeForm final : public Normalizer {
  public:
    explicit UnicodeForm(Form form) : composes_(form == Form::nfc || form == Form::nfkc) {
        UErrorCode status = U_ZERO_ERROR;
        const bool compatible = form == Form::nfkc || form == Form::nfkd;
        canonical_ = icu::Normalizer2::getNFCInstance(status);
        mapping_ = compatible ? icu::Normalizer2::getNFKCInstance(status) : canonical_;
        whole_ = composes_    ? mapping_
                 : compatible ? icu::Normalizer2::getNFKDInstance(status)
                              : icu::Normalizer2::getNFDInstance(status);
        if (U_FAILURE(status))
            throw InternalError(std::string("ICU has no normalization data: ") + u_errorName(status));
    }

    AlignedText apply(AlignedText text) const override {
        UErrorCode status = U_ZERO_ERROR;
        const std::string& source = text.text();
        const icu::StringPiece bytes(source.data(), static_cast<std::int32_t>(source.size()));
        if (whole_->isNormalizedUTF8(bytes, status) && U_SUCCESS(status)) return text;
        std::vector<CharacterChange> changes = decomposed(source);
        if (composes_) changes = composed(changes);
        return transformed(text, changes);
    }

  private:
    /// Full decomposition, marks in canonical order. The first character of a mapping replaces, the others are new.
    std::vector<CharacterChange> decomposed(const std::string& source) const {
        std::vector<CharacterChange> result;
        result.reserve(source.size());
        icu::UnicodeString mapping;
        for (std::size_t at = 0; at < source.size();) {
            const char32_t c = next_code_point(source, at);
            if (!known_to_reference(c) || !mapping_->getDecomposition(static_cast<UChar32>(c), mapping)) {
                result.push_back({c, 0});
                continue;
            }
            for (std::int32_t i = 0; i < mapping.length(); i = mapping.moveIndex32(i, 1))
                result.push_back({static_cast<char32_t>(mapping.char32At(i)), i == 0 ? 0 : 1});
        }
        for (auto begin = result.begin(); begin != result.end();) {
            if (combining_class(begin->code_point) == 0) {
                ++begin;
                continue;
            }
            const auto end = std::find_if(
                begin, result.end(), [&](const CharacterChange& one) { return combining_class(one.code_point) == 0; });
            std::stable_sort(begin, end, [&](const CharacterChange& a, const CharacterChange& b) {
                return combining_class(a.code_point) < combining_class(b.code_point);
            });
            begin = end;
        }
        return result;
    }

    /// Canonical composition (Unicode 3.11): a mark joins the last starter unless a mark of its class or a higher one
    /// stands between.
    std::vector<CharacterChange> composed(const std::vector<CharacterChange>& source) const {
        std::vector<CharacterChange> result;
        result.reserve(source.size());
        std::optional<std::size_t> starter;
        int last_class = -1;  // of the last mark behind the starter that stayed, -1: none
        for (const CharacterChange& one : source) {
            const int its_class = combining_class(one.code_point);
            if (starter && last_class < its_class) {
                const UChar32 both = canonical_->composePair(static_cast<UChar32>(result[*starter].code_point),
                                                             static_cast<UChar32>(one.code_point));
                if (both >= 0 && known_to_reference(static_cast<char32_t>(both))) {
                    result[*starter].code_point = static_cast<char32_t>(both);
                    result[*starter].change += one.change - 1;
                    continue;
                }
            }
            result.push_back(one);
            if (its_class == 0) {
                starter = result.size() - 1;
                last_class = -1;
            } else {
                last_class = its_class;
            }
        }
        return result;
    }

    int combining_class(char32_t c) const {
        if (c < 0x300 || !known_to_reference(c)) return 0;
        return canonical_->getCombiningClass(static_cast<UChar32>(c));
    }

    bool composes_;
    const icu::Normalizer2* canonical_ = nullptr;
    const icu::Normalizer2* mapping_ = nullptr;
    const icu::Normalizer2* whole_ = nullptr;
};

class Lowercase final : public Normalizer {
  public:
    AlignedText apply(AlignedText text) const override {
        std::vector<CharacterChange> changes;
        const std::string& source = text.text();
        changes.reserve(source.size());
        for (std::size_t at = 0; at < source.size();) {
            // Character by character: no rule that looks at its neighbours or at a language.
            icu::UnicodeString lower(static_cast<UChar32>(next_code_point(source, at)));
            lower.toLower(icu::Locale::getRoot());
            for (std::int32_t i = 0; i < lower.length(); i = lower.moveIndex32(i, 1))
                changes.push_back({static_cast<char32_t>(lower.char32At(i)), i == 0 ? 0 : 1});
        }
        return transformed(text, changes);
    }
};

class Strip final : public Normalizer {
  public:
    Strip(bool left, bool right) : left_(left), right_(right) {}

    AlignedText apply(AlignedText text) const override {
        const std::string_view source = text.text();
        const std::size_t begin = left_ ? leading_white_space(source) : 0;
        const std::size_t end = source.size() - (right_ ? trailing_white_space(source.substr(begin)) : 0);
        AlignedText result(text.aligned());
        result.append(text, {begin, end});
        return result;
    }

  private:
    bool left_;
    bool right_;
};

class Prepend final : public Normalizer {
  public:
    explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}

    AlignedText apply(AlignedText text) const override {
        if (text.empty()) return text;
        AlignedText result(text.aligned());
        result.append(prefix_, text.origin(0));
        result.append(text, {0, text.text().size()});
        return result;
    }

  private:
    std::string prefix_;
};

class Replace final : public Normalizer {
  public:
    Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}

    AlignedText apply(AlignedText text) const override {
        AlignedText result(text.aligned());
        std::size_t at = 0;
        pattern_.each_match(text.text(), [&](ByteRange match) {
            result.append(text, {at, match.begin});
            result.append(content_, match.end > 0 ? text.origin(match.end - 1) : Origin{});
            at = match.end;
        });
        if (at == 0 && result.empty()) return text;  // nothing found
        result.append(text, {at, text.text().size()});
        return result;
    }

  private:
    Pattern pattern_;
    std::string content_;
};

class Sequence final : public Normalizer {
  public:
    explicit Sequence(std::vector<std::unique_ptr<const Normalizer>> steps) : steps_(std::move(steps)) {}

    AlignedText apply(AlignedText text) const override {
        for (const auto& step : steps_)
            text = step->apply(std::move(text));
        return text;
    }

  private:
    std::vector<std::unique_ptr<const Normalizer>> steps_;
};

}  // namespace

std::unique_ptr<const Normalizer> read_normalizer(const nlohmann::json& value, const std::string& where) {
    if (value.is_null()) return nullptr;
    const Component component(value, where + ", normalizer");
    const std::string type = component.type();
    const Component named(value, component.where() + " " + type);
    for (const auto& [name, form] : {std::pair{"NFC", Form::nfc}, std::pair{"NFD", Form::nfd},
                                     std::pair{"NFKC", Form::nfkc}, std::pair{"NFKD", Form::nfkd}}) {
        if (type != name) continue;
        named.only({"type"});
        return std::make_unique<UnicodeForm>(form);
    }
    if (type == "Lowercase") {
        named.only({"type"});
        return std::make_unique<Lowercase>();
    }
    if (type == "Strip") {
        named.only({"type", "strip_left", "strip_right"});
        return std::make_unique<Strip>(named.boolean("strip_left"), named.boolean("strip_right"));
    }
    if (type == "Prepend") {
        named.only({"type", "prepend"});
        return std::make_unique<Prepend>(named.string("prepend"));
    }
    if (type == "Replace") {
        named.only({"type", "pattern", "content"});
        return std::make_unique<Replace>(Pattern(pattern_text(named), named.where()), named.string("content"));
    }
    if (type == "Sequence") {
        named.only({"type", "normalizers"});
        std::vector<std::unique_ptr<const Normalizer>> steps;
        for (const auto& one : named.array("normalizers")) {
            auto step = read_normalizer(one, where);
            if (step) steps.push_back(std::move(step));
        }
        return std::make_unique<Sequence>(std::move(steps));
    }
    named.refuse("pva does not support this normalizer");
}

}  // namespace pva::text
