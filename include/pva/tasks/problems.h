// Programming problems: one record with a text, a reference solution and tests, read from MBPP's or HumanEval's schema.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pva::tasks {

/// One problem. Text and tests are as in the file; line ends of the code fields are normalised to "\n".
struct Problem {
    std::int64_t task_id = 0;
    std::string name;                              ///< the id as it stands in the file: "HumanEval/0", or "11" for a number
    std::string text;                              ///< what to write, in words; HumanEval: the prompt
    std::string code;                              ///< reference solution, whole; empty when the file has none to give
    std::string opening;                           ///< code that an answer may continue (HumanEval's prompt: imports, helpers,
                                                   ///< signature, docstring); empty in MBPP's schema
    std::string entry_point;                       ///< name that the tests call; empty when the file does not say
    std::string test_setup_code;                   ///< runs after the solution and before the tests; often empty
    std::vector<std::string> test_list;            ///< one statement each, usually an assert; at least one
    std::vector<std::string> challenge_test_list;  ///< extra asserts, not used for the label
    std::string family;                            ///< kind of problem; empty when the file does not say
};

struct ProblemSet {
    std::vector<Problem> problems;  ///< ascending task_id, no id twice
    std::string path;
    std::string sha256;  ///< of the file's bytes, unpacked if it was compressed
};

/// Reads a JSONL file (one problem a line) or one JSON array of problems (sanitized MBPP), plain or compressed by gzip
/// (HumanEval as published). Each record is of one of two schemas; unknown fields are ignored.
/// * MBPP: task_id, text, code, test_list; optional test_setup_code, challenge_test_list, family. `prompt` is accepted
///   in place of `text`; `test_imports` (sanitized MBPP) go before test_setup_code, which they join.
/// * HumanEval (a record with `test` and no `test_list`): task_id, prompt, test, entry_point; optional
///   canonical_solution, which continues the prompt. How `test` becomes test_list: split_check_function.
/// Ids: integers, or texts. A text that ends in "/" and a number, or is a number, has that number as its task_id; where
/// a file's texts are otherwise, or two have the same number, all are numbered by their place in the file, from 0.
/// In code fields CRLF and a bare CR become "\n", as Python itself reads them: a carriage return inside a string literal
/// of the source is a line end to Python too, so nothing is lost.
/// Errors: InputError naming the file, the line (or array element), the field and the remedy for a file that cannot be
/// read or unpacked, is empty, is not UTF-8, has a broken line, a missing or wrongly typed field, an empty test_list, an
/// id twice, or both kinds of ids.
ProblemSet load_problems(const std::string& path);

/// A field of each problem's record, in the order of `set`, read again from its file: texts as they are, other values as
/// JSON, missing ones empty. Errors: as load_problems, and InputError when no record has the field.
std::vector<std::string> problem_fields(const ProblemSet& set, const std::string& field);

/// CRLF and bare CR become "\n".
std::string normalize_line_ends(const std::string& text);

}  // namespace pva::tasks
