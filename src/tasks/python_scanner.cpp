// Tokens, logical lines and top-level statements of Python source.
#include "pva/tasks/python_scanner.h"

#include <algorithm>
#include <array>
#include <initializer_list>

namespace pva::tasks {
namespace {

using Tokens = std::vector<Token>;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_newline(char c) {
    return c == '\n' || c == '\r';
}
bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\f';
}

bool one_of(std::string_view word, std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

/// Offset after the line end at i (LF, CRLF or a bare CR).
std::size_t after_newline(std::string_view source, std::size_t i) {
    return i + (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n' ? 2 : 1);
}

std::size_t after_identifier(std::string_view source, std::size_t i) {
    while (i < source.size() && is_identifier_byte(source[i]))
        ++i;
    return i;
}

bool is_string_prefix(std::string_view word) {
    if (word.empty() || word.size() > 2) return false;
    std::array<char, 2> lower = {0, 0};
    for (std::size_t k = 0; k < word.size(); ++k) {
        lower[k] = word[k] >= 'A' && word[k] <= 'Z' ? static_cast<char>(word[k] - 'A' + 'a') : word[k];
    }
    return one_of({lower.data(), word.size()}, {"r", "u", "b", "f", "t", "br", "rb", "fr", "rf", "tr", "rt"});
}

struct StringEnd {
    std::size_t end;
    TokenKind kind;
};

/// End of the string whose opening quote is at i, ignoring replacement fields.
StringEnd skip_string(std::string_view source, std::size_t i) {
    const char quote = source[i];
    const bool triple = source.substr(i, 3) == std::string_view(std::array{quote, quote, quote}.data(), 3);
    i += triple ? 3 : 1;
    while (i < source.size()) {
        const char c = source[i];
        if (c == '\\') {
            if (i + 1 >= source.size()) return {source.size(), TokenKind::unclosed};
            i = is_newline(source[i + 1]) ? after_newline(source, i + 1) : i + 2;
        } else if (c == quote) {
            if (!triple) return {i + 1, TokenKind::string};
            if (i + 2 < source.size() && source[i + 1] == quote && source[i + 2] == quote)
                return {i + 3, TokenKind::string};
            ++i;
        } else if (!triple && is_newline(c)) {
            return {i, TokenKind::invalid};
        } else {
            ++i;
        }
    }
    return {source.size(), TokenKind::unclosed};
}

/// End of a single-quoted f-string within its line when strings inside its replacement fields may use the same quote
/// (Python 3.12), or 0 when that reading finds no end.
std::size_t skip_nested_f_string(std::string_view source, std::size_t i) {
    const char quote = source[i++];
    int braces = 0;
    while (i < source.size() && !is_newline(source[i])) {
        const char c = source[i];
        if (c == '\\') {
            if (i + 1 >= source.size() || is_newline(source[i + 1])) return 0;
            i += 2;
        } else if (braces == 0 && c == quote) {
            return i + 1;
        } else if (braces > 0 && (c == '"' || c == '\'')) {
            const StringEnd inner = skip_string(source, i);
            if (inner.kind != TokenKind::string) return 0;
            i = inner.end;
        } else if (c == '{') {
            const bool doubled = braces == 0 && i + 1 < source.size() && source[i + 1] == '{';
            if (!doubled) ++braces;
            i += doubled ? 2 : 1;
        } else {
            if (c == '}' && braces > 0) --braces;
            ++i;
        }
    }
    return 0;
}

std::size_t operator_length(std::string_view source, std::size_t i) {
    static constexpr std::array<std::string_view, 27> long_operators = {
        "**=", "//=", ">>=", "<<=", "...", ":=", "==", "!=", "<=", ">=", "->", "+=", "-=", "*=",
        "/=",  "%=",  "&=",  "|=",  "^=",  "@=", "**", "//", "<<", ">>", "<>", "&&", "||"};
    // Most operators are single; the second byte tells.
    if (i + 1 >= source.size() || std::string_view("=*/<>.&|").find(source[i + 1]) == std::string_view::npos) return 1;
    for (const std::string_view op : long_operators) {
        if (source.substr(i, op.size()) == op) return op.size();
    }
    return 1;
}

/// Whether the physical line at i begins with something that cannot stand inside brackets.
bool breaks_out_of_brackets(std::string_view source, std::size_t i) {
    while (i < source.size() && is_blank(source[i]))
        ++i;
    if (source.substr(i, 3) == "```") return true;
    const std::size_t end = after_identifier(source, i);
    if (end == source.size()) return false;  // the word may still grow
    return one_of(source.substr(i, end - i),
                  {"def", "class", "import", "return", "assert", "while", "with", "try", "except", "finally", "elif",
                   "del", "raise", "pass", "break", "continue", "global", "nonlocal"});
}

/// Words that join operands, so that a name may follow them.
bool is_operator_word(std::string_view word) {
    return one_of(
        word, {"and", "or", "not", "in", "is", "if", "else", "for", "lambda", "await", "yield", "from", "async", "as"});
}

/// Words that can stand nowhere in an expression.
bool is_statement_word(std::string_view word) {
    return one_of(word, {"assert", "break", "class", "continue", "def", "del", "elif", "except", "finally", "global",
                         "import", "nonlocal", "pass", "raise", "return", "try", "while", "with"});
}

/// The tokens of one simple statement or block header, with what is known about its end.
struct Header {
    std::string_view source;
    const Token* tokens;
    std::size_t n;  ///< tokens that cannot grow any more
    bool ended;     ///< nothing will be added
    bool cut;       ///< it ends only because the text does
    char growing;   ///< first byte of a further token that may still grow, or 0

    std::string_view text(std::size_t i) const {
        return i < n ? source.substr(tokens[i].begin, tokens[i].end - tokens[i].begin) : std::string_view();
    }
    bool is_name(std::size_t i) const {
        return i < n && tokens[i].kind == TokenKind::name && !is_python_keyword(text(i));
    }
    /// Position of the bracket that closes the one at i, or n.
    std::size_t closing(std::size_t i) const {
        for (std::size_t k = i + 1; k < n; ++k) {
            if (tokens[k].depth == tokens[i].depth && one_of(text(k), {")", "]", "}"})) return k;
        }
        return n;
    }
};

/// Whether the tokens from `begin` to `end` could stand in an expression (or several, with `=` and `,` between): no two
/// operands side by side, no foreign words or characters. This is what tells prose from code.
bool plausible_expression(const Header& header, std::size_t begin, std::size_t end, bool is_assignment) {
    bool after_operand = false;
    bool after_string = false;
    int lambdas = 0;
    for (std::size_t i = begin; i < end; ++i) {
        const Token& token = header.tokens[i];
        const std::string_view word = header.text(i);
        bool operand = false;
        switch (token.kind) {
            case TokenKind::invalid:
                return false;
            case TokenKind::name:
                if (is_statement_word(word)) return false;
                if (word == "lambda") {
                    if (after_operand) return false;
                    ++lambdas;
                }
                operand = !is_operator_word(word);
                break;
            case TokenKind::number:
            case TokenKind::string:
            case TokenKind::unclosed:
                operand = true;
                break;
            case TokenKind::op:
                if (one_of(word, {"->", "<>", "&&", "||", ";"})) return false;
                if (token.depth == 0 && !is_assignment && (word == ":" || word.back() == '=')) {
                    if (word == ":" && lambdas-- <= 0) return false;
                    if (lambdas <= 0 && !one_of(word, {":", "==", "!=", "<=", ">=", ":="})) return false;
                }
                if (i == begin && !one_of(word, {"(", "[", "{", "+", "-", "~", "*", "**", "..."})) return false;
                if (one_of(word, {")", "]", "}"})) {
                    after_operand = true;
                    after_string = false;
                    continue;
                }
                if (word == "{" && after_operand) return false;
                if (one_of(word, {"(", "[", "{"})) {
                    after_operand = after_string = false;
                    continue;
                }
                operand = word == "...";
                break;
        }
        const bool is_string = token.kind == TokenKind::string || token.kind == TokenKind::unclosed;
        if (operand && after_operand && !(is_string && after_string)) return false;
        after_operand = operand;
        after_string = is_string;
    }
    return true;
}

/// Whether the last of n > 0 tokens leaves something to come: an operator or a word that wants an operand.
bool wants_more(std::string_view source, const Token* tokens, std::size_t n) {
    const auto text = [&](std::size_t i) { return source.substr(tokens[i].begin, tokens[i].end - tokens[i].begin); };
    const std::string_view word = text(n - 1);
    if (word == "*" && n > 1 && text(n - 2) == "import") return false;
    if (tokens[n - 1].kind == TokenKind::op) return !one_of(word, {")", "]", "}", ",", "...", ";", ":"});
    if (tokens[n - 1].kind != TokenKind::name) return false;
    return (is_operator_word(word) && word != "yield") ||
           one_of(word, {"assert", "class", "def", "del", "elif", "global", "import", "nonlocal", "while", "with"});
}

enum class Answer : std::uint8_t { no, yes, unknown };

/// Whether the statement is an assignment: targets, then `=`, an augmented operator, or an annotation with a value.
Answer is_assignment(const Header& header) {
    const auto at_end = [&] { return header.ended ? Answer::no : Answer::unknown; };
    std::size_t i = 0;
    bool several = false;
    while (true) {
        if (header.text(i) == "*") {
            ++i;
            several = true;
        }
        if (i >= header.n) return at_end();
        bool call = false, name = false;
        if (header.is_name(i)) {
            name = true;
            ++i;
        } else if (one_of(header.text(i), {"(", "["})) {
            i = header.closing(i);
            if (i == header.n) return at_end();
            ++i;
        } else {
            return Answer::no;
        }
        while (true) {  // trailers
            if (i >= header.n) {
                // A word, a number or a string after an operand: no assignment, however it goes on.
                const char c = header.growing;
                return is_identifier_byte(c) || c == '"' || c == '\'' || c == '`' ? Answer::no : at_end();
            }
            if (header.text(i) == ".") {
                if (i + 1 >= header.n) return at_end();
                if (header.tokens[i + 1].kind != TokenKind::name) return Answer::no;
                i += 2;
                call = false;
            } else if (one_of(header.text(i), {"(", "["})) {
                call = header.text(i) == "(";
                if (call && i == 1 && name && header.text(0) == "print") return Answer::no;
                i = header.closing(i);
                if (i == header.n) return at_end();
                ++i;
            } else {
                break;
            }
        }
        const std::string_view next = header.text(i);
        if (call) return Answer::no;
        if (next == "=") return Answer::yes;
        if (next == ",") {
            several = true;
            ++i;
            if (header.text(i) == "=") return Answer::yes;
            continue;
        }
        if (several) return Answer::no;
        if (next == ":") {
            for (std::size_t k = i + 1; k < header.n; ++k) {
                if (header.text(k) == "=" && header.tokens[k].depth == 0) return Answer::yes;
            }
            if (!plausible_expression(header, i + 1, header.n, false)) return Answer::no;
            return at_end();
        }
        return one_of(next, {"+=", "-=", "*=", "/=", "//=", "%=", "@=", "&=", "|=", "^=", ">>=", "<<=", "**="})
                   ? Answer::yes
                   : Answer::no;
    }
}

/// Names bound by an assignment: those in the parts before each `=` that have no trailer.
void add_targets(const Header& header, std::vector<std::string_view>& names) {
    std::size_t begin = 0;
    for (std::size_t i = 0; i < header.n; ++i) {
        if (header.tokens[i].depth != 0 || header.text(i) != "=") continue;
        for (std::size_t k = begin; k < i; ++k) {
            if (header.text(k) == ":" && header.tokens[k].depth == 0) break;  // the annotation binds nothing
            if (!header.is_name(k) || (k > begin && header.text(k - 1) == ".")) continue;
            if (k + 1 < i && one_of(header.text(k + 1), {".", "(", "["})) continue;
            names.push_back(header.text(k));
        }
        begin = i + 1;
    }
}

/// Reads `a.b.c`. Returns false when something else stands there; i ends after it or at header.n.
bool read_dotted_name(const Header& header, std::size_t& i) {
    while (i < header.n) {
        if (!header.is_name(i)) return false;
        ++i;
        if (header.text(i) != ".") return true;
        ++i;
    }
    return true;
}

/// Checks an import statement as far as it goes and collects the names it binds. `whole` tells whether it may end here.
bool read_import(const Header& header, std::vector<std::string_view>& names, bool& whole) {
    whole = false;
    std::size_t i = 1;
    bool brackets = false;
    const bool from = header.text(0) == "from";
    if (from) {
        const std::size_t module = i;
        while (one_of(header.text(i), {".", "..."}))
            ++i;
        if (i == module || header.text(i) != "import") {
            if (!read_dotted_name(header, i)) return false;
        }
        if (i >= header.n) return true;
        if (header.text(i) != "import") return false;
        ++i;
        if (header.text(i) == "*") {
            whole = true;
            return i + 1 >= header.n;
        }
        if (header.text(i) == "(") {
            brackets = true;
            ++i;
        }
    }
    while (i < header.n) {
        if (brackets && header.text(i) == ")") {
            whole = true;
            return i + 1 >= header.n;
        }
        const std::string_view name = header.text(i);
        if (from) {
            if (!header.is_name(i)) return false;
            ++i;
        } else if (!read_dotted_name(header, i)) {
            return false;
        }
        names.push_back(name);
        whole = !brackets && header.text(i - 1) != ".";
        if (header.text(i) == "as") {
            whole = false;
            if (++i >= header.n) return true;
            if (!header.is_name(i)) return false;
            names.back() = header.text(i);
            whole = !brackets;
            ++i;
        }
        if (i >= header.n) return true;
        if (header.text(i) == ",") {
            whole = false;
            ++i;
        } else if (!(brackets && header.text(i) == ")")) {
            return false;
        }
    }
    return true;
}

bool has_colon(const Header& header) {
    for (std::size_t i = 0; i < header.n; ++i) {
        if (header.tokens[i].depth == 0 && header.text(i) == ":") return true;
    }
    return false;
}

/// A block's kind if its header is as it should be (or may yet become so).
StatementKind check_block(const Header& header, StatementKind kind, std::size_t begin) {
    if (!header.ended) return kind;
    if (!has_colon(header)) return header.cut ? StatementKind::incomplete : StatementKind::other;
    std::size_t end = begin;  // the condition ends at the first colon that belongs to no lambda
    for (int lambdas = 0; end < header.n; ++end) {
        if (header.text(end) == "lambda") ++lambdas;
        if (header.tokens[end].depth == 0 && header.text(end) == ":" && lambdas-- <= 0) break;
    }
    if (kind == StatementKind::try_block && end != begin) return StatementKind::other;
    return plausible_expression(header, begin, end, false) ? kind : StatementKind::other;
}

/// The kind of a statement that begins in the first column.
StatementKind classify(const Header& header, const Tokens& all, std::vector<std::string_view>& names) {
    using enum StatementKind;
    const StatementKind undecided = header.cut || !header.ended ? incomplete : other;
    if (header.n == 0) {
        // The only token may still grow; its first byte can be enough.
        const char c = header.source[all.front().begin];
        if (all.front().kind == TokenKind::unclosed || c == '"' || c == '\'' || is_digit(c)) return expression;
        if (all.front().kind == TokenKind::name || c == '@' || c == '*' || c == '(' || c == '[') return incomplete;
        return other;
    }
    const std::string_view first = header.text(0);
    const bool word = header.tokens[0].kind == TokenKind::name;

    if (word && (first == "def" || first == "async")) {
        std::size_t i = 0;
        if (first == "async") {
            if (header.n < 2) return undecided;
            if (header.text(1) == "with") return check_block(header, with_block, 2);
            if (header.text(1) == "for") return check_block(header, for_block, 2);
            if (header.text(1) != "def") return other;
            i = 1;
        }
        if (header.n > i + 1 && !header.is_name(i + 1)) return other;
        if (header.n < i + 3) return undecided;
        if (!one_of(header.text(i + 2), {"(", "["})) return other;
        names.push_back(header.text(i + 1));
        return i == 0 ? function_def : async_function_def;
    }
    if (word && first == "class") {
        if (header.n > 1 && !header.is_name(1)) return other;
        if (header.n < 3) return undecided;
        if (!one_of(header.text(2), {"(", ":", "["})) return other;
        names.push_back(header.text(1));
        return class_def;
    }
    if (first == "@") {
        if (!plausible_expression(header, 1, header.n, false)) return other;
        return header.ended && header.n < 2 ? undecided : decorator;
    }
    if (word && (first == "import" || first == "from")) {
        bool whole = false;
        if (!read_import(header, names, whole)) return other;
        return header.ended && !whole ? undecided : import_statement;
    }
    if (word && first == "assert") return assert_statement;
    if (word && first == "if") return check_block(header, if_block, 1);
    if (word && first == "for") return check_block(header, for_block, 1);
    if (word && first == "while") return check_block(header, while_block, 1);
    if (word && first == "try") return check_block(header, try_block, 1);
    if (word && first == "with") return check_block(header, with_block, 1);
    if (word && is_statement_word(first)) return other;

    const bool plausible = plausible_expression(header, 0, header.n, true);
    switch (is_assignment(header)) {
        case Answer::yes: {
            add_targets(header, names);
            if (!plausible) return other;
            if (header.ended && wants_more(header.source, header.tokens, header.n)) return undecided;
            return assignment;
        }
        case Answer::unknown:
            return incomplete;
        case Answer::no:
            break;
    }
    if (header.ended && first == "match" && header.n > 2 && header.text(header.n - 1) == ":" &&
        plausible_expression(header, 1, header.n - 1, false)) {
        return match_block;
    }
    if (!plausible_expression(header, 0, header.n, false)) return other;
    if (header.ended && wants_more(header.source, header.tokens, header.n)) return undecided;
    const bool strings_only = std::all_of(header.tokens, header.tokens + header.n,
                                          [](const Token& t) { return t.kind == TokenKind::string; });
    return strings_only ? docstring : expression;
}

bool is_block(StatementKind kind) {
    using enum StatementKind;
    switch (kind) {
        case if_block:
        case for_block:
        case while_block:
        case try_block:
        case with_block:
        case match_block:
            return true;
        default:
            return false;
    }
}

bool is_definition(StatementKind kind) {
    using enum StatementKind;
    return kind == function_def || kind == async_function_def || kind == class_def;
}

/// Whether `clause` may follow a block of this kind in the same column.
bool continues_block(StatementKind kind, std::string_view clause) {
    using enum StatementKind;
    switch (kind) {
        case if_block:
            return one_of(clause, {"elif", "else"});
        case for_block:
        case while_block:
            return clause == "else";
        case try_block:
            return one_of(clause, {"except", "else", "finally"});
        default:
            return false;
    }
}

/// Whether this token, at the very end of an open text, can become another one.
bool may_grow(std::string_view source, const Token& token) {
    if (token.end != source.size()) return false;
    switch (token.kind) {
        case TokenKind::op:
            return !one_of(source.substr(token.begin, token.end - token.begin),
                           {"(", ")", "[", "]", "{", "}", ",", ";", "~"});
        case TokenKind::string:
            return source.substr(token.begin).ends_with("\"\"") || source.substr(token.begin).ends_with("''");
        default:
            return true;
    }
}

/// Tokens [begin, end) of a logical line as a statement.
Header make_header(std::string_view source, const LogicalLine& line, std::size_t begin, std::size_t end,
                   TextEnd text_end) {
    const bool last = end == line.tokens.size();
    Header header{source, line.tokens.data() + begin, end - begin, true, false, 0};
    if (last && !line.ended) {
        header.ended = text_end == TextEnd::final;
        header.cut = true;
        if (!header.ended && header.n > 0 && may_grow(source, line.tokens[end - 1])) {
            --header.n;
            header.growing = source[line.tokens[end - 1].begin];
        }
    }
    return header;
}

/// Whether a header's suite is on lines of its own (or the header is damaged, and what is indented belongs to it).
bool has_indented_body(const LogicalLine& line, std::string_view source) {
    const Token& last = line.tokens.back();
    const Header header{source, line.tokens.data(), line.tokens.size(), true, false, 0};
    return source.substr(last.begin, last.end - last.begin) == ":" || !has_colon(header);
}

class StatementScanner {
  public:
    StatementScanner(std::string_view source, TextEnd text_end) : source_(source), text_end_(text_end) {}

    std::vector<Statement> run() {
        for (std::size_t position = 0; position < source_.size();) {
            const LogicalLine line = read_logical_line(source_, position);
            position = line.end;
            if (line.comment) {
                add_comment(line);
            } else if (!line.tokens.empty()) {
                add_code(line);
            }
        }
        if (text_end_ == TextEnd::final) refuse_empty_block();
        flush_comments();
        return std::move(statements_);
    }

  private:
    void add_comment(const LogicalLine& line) {
        if (line.indent == 0) {
            comments_.push_back({StatementKind::comment, line.first, line.end, {}});
        } else if (open_ && comments_.empty()) {
            statements_.back().end = line.end;
        }
    }

    void flush_comments() {
        std::move(comments_.begin(), comments_.end(), std::back_inserter(statements_));
        comments_.clear();
    }

    void add_code(const LogicalLine& line) {
        const std::string_view first = source_.substr(line.tokens[0].begin, line.tokens[0].end - line.tokens[0].begin);
        const bool certain = text_end_ == TextEnd::final || line.tokens[0].end < source_.size();
        if (open_ && line.indent > 0) {
            has_body_ = true;
            extend(line);
        } else if (line.indent == 0 && block_ && certain && continues_block(statements_.back().kind, first)) {
            open_ = has_indented_body(line, source_);
            extend(line);
        } else {
            begin(line);
        }
    }

    /// The line belongs to the body of the last statement; comments seen since then were inside it.
    void extend(const LogicalLine& line) {
        comments_.clear();
        Statement& statement = statements_.back();
        statement.end = line.end;
        if (!is_block(statement.kind)) return;
        // Definitions inside a module-level block bind names of the module; what is inside those does not.
        if (inner_definition_ && line.indent > inner_indent_) return;
        inner_definition_ = false;
        const Header header = make_header(source_, line, 0, line.tokens.size(), text_end_);
        const StatementKind kind = classify(header, line.tokens, statement.names);
        if (is_definition(kind)) {
            inner_definition_ = true;
            inner_indent_ = line.indent;
        }
    }

    /// A block that never got a body is prose ("with this in mind:") or a syntax error.
    void refuse_empty_block() {
        if (!block_ || !open_ || has_body_) return;
        statements_.back().kind = StatementKind::other;
        statements_.back().names.clear();
    }

    void begin(const LogicalLine& line) {
        refuse_empty_block();
        flush_comments();
        has_body_ = false;
        inner_definition_ = false;
        block_ = false;
        if (line.indent > 0) {
            statements_.push_back({StatementKind::other, line.first, line.end, {}});
            open_ = true;
            return;
        }
        std::size_t first = 0;
        while (first < line.tokens.size()) {
            const std::string_view word =
                source_.substr(line.tokens[first].begin, line.tokens[first].end - line.tokens[first].begin);
            std::size_t end = line.tokens.size();
            if (!one_of(word, {"def", "class", "if", "for", "while", "try", "with", "async"})) {
                for (end = first; end < line.tokens.size(); ++end) {
                    if (line.tokens[end].depth == 0 && source_[line.tokens[end].begin] == ';') break;
                }
            }
            if (end > first) add_statement(line, first, end);
            first = end + 1;
        }
    }

    void add_statement(const LogicalLine& line, std::size_t first, std::size_t end) {
        const bool last = end == line.tokens.size();
        Statement statement;
        statement.begin = line.tokens[first].begin;
        statement.end = last ? line.end : line.tokens[end].end;
        const Header header = make_header(source_, line, first, end, text_end_);
        const Tokens visible(line.tokens.begin() + static_cast<std::ptrdiff_t>(first),
                             line.tokens.begin() + static_cast<std::ptrdiff_t>(end));
        statement.kind = classify(header, visible, statement.names);
        if (last && line.open && text_end_ == TextEnd::final && !is_definition(statement.kind) &&
            !is_block(statement.kind)) {
            statement.kind = StatementKind::incomplete;
        }
        if (statement.kind == StatementKind::other || statement.kind == StatementKind::incomplete)
            statement.names.clear();
        block_ = is_block(statement.kind);
        open_ = statement.kind == StatementKind::other ||
                ((block_ || is_definition(statement.kind)) && has_indented_body(line, source_));
        statements_.push_back(std::move(statement));
    }

    std::string_view source_;
    TextEnd text_end_;
    std::vector<Statement> statements_;
    std::vector<Statement> comments_;  // in the first column, not yet known to be outside a body
    bool open_ = false;                // indented lines belong to the last statement
    bool block_ = false;               // clauses like else may continue the last statement
    bool has_body_ = false;            // an indented line has been seen since the last statement began
    bool inner_definition_ = false;    // inside a def or class within a module-level block
    std::size_t inner_indent_ = 0;
};

}  // namespace

bool is_identifier_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
}

bool is_python_keyword(std::string_view word) {
    return is_operator_word(word) || is_statement_word(word) || one_of(word, {"True", "False", "None"});
}

LogicalLine read_logical_line(std::string_view source, std::size_t position) {
    LogicalLine line;
    line.begin = position;
    std::size_t i = position;
    for (; i < source.size() && is_blank(source[i]); ++i) {
        if (source[i] == ' ') ++line.indent;
        if (source[i] == '\t') line.indent = (line.indent / 8 + 1) * 8;
        if (source[i] == '\f') line.indent = 0;
    }
    line.first = i;
    line.comment = i < source.size() && source[i] == '#';

    int depth = 0;
    bool nested_f_strings = true;  // one failed search for an end in this line is enough
    const auto add = [&](TokenKind kind, std::size_t end) {
        line.tokens.push_back({kind, i, end, depth});
        i = end;
    };
    const auto add_string = [&](std::size_t quote, bool formatted) {
        StringEnd string = skip_string(source, quote);
        const bool triple = source.substr(quote, 3) == "\"\"\"" || source.substr(quote, 3) == "'''";
        if (formatted && !triple && nested_f_strings) {
            if (const std::size_t end = skip_nested_f_string(source, quote)) {
                string = {end, TokenKind::string};
            } else {
                nested_f_strings = false;
            }
        }
        if (string.kind == TokenKind::unclosed) line.open = true;
        add(string.kind, string.end);
    };

    while (i < source.size()) {
        const char c = source[i];
        if (is_blank(c)) {
            ++i;
        } else if (is_newline(c)) {
            i = after_newline(source, i);
            nested_f_strings = true;
            if (depth == 0 || breaks_out_of_brackets(source, i)) {
                line.ended = true;
                break;
            }
        } else if (c == '#') {
            while (i < source.size() && !is_newline(source[i]))
                ++i;
        } else if (c == '\\') {
            if (i + 1 < source.size() && is_newline(source[i + 1])) {
                i = after_newline(source, i + 1);
                line.open = i == source.size();
            } else {
                line.open = i + 1 == source.size();
                add(TokenKind::invalid, i + 1);
            }
        } else if (is_digit(c) || (c == '.' && i + 1 < source.size() && is_digit(source[i + 1]))) {
            const bool hexadecimal =
                c == '0' && i + 1 < source.size() && (source[i + 1] == 'x' || source[i + 1] == 'X');
            std::size_t end = i;
            while (end < source.size() && (is_identifier_byte(source[end]) || source[end] == '.')) {
                const bool exponent = !hexadecimal && (source[end] == 'e' || source[end] == 'E');
                ++end;
                if (exponent && end < source.size() && (source[end] == '+' || source[end] == '-')) ++end;
            }
            add(TokenKind::number, end);
        } else if (is_identifier_byte(c)) {
            const std::size_t end = after_identifier(source, i);
            const std::string_view word = source.substr(i, end - i);
            if (end < source.size() && (source[end] == '"' || source[end] == '\'') && is_string_prefix(word)) {
                add_string(end, word.find_first_of("fFtT") != std::string_view::npos);
            } else {
                add(TokenKind::name, end);
            }
        } else if (c == '"' || c == '\'') {
            add_string(i, false);
        } else if (c == '(' || c == '[' || c == '{') {
            add(TokenKind::op, i + 1);
            ++depth;
        } else if (c == ')' || c == ']' || c == '}') {
            if (depth > 0) {
                --depth;
                add(TokenKind::op, i + 1);
            } else {
                add(TokenKind::invalid, i + 1);
            }
        } else if (std::string_view("+-*/%@&|^~<>=.,:;!").find(c) != std::string_view::npos) {
            const std::size_t length = operator_length(source, i);
            add(c == '!' && length == 1 ? TokenKind::invalid : TokenKind::op, i + length);
        } else {
            add(TokenKind::invalid, i + 1);
        }
    }
    if (!line.ended && depth > 0) line.open = true;
    line.end = i;
    return line;
}

std::string_view statement_kind_name(StatementKind kind) {
    static constexpr std::array<std::string_view, 18> names = {
        "function_def", "async_function_def", "class_def", "decorator", "import_statement", "assignment", "comment",
        "docstring",    "expression",         "if_block",  "for_block", "while_block",      "try_block",  "with_block",
        "match_block",  "assert_statement",   "other",     "incomplete"};
    return names.at(static_cast<std::size_t>(kind));
}

std::vector<Statement> scan_statements(std::string_view source, TextEnd text_end) {
    return StatementScanner(source, text_end).run();
}

std::size_t longest_complete_prefix(std::string_view statement) {
    constexpr std::size_t none = static_cast<std::size_t>(-1);
    struct Line {
        std::size_t end;
        bool unfinished;          // cannot be the last line of a program
        std::size_t pending_try;  // the first line of the outermost `try` that has no handler yet after this line
    };
    std::vector<Line> lines;
    std::vector<std::pair<std::size_t, std::size_t>> pending;  // indent and line of each try without a handler
    for (std::size_t position = 0; position < statement.size();) {
        const LogicalLine line = read_logical_line(statement, position);
        position = line.end;
        if (line.tokens.empty()) continue;
        const Token& last = line.tokens.back();
        const std::string_view first =
            statement.substr(line.tokens[0].begin, line.tokens[0].end - line.tokens[0].begin);
        const bool opener = statement.substr(last.begin, last.end - last.begin) == ":";
        const bool cut_string = last.kind == TokenKind::invalid && last.end == statement.size();
        while (!pending.empty() && pending.back().first >= line.indent)
            pending.pop_back();
        if (first == "try") pending.emplace_back(line.indent, lines.size());
        lines.push_back({line.end,
                         line.open || opener || cut_string || first == "@" ||
                             wants_more(statement, line.tokens.data(), line.tokens.size()),
                         pending.empty() ? none : pending.front().second});
    }

    std::size_t n = lines.size();
    while (n > 0 && (lines[n - 1].unfinished || lines[n - 1].pending_try != none)) {
        n = lines[n - 1].unfinished ? n - 1 : lines[n - 1].pending_try;
    }
    return n == 0 ? 0 : lines[n - 1].end;
}

}  // namespace pva::tasks
