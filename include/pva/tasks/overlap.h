// Whether a text holds the text of a problem that must not be seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pva::tasks {

/// Finds any of some texts inside longer ones, word by word: white space between words may differ, nothing else. A text of
/// no words is never found.
class TextFinder {
  public:
    explicit TextFinder(std::span<const std::string> wanted);

    /// The lowest index of a wanted text that `text` holds.
    std::optional<std::size_t> first_in(std::string_view text) const;

  private:
    struct Wanted {
        std::size_t index;
        std::vector<std::string> words;
    };
    std::vector<Wanted> wanted_;
    /// Number of first words that are hashed (at most 8) -> their hash -> places in wanted_.
    std::unordered_map<std::size_t, std::unordered_map<std::uint64_t, std::vector<std::size_t>>> by_first_words_;
};

}  // namespace pva::tasks
