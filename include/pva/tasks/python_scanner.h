// A lexical scanner of Python source: cuts a text, which may be the beginning of a program that is still being written,
// into tokens, logical lines and top-level statements. It follows the Python Language Reference, chapter 2 (lexical
// analysis), as far as needed to know where statements begin and end and of which kind they are; it does not parse
// expressions. Any bytes are accepted; time is linear in the length. Recovery from broken lines is described below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace pva::tasks {

/// Whether more text may follow.
enum class TextEnd : std::uint8_t {
    open,   ///< the text is being written: its last token may grow
    final,  ///< nothing follows: the end of the text ends a line
};

enum class TokenKind : std::uint8_t {
    name,  ///< identifier or keyword
    number,
    string,    ///< with its prefix and quotes, f-strings whole
    op,        ///< operator, bracket or delimiter
    unclosed,  ///< a string that the end of the text cuts
    invalid,   ///< bytes that Python would refuse, among them a string that the end of its line cuts
};

struct Token {
    TokenKind kind = TokenKind::invalid;
    std::size_t begin = 0, end = 0;  ///< bytes of the source
    int depth = 0;                   ///< open brackets around it; an opening and its closing bracket have the same
};

/// One logical line: physical lines joined by brackets, triple-quoted strings and backslashes.
struct LogicalLine {
    std::size_t begin = 0, end = 0;  ///< from the first column to after the line end
    std::size_t first = 0;           ///< offset of the first byte that is not indentation
    std::size_t indent = 0;          ///< columns, a tab going to the next multiple of 8
    std::vector<Token> tokens;       ///< comments left out; empty for a blank or comment line
    bool comment = false;            ///< holds nothing but a comment
    bool ended = false;              ///< a line end was seen
    bool open = false;               ///< the end of the text cuts a string, a bracket or a backslash continuation
};

/// Reads the logical line at `position` (a first column). Inside brackets, a physical line that begins with a word that
/// no expression can hold (def, class, import, return, assert, ...) or with a code fence ends the logical line: a
/// bracket left open must not swallow the rest of the text.
LogicalLine read_logical_line(std::string_view source, std::size_t position);

enum class StatementKind : std::uint8_t {
    function_def,
    async_function_def,
    class_def,
    decorator,         ///< one line; what it decorates is the next statement
    import_statement,  ///< import and from ... import
    assignment,        ///< also augmented, and annotated with a value
    comment,           ///< a comment in the first column that is not inside a body
    docstring,         ///< an expression that is nothing but strings
    expression,
    if_block,
    for_block,
    while_block,
    try_block,
    with_block,
    match_block,
    assert_statement,
    other,       ///< any other statement, prose, code fences, unexpected indentation: what Python may well refuse
    incomplete,  ///< the text ends before it is certain what it will be, or in the middle of a simple statement
};

/// "function_def" and so on, for messages and tests.
std::string_view statement_kind_name(StatementKind kind);

struct Statement {
    StatementKind kind = StatementKind::other;
    std::size_t begin = 0, end = 0;  ///< bytes: from the first token to after the line end or semicolon; blocks with
                                     ///< all their clauses and bodies
    std::vector<std::string_view> names;  ///< names it binds in the module (views into the source), as far as seen
};

/// The top-level statements in order; blank lines belong to none. In an open text the last statement is `incomplete` as
/// long as more text could still make it a definition, a decorator, an import or an assignment; once it is of another
/// kind, no more text can.
std::vector<Statement> scan_statements(std::string_view source, TextEnd text_end);

/// Length of the longest beginning of `statement` (one top-level statement, perhaps cut) whose last line is whole,
/// whose last block has a body and whose last `try` has its handlers. 0 when nothing is left.
std::size_t longest_complete_prefix(std::string_view statement);

/// Whether Python reserves the word (`match`, `case` and `type` are ordinary names).
bool is_python_keyword(std::string_view word);

/// Whether this byte can be part of an identifier (every byte above 127 counts as one).
bool is_identifier_byte(char c);

}  // namespace pva::tasks
