// Looking for texts by the hash of their first words.
#include "pva/tasks/overlap.h"

#include <algorithm>

#include "pva/core/checksum.h"

namespace pva::tasks {

namespace {

constexpr std::size_t most_first_words = 8;

std::vector<std::string_view> words_of(std::string_view text) {
    constexpr std::string_view blanks = " \t\n\r\f\v";
    std::vector<std::string_view> words;
    for (std::size_t at = text.find_first_not_of(blanks); at != std::string_view::npos;) {
        const std::size_t end = std::min(text.find_first_of(blanks, at), text.size());
        words.push_back(text.substr(at, end - at));
        at = text.find_first_not_of(blanks, end);
    }
    return words;
}

std::uint64_t hash_of(std::string_view word) { return checksum(std::as_bytes(std::span(word.data(), word.size()))); }

std::uint64_t combine(std::span<const std::uint64_t> hashes) {
    std::uint64_t all = 0;
    for (const std::uint64_t hash : hashes) all = all * 0x9e3779b97f4a7c15ULL + hash;
    return all;
}

std::vector<std::uint64_t> hashes_of(const std::vector<std::string_view>& words) {
    std::vector<std::uint64_t> hashes;
    hashes.reserve(words.size());
    for (const std::string_view word : words) hashes.push_back(hash_of(word));
    return hashes;
}

}  // namespace

TextFinder::TextFinder(std::span<const std::string> wanted) {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        const std::vector<std::string_view> words = words_of(wanted[i]);
        if (words.empty()) continue;
        const std::size_t n = std::min(most_first_words, words.size());
        const std::vector<std::uint64_t> hashes = hashes_of(words);
        by_first_words_[n][combine(std::span(hashes).first(n))].push_back(wanted_.size());
        wanted_.push_back({i, {words.begin(), words.end()}});
    }
}

std::optional<std::size_t> TextFinder::first_in(std::string_view text) const {
    if (wanted_.empty()) return std::nullopt;
    const std::vector<std::string_view> words = words_of(text);
    const std::vector<std::uint64_t> hashes = hashes_of(words);
    std::optional<std::size_t> lowest;
    for (const auto& [n, places] : by_first_words_) {
        for (std::size_t at = 0; at + n <= words.size(); ++at) {
            const auto found = places.find(combine(std::span(hashes).subspan(at, n)));
            if (found == places.end()) continue;
            for (const std::size_t place : found->second) {
                const Wanted& candidate = wanted_[place];
                if (at + candidate.words.size() > words.size() || !std::equal(candidate.words.begin(), candidate.words.end(), words.begin() + static_cast<std::ptrdiff_t>(at))) continue;
                if (!lowest || candidate.index < *lowest) lowest = candidate.index;
            }
        }
    }
    return lowest;
}

}  // namespace pva::tasks
