// Pre-tokenizers: Split, Digits, ByteLevel, Metaspace and sequences of them.
#include "pre_tokenizer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "byte_level.h"
#include "json_fields.h"
#include "pattern.h"
#include "unicode.h"

namespace pva::text {

namespace {

/// What becomes of the matches of a pattern. "the-final--countdown" split at "-":
/// removed: the|final|countdown; isolated: the|-|final|-|-|countdown; merged_with_previous: the-|final-|-|countdown;
/// merged_with_next: the|-final|-|-countdown; contiguous: the|-|final|--|countdown.
enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// A stretch of a part: a match of the pattern or what lies between two.
struct Stretch {
    ByteRange range;
    bool is_match = false;
};

/// Appends the new parts that the stretches of one part give. Stretches cover the part in order.
void cut(const std::vector<Stretch>& stretches, Behavior behavior, std::vector<ByteRange>& parts) {
    const auto put = [&](ByteRange range) {
        if (range.size() > 0) parts.push_back(range);
    };
    bool previous = false;
    switch (behavior) {
        case Behavior::isolated:
            for (const Stretch& one : stretches)
                put(one.range);
            return;
        case Behavior::removed:
            for (const Stretch& one : stretches) {
                if (!one.is_match) put(one.range);
            }
            return;
        case Behavior::merged_with_previous:
        case Behavior::contiguous: {
            std::vector<ByteRange> merged;
            for (const Stretch& one : stretches) {
                const bool joins =
                    behavior == Behavior::contiguous ? one.is_match == previous : one.is_match && !previous;
                if (joins && !merged.empty()) {
                    merged.back().end = one.range.end;
                } else {
                    merged.push_back(one.range);
                }
                previous = one.is_match;
            }
            for (const ByteRange& one : merged)
                put(one);
            return;
        }
        case Behavior::merged_with_next: {
            std::vector<ByteRange> merged;  // from right to left
            for (auto one = stretches.rbegin(); one != stretches.rend(); ++one) {
                if (one->is_match && !previous && !merged.empty()) {
                    merged.back().begin = one->range.begin;
                } else {
                    merged.push_back(one->range);
                }
                previous = one->is_match;
            }
            for (auto one = merged.rbegin(); one != merged.rend(); ++one)
                put(*one);
            return;
        }
    }
}

/// Cuts every part at the matches of a pattern; `inverted` swaps matches and what lies between.
void split_parts(SplitText& split, const Pattern& pattern, Behavior behavior, bool inverted) {
    std::vector<ByteRange> parts;
    parts.reserve(split.parts.size() + split.text.text().size() / 4);
    std::vector<Stretch> stretches;
    std::size_t part = 0;
    std::size_t at = split.parts.empty() ? 0 : split.parts[0].begin;
    const auto finish_part = [&] {
        if (at != split.parts[part].end) stretches.push_back({{at, split.parts[part].end}, inverted});
        cut(stretches, behavior, parts);
        stretches.clear();
        if (++part < split.parts.size()) at = split.parts[part].begin;
    };
    pattern.each_match_in_parts(split.text.text(), split.parts, [&](std::size_t of_part, ByteRange match) {
        while (part < of_part)
            finish_part();
        if (at != match.begin) stretches.push_back({{at, match.begin}, inverted});
        stretches.push_back({match, !inverted});
        at = match.end;
    });
    while (part < split.parts.size())
        finish_part();
    split.parts = std::move(parts);
}

class Split final : public PreTokenizer {
  public:
    Split(Pattern pattern, Behavior behavior, bool inverted)
        : pattern_(std::move(pattern)), behavior_(behavior), inverted_(inverted) {}

    void apply(SplitText& split) const override { split_parts(split, pattern_, behavior_, inverted_); }

  private:
    Pattern pattern_;
    Behavior behavior_;
    bool inverted_;
};

class Digits final : public PreTokenizer {
  public:
    explicit Digits(bool individual) : behavior_(individual ? Behavior::isolated : Behavior::contiguous) {}

    void apply(SplitText& split) const override {
        const std::string& text = split.text.text();
        std::vector<ByteRange> parts;
        parts.reserve(split.parts.size());
        std::vector<Stretch> stretches;
        for (const ByteRange& part : split.parts) {
            stretches.clear();
            std::size_t begin = part.begin;  // of what is no digit
            for (std::size_t at = part.begin; at < part.end;) {
                const std::size_t here = at;
                if (!is_numeric(next_code_point(text, at))) continue;
                if (begin < here) stretches.push_back({{begin, here}, false});
                stretches.push_back({{here, at}, true});
                begin = at;
            }
            if (begin < part.end) stretches.push_back({{begin, part.end}, false});
            cut(stretches, behavior_, parts);
        }
        split.parts = std::move(parts);
    }

