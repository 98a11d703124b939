// How alike two programs are, token by token.
#pragma once

#include <string_view>
#include <vector>

namespace pva::tasks {

/// The tokens of a Python source in order (names, numbers, strings, operators; what Python would refuse counts as it
/// stands), without comments, indentation and line ends. Views into the source.
std::vector<std::string_view> code_tokens(std::string_view source);

/// Ratcliff and Obershelp's ratio 2 M / (n + m) of two token sequences: M tokens in matching blocks, the longest one first
/// (of equal ones the earliest in `a`, then in `b`), then on both sides of it. Equal to difflib.SequenceMatcher(None, a, b,
/// autojunk=False).ratio(). 1 for two sources without tokens. It need not be the same with the two exchanged.
double code_similarity(std::string_view a, std::string_view b);

}  // namespace pva::tasks
