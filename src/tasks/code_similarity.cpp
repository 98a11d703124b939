// Matching blocks of token sequences, as difflib finds them.
#include "pva/tasks/code_similarity.h"

#include <algorithm>
#include <cstdint>
#include <map>

#include "pva/tasks/python_scanner.h"

namespace pva::tasks {

namespace {

struct Region {
    std::size_t a_begin, a_end, b_begin, b_end;
};

}  // namespace

std::vector<std::string_view> code_tokens(std::string_view source) {
    std::vector<std::string_view> tokens;
    for (std::size_t at = 0; at < source.size();) {
        const LogicalLine line = read_logical_line(source, at);
        for (const Token& token : line.tokens) tokens.push_back(source.substr(token.begin, token.end - token.begin));
        if (line.end <= at) break;
        at = line.end;
    }
    return tokens;
}

double code_similarity(std::string_view a_source, std::string_view b_source) {
    const std::vector<std::string_view> a = code_tokens(a_source);
    const std::vector<std::string_view> b = code_tokens(b_source);
    if (a.empty() && b.empty()) return 1;
    std::map<std::string_view, std::vector<std::size_t>> places;  // in b, ascending
    for (std::size_t j = 0; j < b.size(); ++j) places[b[j]].push_back(j);
    // run[j + 1]: length of the match that ends at the current token of a and at b[j].
    std::vector<std::size_t> run(b.size() + 1, 0);
    std::vector<std::size_t> next(b.size() + 1, 0);
    std::size_t matched = 0;
    std::vector<Region> open = {{0, a.size(), 0, b.size()}};
    while (!open.empty()) {
        const Region region = open.back();
        open.pop_back();
        std::size_t best = 0;
        std::size_t best_a = region.a_begin;
        std::size_t best_b = region.b_begin;
        std::fill(run.begin(), run.end(), 0);
        for (std::size_t i = region.a_begin; i < region.a_end; ++i) {
            std::fill(next.begin(), next.end(), 0);
            const auto found = places.find(a[i]);
            if (found != places.end()) {
                for (const std::size_t j : found->second) {
                    if (j < region.b_begin) continue;
                    if (j >= region.b_end) break;
                    const std::size_t length = (j > region.b_begin ? run[j] : 0) + 1;
                    next[j + 1] = length;
                    if (length > best) {
                        best = length;
                        best_a = i + 1 - length;
                        best_b = j + 1 - length;
                    }
                }
            }
            run.swap(next);
        }
        if (best == 0) continue;
        matched += best;
        open.push_back({region.a_begin, best_a, region.b_begin, best_b});
        open.push_back({best_a + best, region.a_end, best_b + best, region.b_end});
    }
    return 2.0 * static_cast<double>(matched) / static_cast<double>(a.size() + b.size());
}

}  // namespace pva::tasks
