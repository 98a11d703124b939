// Regular expressions of tokenizer.json by PCRE2. The files are written for Oniguruma (Ruby syntax); what both read in
// the same way is translated, everything else refused.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "aligned_text.h"

namespace pva::text {

/// The same expression in PCRE2's syntax. `\s`, `\d` and `\w` become the Unicode properties Oniguruma gives them.
/// Errors: InputError naming the construct that is not supported; `where` says which component it stands in.
std::string to_pcre2(std::string_view pattern, const std::string& where);

/// A compiled expression (UTF, Unicode properties, JIT where there is one). Immutable; may be used by several threads.
class Regex {
  public:
    /// Errors: InputError when the pattern is refused or wrong.
    Regex(std::string_view pattern, const std::string& where);
    Regex(Regex&&) noexcept;
    Regex& operator=(Regex&&) noexcept;
    ~Regex();

    /// Finds matches in one text after another; holds what one thread needs for that.
    class Search {
      public:
        explicit Search(const Regex& regex);
        Search(const Search&) = delete;
        Search& operator=(const Search&) = delete;
        ~Search();
        /// Begins with a new text (valid UTF-8, kept by the caller).
        void start(std::string_view text);
        /// The next match, non-overlapping, left to right; false at the end. An empty match directly behind the last
        /// match does not count.
        bool next(ByteRange& match);

      private:
        const Regex& regex_;
        void* match_data_;
        std::string_view text_;
        std::size_t at_ = 0;
        std::size_t last_end_ = 0;
        bool had_match_ = false;
    };

  private:
    struct Code;
    std::unique_ptr<Code> code_;
};

}  // namespace pva::text