  private:
    Behavior behavior_;
};

/// The expression of GPT-2's tokenizer.
const PatternText gpt2_pattern{R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", true};

class ByteLevel final : public PreTokenizer {
  public:
    ByteLevel(bool add_prefix_space, bool use_regex, const std::string& where) : add_prefix_space_(add_prefix_space) {
        if (use_regex) pattern_.emplace(gpt2_pattern, where);
    }

    void apply(SplitText& split) const override {
        if (add_prefix_space_) {
            rebuild(split, [](const AlignedText& from, ByteRange part, AlignedText& to) {
                if (from.text()[part.begin] != ' ') to.append(" ", from.origin(part.begin));
                to.append(from, part);
            });
        }
        if (pattern_) split_parts(split, *pattern_, Behavior::isolated, false);
        rebuild(split, [](const AlignedText& from, ByteRange part, AlignedText& to) {
            for (std::size_t i = part.begin; i < part.end; ++i)
                to.append(byte_level_character(static_cast<unsigned char>(from.text()[i])), from.origin(i));
        });
    }

    /// Puts every part down anew by `write(from, part, to)`.
    template <class Write>
    static void rebuild(SplitText& split, const Write& write) {
        AlignedText result(split.text.aligned());
        result.reserve(split.text.text().size() * 5 / 4 + 16);
        for (ByteRange& part : split.parts) {
            const std::size_t begin = result.text().size();
            write(split.text, part, result);
            part = {begin, result.text().size()};
        }
        split.text = std::move(result);
    }

  private:
    bool add_prefix_space_;
    std::optional<Pattern> pattern_;
};

class Metaspace final : public PreTokenizer {
  public:
    enum class Prepend { always, first, never };

    Metaspace(std::string replacement, Prepend prepend, bool splits, const std::string& where)
        : replacement_(std::move(replacement)),
          prepend_(prepend),
          splits_(splits),
          pattern_(PatternText{replacement_, false}, where) {}

    bool needs_origins() const override { return prepend_ == Prepend::first; }

    void apply(SplitText& split) const override {
        ByteLevel::rebuild(split, [&](const AlignedText& from, ByteRange part, AlignedText& to) {
            const std::string_view text = std::string_view(from.text()).substr(part.begin, part.size());
            const bool has_it = text.starts_with(replacement_) || text.front() == ' ';
            const bool wanted =
                prepend_ == Prepend::always || (prepend_ == Prepend::first && from.origin(part.begin).begin == 0);
            if (wanted && !has_it) to.append(replacement_, from.origin(part.begin));
            std::size_t at = part.begin;
            while (at < part.end) {
                const std::size_t blank = std::min(from.text().find(' ', at), part.end);
                to.append(from, {at, blank});
                if (blank < part.end) to.append(replacement_, from.origin(blank));
                at = blank + 1;
            }
        });
        if (splits_) split_parts(split, pattern_, Behavior::merged_with_next, false);
    }

  private:
    std::string replacement_;
    Prepend prepend_;
    bool splits_;
    Pattern pattern_;
};

class Sequence final : public PreTokenizer {
  public:
    explicit Sequence(std::vector<std::unique_ptr<const PreTokenizer>> steps) : steps_(std::move(steps)) {}

    void apply(SplitText& split) const override {
        for (const auto& step : steps_)
            step->apply(split);
    }

    bool needs_origins() const override {
        for (const auto& step : steps_) {
            if (step->needs_origins()) return true;
        }
        return false;
    }

  private:
    std::vector<std::unique_ptr<const PreTokenizer>> steps_;
};

Behavior behavior_of(const Component& component) {
    const std::string name = component.string("behavior");
    if (name == "Removed") return Behavior::removed;
    if (name == "Isolated") return Behavior::isolated;
    if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
    if (name == "MergedWithNext") return Behavior::merged_with_next;
    if (name == "Contiguous") return Behavior::contiguous;
    component.refuse("the behavior \"" + name + "\" is unknown");
}

Metaspace::Prepend prepend_of(const Component& component) {
    const std::string scheme = component.string("prepend_scheme", "always");
    if (!component.boolean("add_prefix_space", true) && scheme != "never")
        component.refuse("add_prefix_space false contradicts prepend_scheme \"" + scheme + "\"");
    if (scheme == "always") return Metaspace::Prepend::always;
    if (scheme == "first") return Metaspace::Prepend::first;
    if (scheme == "never") return Metaspace::Prepend::never;
    component.refuse("the prepend_scheme \"" + scheme + "\" is unknown");
}

}  // namespace

std::unique_ptr<const PreTokenizer> read_pre_tokenizer(const nlohmann::json& value, const std::string& where) {
    if (value.is_null()) return nullptr;
    const std::string type = Component(value, where + ", pre_tokenizer").type();
    const Component named(value, where + ", pre_tokenizer " + type);
    if (type == "ByteLevel") {
        named.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
        return std::make_unique<ByteLevel>(named.boolean("add_prefix_space"), named.boolean("use_regex", true),
                                           named.where());
    }
    if (type == "Split") {
        named.only({"type", "pattern", "behavior", "invert"});
        return std::make_unique<Split>(Pattern(pattern_text(named), named.where()), behavior_of(named),
                                       named.boolean("invert"));
    }
    if (type == "Digits") {
        named.only({"type", "individual_digits"});
        return std::make_unique<Digits>(named.boolean("individual_digits"));
    }
    if (type == "Metaspace") {
        named.only({"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
        const std::string replacement = named.string("replacement");
        if (replacement.empty() || character_length(replacement, 0) != replacement.size())
            named.refuse("the replacement must be one character");
        return std::make_unique<Metaspace>(replacement, prepend_of(named), named.boolean("split", true), named.where());
    }
    if (type == "Sequence") {
        named.only({"type", "pretokenizers"});
        std::vector<std::unique_ptr<const PreTokenizer>> steps;
        for (const auto& one : named.array("pretokenizers")) {
            auto step = read_pre_tokenizer(one, where);
            if (step) steps.push_back(std::move(step));
        }
        return std::make_unique<Sequence>(std::move(steps));
    }
    named.refuse("pva does not support this pre-tokenizer");
}

}  // namespace pva::text
