// From what a model wrote to the program that is run: which name the tests call, where generation may stop, and which
// statements of the output make up the program.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace pva::tasks {

/// The name that the tests call: in each test the outermost called plain name that is not a builtin or a well-known
/// wrapper (int, set, sorted, math.isclose, Counter, ...), leftmost among equals; over all tests the most frequent one,
/// the first among equals. If nothing but builtins is called, the outermost of those (a solution may be called `sum`).
/// Empty when nothing is called.
std::string entry_point(std::span<const std::string> tests);

/// The stop rule of generation. `generated` is what stands after the prompt so far. Returns the number of bytes of the
/// program once it is complete: the entry point is defined at the top level, and the next top-level statement can no
/// longer become a def, class, decorator, import or assignment (comments are passed over). Nothing while the program
/// may still go on, and always nothing for an empty entry point. Time is linear in the length, some 15 microseconds a
/// kB.
std::optional<std::size_t> program_end(std::string_view generated, std::string_view entry_point);

struct Extraction {
    std::string program;  ///< ends in a newline unless empty; line ends are "\n"
    std::string rule;     ///< which rule made it, for the record
};

/// The program in a model's output, by the rule "complete-program":
/// 1. Line ends are normalised; an echo of the prompt at the beginning is cut off.
/// 2. Of the top-level statements up to the definition of the entry point these are kept: imports, assignments,
///    functions, classes, decorators, blocks (try around an import, a loop that fills a table), and calls on imported
///    modules (sys.setrecursionlimit). Dropped: prose, code fences, comments, docstrings, asserts, prints,
///    `if __name__` blocks, and assignments and blocks that call input().
/// 3. After the entry point imports, assignments, functions, classes and decorators are kept up to the first other
///    statement, where the program ends, as in program_end.
/// 4. If the text ends in the middle of a statement, its longest complete beginning is kept.
/// 5. Imports from __future__ go first. Syntax errors inside a kept statement stay: they are the model's.
/// If no top-level statement defines the entry point, each fenced block is tried alone, its indentation taken off.
/// An empty entry point counts as never defined: all that rule 2 keeps is the program.
/// If the prompt's last line opens a fence (the chat forms), the answer begins inside it: the rules are first applied
/// to what stands before the closing fence, the first line that begins with at most three spaces and ``` after some
/// code. Only if that does not define the entry point are they applied to the whole answer, with the opened fence
/// before it.
Extraction extract_program(std::string_view raw_output, std::string_view prompt, std::string_view entry_point);

}  // namespace pva::tasks
