// Programming problems in MBPP's schema: one record with a text, a reference solution and tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pva::tasks {

/// One problem. Text and tests are as in the file; line ends of the two code fields are normalised to "\n".
struct Problem {
    std::int64_t task_id = 0;
    std::string text;                              ///< what to write, in words
    std::string code;                              ///< reference solution; empty when the file has none to give
    std::string test_setup_code;                   ///< runs after the solution and before the tests; often empty
    std::vector<std::string> test_list;            ///< one assert statement each, at least one
    std::vector<std::string> challenge_test_list;  ///< extra asserts, not used for the label
    std::string family;                            ///< kind of problem; empty when the file does not say
};

struct ProblemSet {
    std::vector<Problem> problems;  ///< ascending task_id, no id twice
    std::string path;
    std::string sha256;  ///< of the file's bytes
};

/// Reads a JSONL file (one problem a line, the fields of MBPP) or one JSON array of problems (sanitized MBPP).
/// `prompt` is accepted in place of `text`; `test_imports` (sanitized MBPP) go before test_setup_code, which they join;
/// unknown fields are ignored. In code fields CRLF and a bare CR become "\n", as Python itself reads them: a carriage
/// return inside a string literal of the source is a line end to Python too, so nothing is lost.
/// Errors: InputError naming the file, the line (or array element), the field and the remedy for a file that cannot be
/// read, is empty, is not UTF-8, has a broken line, a missing or wrongly typed field, an empty test_list, or an id
/// twice.
ProblemSet load_problems(const std::string& path);

/// CRLF and bare CR become "\n".
std::string normalize_line_ends(const std::string& text);

}  // namespace pva::tasks
