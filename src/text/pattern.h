// What `Split` and `Replace` of a tokenizer.json search for: a string or a regular expression.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "aligned_text.h"
#include "json_fields.h"
#include "regex.h"

namespace pva::text {

/// Immutable; may be used by several threads.
class Pattern {
  public:
    /// Errors: InputError for a wrong or unsupported regular expression; `where` says where it stands.
    Pattern(const PatternText& pattern, const std::string& where);

    /// Calls `found` for each match in `text`, left to right, non-overlapping. An empty string matches nothing.
    void each_match(std::string_view text, const std::function<void(ByteRange)>& found) const;

    /// The same in one part of a text after another (a match never reaches beyond its part): `found(part, match)` with
    /// ranges of `text`.
    template <class Parts, class Found>
    void each_match_in_parts(std::string_view text, const Parts& parts, const Found& found) const {
        std::optional<Regex::Search> search;
        if (regex_) search.emplace(*regex_);
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const ByteRange part = parts[i];
            const std::string_view inside = text.substr(part.begin, part.size());
            if (search) {
                search->start(inside);
                ByteRange match;
                while (search->next(match))
                    found(i, ByteRange{part.begin + match.begin, part.begin + match.end});
            } else if (!literal_.empty()) {
                for (std::size_t at = inside.find(literal_); at != std::string_view::npos;
                     at = inside.find(literal_, at + literal_.size()))
                    found(i, ByteRange{part.begin + at, part.begin + at + literal_.size()});
            }
        }
    }

  private:
    std::string literal_;
    std::optional<Regex> regex_;
};

}  // namespace pva::text
