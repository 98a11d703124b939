// Entry points, the stop rule and the extraction rule, all on the statements of the scanner.
#include "pva/tasks/extraction.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "pva/core/error.h"
#include "pva/core/join.h"
#include "pva/tasks/problems.h"
#include "pva/tasks/python_scanner.h"
#include "white_space.h"

namespace pva::tasks {
namespace {

/// Functions and types of Python's builtins module, in byte order.
constexpr std::array<std::string_view, 72> builtin_callables = {
    "abs",        "aiter",        "all",        "anext",   "any",         "ascii",   "bin",     "bool",    "breakpoint",
    "bytearray",  "bytes",        "callable",   "chr",     "classmethod", "compile", "complex", "delattr", "dict",
    "dir",        "divmod",       "enumerate",  "eval",    "exec",        "exit",    "filter",  "float",   "format",
    "frozenset",  "getattr",      "globals",    "hasattr", "hash",        "help",    "hex",     "id",      "input",
    "int",        "isinstance",   "issubclass", "iter",    "len",         "list",    "locals",  "map",     "max",
    "memoryview", "min",          "next",       "object",  "oct",         "open",    "ord",     "pow",     "print",
    "property",   "quit",         "range",      "repr",    "reversed",    "round",   "set",     "setattr", "slice",
    "sorted",     "staticmethod", "str",        "sum",     "super",       "tuple",   "type",    "vars",    "zip"};

/// What tests commonly import to wrap a result.
constexpr std::array<std::string_view, 14> known_wrappers = {
    "Counter",     "Decimal", "Fraction", "OrderedDict", "allclose", "approx",  "array",
    "array_equal", "chain",   "deepcopy", "defaultdict", "deque",    "isclose", "isnan"};

bool is_wrapper(std::string_view name) {
    return std::binary_search(builtin_callables.begin(), builtin_callables.end(), name) ||
           std::find(known_wrappers.begin(), known_wrappers.end(), name) != known_wrappers.end();
}

std::vector<Token> tokens_of(std::string_view source) {
    std::vector<Token> tokens;
    for (std::size_t position = 0; position < source.size();) {
        LogicalLine line = read_logical_line(source, position);
        position = line.end;
        tokens.insert(tokens.end(), line.tokens.begin(), line.tokens.end());
    }
    return tokens;
}

std::string_view text_of(std::string_view source, const Token& token) {
    return source.substr(token.begin, token.end - token.begin);
}

/// Positions of plain names that are called: a name before an opening bracket and after no dot, def or class.
std::vector<std::size_t> called_names(std::string_view source, const std::vector<Token>& tokens) {
    std::vector<std::size_t> calls;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
        if (tokens[i].kind != TokenKind::name || text_of(source, tokens[i + 1]) != "(") continue;
        if (is_python_keyword(text_of(source, tokens[i]))) continue;
        const std::string_view before = i > 0 ? text_of(source, tokens[i - 1]) : std::string_view();
        if (before == "." || before == "def" || before == "class") continue;
        calls.push_back(i);
    }
    return calls;
}

std::string_view outermost_call(std::string_view test) {
    const std::vector<Token> tokens = tokens_of(test);
    std::string_view best, best_wrapper;
    int best_depth = 0, best_wrapper_depth = 0;
    for (const std::size_t i : called_names(test, tokens)) {
        const std::string_view name = text_of(test, tokens[i]);
        const bool wrapper = is_wrapper(name);
        std::string_view& choice = wrapper ? best_wrapper : best;
        int& depth = wrapper ? best_wrapper_depth : best_depth;
        if (choice.empty() || tokens[i].depth < depth) {
            choice = name;
            depth = tokens[i].depth;
        }
    }
    return best.empty() ? best_wrapper : best;
}

bool calls_input(std::string_view source) {
    const std::vector<Token> tokens = tokens_of(source);
    const auto calls = called_names(source, tokens);
    return std::any_of(calls.begin(), calls.end(),
                       [&](std::size_t i) { return text_of(source, tokens[i]) == "input"; });
}

std::string_view text_of(std::string_view source, const Statement& statement) {
    return source.substr(statement.begin, statement.end - statement.begin);
}

/// Whether the header of an `if` asks for the module's name.
bool asks_for_main(std::string_view source) {
    const LogicalLine line = read_logical_line(source, 0);
    return std::any_of(line.tokens.begin(), line.tokens.end(),
                       [&](const Token& token) { return text_of(source, token) == "__name__"; });
}

/// `module.function(...)` on a name bound by an import.
bool is_module_call(std::string_view source, const std::set<std::string_view>& imported) {
    const std::vector<Token> tokens = tokens_of(source);
    if (tokens.size() < 5 || tokens[0].kind != TokenKind::name || text_of(source, tokens[1]) != ".") return false;
    return imported.contains(text_of(source, tokens[0])) && text_of(source, tokens.back()) == ")";
}

bool is_future_import(std::string_view source) {
    const LogicalLine line = read_logical_line(source, 0);
    return line.tokens.size() > 1 && text_of(source, line.tokens[0]) == "from" &&
           text_of(source, line.tokens[1]) == "__future__";
}

/// Kinds that a program may consist of after its entry point.
bool may_follow_entry_point(StatementKind kind) {
    using enum StatementKind;
    switch (kind) {
        case function_def:
        case async_function_def:
        case class_def:
        case decorator:
        case import_statement:
        case assignment:
            return true;
        default:
            return false;
    }
}

/// A `try` whose body begins with an import.
bool is_guarded_import(std::string_view source, const Statement& statement) {
    if (statement.kind != StatementKind::try_block) return false;
    const std::string_view text = text_of(source, statement);
    LogicalLine line = read_logical_line(text, 0);
    do {
        line = read_logical_line(text, line.end);
    } while (line.tokens.empty() && line.end < text.size());
    if (line.tokens.empty()) return false;
    const std::string_view word = text_of(text, line.tokens[0]);
    return word == "import" || word == "from";
}

bool may_be_decorated(StatementKind kind) {
    using enum StatementKind;
    return kind == decorator || kind == function_def || kind == async_function_def || kind == class_def;
}

bool defines(const Statement& statement, std::string_view name) {
    return !name.empty() && std::find(statement.names.begin(), statement.names.end(), name) != statement.names.end();
}

/// Rule 2: whether a statement before the entry point belongs to the program.
bool belongs_before_entry_point(std::string_view source, const Statement& statement,
                                const std::set<std::string_view>& imported) {
    using enum StatementKind;
    const std::string_view text = text_of(source, statement);
    switch (statement.kind) {
        case function_def:
        case async_function_def:
        case class_def:
        case decorator:
        case import_statement:
            return true;
        case assignment:
        case for_block:
        case while_block:
        case try_block:
        case with_block:
        case match_block:
            return !calls_input(text);
        case if_block:
            return !asks_for_main(text) && !calls_input(text);
        case expression:
            return is_module_call(text, imported);
        default:
            return false;
    }
}

struct Selection {
    std::string program;
    bool defines_entry_point = false;
    std::optional<ProgramPlace> place;  ///< in the source; imports from __future__ count where they stand
};

/// After the colon that ends the header of a definition beginning at `begin`.
std::optional<std::int64_t> header_end(std::string_view source, const Statement& statement) {
    if (statement.kind != StatementKind::function_def && statement.kind != StatementKind::async_function_def) return std::nullopt;
    for (const Token& token : read_logical_line(source, statement.begin).tokens) {
        if (token.depth == 0 && text_of(source, token) == ":") return static_cast<std::int64_t>(token.end);
    }
    return std::nullopt;
}

/// The same for the first definition of a name in a text.
std::optional<std::int64_t> signature_end_in(std::string_view source, std::string_view name) {
    for (const Statement& statement : scan_statements(source, TextEnd::final)) {
        if (defines(statement, name)) return header_end(source, statement);
    }
    return std::nullopt;
}

void move_by(std::optional<ProgramPlace>& place, std::int64_t distance) {
    if (!place) return;
    place->begin += distance;
    place->end += distance;
    if (place->signature_end) *place->signature_end += distance;
}

/// Offset in a text whose line ends were normalised -> offset in the text as it was.
std::int64_t offset_before_normalizing(std::string_view raw, std::int64_t offset) {
    std::size_t at = 0;
    for (std::int64_t n = 0; n < offset && at < raw.size(); ++n) at += raw[at] == '\r' && at + 1 < raw.size() && raw[at + 1] == '\n' ? 2 : 1;
    return static_cast<std::int64_t>(at);
}

/// Takes a place in normalised text back to the text as it was; what is negative (in an opening) stays.
void undo_normalizing(std::optional<ProgramPlace>& place, std::string_view raw) {
    if (!place || raw.find('\r') == std::string_view::npos) return;
    const auto back = [&](std::int64_t offset) { return offset < 0 ? offset : offset_before_normalizing(raw, offset); };
    place = ProgramPlace{back(place->begin), back(place->end), place->signature_end ? std::optional(back(*place->signature_end)) : std::nullopt};
}

/// Rules 2 to 5 on a text without prompt.
Selection select_program(std::string_view source, std::string_view entry_point) {
    const std::vector<Statement> statements = scan_statements(source, TextEnd::final);
    Selection selection;
    std::vector<const Statement*> kept;
    std::set<std::string_view> imported;
    const auto drop_decorators = [&] {
        while (!kept.empty() && kept.back()->kind == StatementKind::decorator)
            kept.pop_back();
    };
    for (const Statement& statement : statements) {
        if (statement.kind == StatementKind::comment) continue;
        if (selection.defines_entry_point) {
            if (!may_follow_entry_point(statement.kind) && !is_guarded_import(source, statement)) break;
            if (statement.kind == StatementKind::assignment && calls_input(text_of(source, statement))) break;
        }
        // A decorator without its function, by an error or the end of the text, must not move to the next one.
        if (!may_be_decorated(statement.kind)) drop_decorators();
        if (!selection.defines_entry_point && !belongs_before_entry_point(source, statement, imported)) continue;
        if (statement.kind == StatementKind::import_statement)
            imported.insert(statement.names.begin(), statement.names.end());
        if (defines(statement, entry_point)) selection.defines_entry_point = true;
        kept.push_back(&statement);
    }

    // The text may be cut inside its last statement.
    std::string_view last_text;
    if (!kept.empty()) {
        last_text = text_of(source, *kept.back());
        const bool reaches_end = source.find_first_not_of(" \t\f\n", kept.back()->end) == std::string_view::npos;
        if (reaches_end) last_text = last_text.substr(0, longest_complete_prefix(last_text));
        if (last_text.empty() || kept.back()->kind == StatementKind::decorator) {
            if (defines(*kept.back(), entry_point)) selection.defines_entry_point = false;
            kept.pop_back();
            drop_decorators();
            if (!kept.empty()) last_text = text_of(source, *kept.back());
        }
    }

    std::string future, program;
    const Statement* previous = nullptr;
    for (const Statement* statement : kept) {
        std::string_view text = statement == kept.back() ? last_text : text_of(source, *statement);
        const std::size_t end = text.find_last_not_of(" \t\f\n;");
        text = text.substr(0, end == std::string_view::npos ? 0 : end + 1);
        if (!selection.place) selection.place = ProgramPlace{static_cast<std::int64_t>(statement->begin), 0, std::nullopt};
        selection.place->end = static_cast<std::int64_t>(statement->begin + text.size());
        if (!selection.place->signature_end && defines(*statement, entry_point)) selection.place->signature_end = header_end(source, *statement);
        if (statement->kind == StatementKind::import_statement && is_future_import(text)) {
            future += std::string(text) + "\n";
            continue;
        }
        if (previous) {
            const std::string_view gap = source.substr(previous->end, statement->begin - previous->end);
            if (gap.find('\n') != std::string_view::npos) program += "\n";
        }
        program += std::string(text) + "\n";
        previous = statement;
    }
    selection.program = future + program;
    return selection;
}

/// What a fenced block holds, without the indentation of its fence.
struct FencedBlock {
    std::string text;
    std::vector<std::pair<std::size_t, std::size_t>> lines;  ///< where each line begins: in the text, in the source

    std::int64_t in_source(std::int64_t offset) const {
        const auto after = std::upper_bound(lines.begin(), lines.end(), static_cast<std::size_t>(offset), [](std::size_t value, const auto& line) { return value < line.first; });
        const auto& line = *std::prev(after);
        return static_cast<std::int64_t>(line.second + static_cast<std::size_t>(offset) - line.first);
    }
};

std::vector<FencedBlock> fenced_blocks(std::string_view source) {
    std::vector<FencedBlock> blocks;
    bool inside = false;
    std::size_t fence_indent = 0;
    for (std::size_t begin = 0; begin < source.size();) {
        const std::size_t end = std::min(source.find('\n', begin), source.size());
        const std::string_view line = source.substr(begin, end - begin);
        const std::size_t line_begin = begin;
        begin = end + 1;
        const std::size_t indent = std::min(line.find_first_not_of(" \t"), line.size());
        if (line.substr(indent).starts_with("```")) {
            inside = !inside;
            fence_indent = indent;
            if (inside) blocks.emplace_back();
        } else if (inside) {
            const std::size_t cut = std::min(indent, fence_indent);
            blocks.back().lines.emplace_back(blocks.back().text.size(), line_begin + cut);
            blocks.back().text += std::string(line.substr(cut)) + "\n";
        }
    }
    return blocks;
}

/// What stands after an echo of the prompt at the beginning, or the whole text.
std::string_view without_echo(std::string_view text, std::string_view prompt) {
    const std::size_t first = text.find_first_not_of(" \t\n");
    if (prompt.empty() || first == std::string_view::npos || !text.substr(first).starts_with(prompt)) return text;
    return text.substr(first + prompt.size());
}

/// Whether the last line of a prompt opens a code fence that the answer continues.
bool ends_in_open_fence(std::string_view prompt) {
    if (!prompt.ends_with('\n')) return false;
    prompt.remove_suffix(1);
    const std::size_t begin = prompt.rfind('\n');
    std::string_view line = prompt.substr(begin == std::string_view::npos ? 0 : begin + 1);
    // A template may write the fence on the line of its own tokens: "[/INST] ```python".
    const std::size_t fence = line.rfind("```");
    if (fence == std::string_view::npos || line.substr(0, fence).find("```") != std::string_view::npos) return false;
    line.remove_prefix(fence + 3);
    return std::all_of(line.begin(), line.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    });
}

/// What stands before the closing fence of an answer that begins inside a fence. Fences before any code, by a model
/// that opens once more what the prompt has opened, are passed over.
std::string_view inside_first_fence(std::string_view answer) {
    bool code_seen = false;
    std::size_t code_begin = 0;
    for (std::size_t begin = 0; begin < answer.size();) {
        const std::size_t end = std::min(answer.find('\n', begin), answer.size());
        const std::string_view line = answer.substr(begin, end - begin);
        const std::size_t indent = line.find_first_not_of(' ');
        const bool fence = indent != std::string_view::npos && indent <= 3 && line.substr(indent).starts_with("```");
        if (fence && code_seen) return answer.substr(code_begin, begin - code_begin);
        if (fence) code_begin = std::min(end + 1, answer.size());
        if (!fence && line.find_first_not_of(" \t\f") != std::string_view::npos) code_seen = true;
        begin = end + 1;
    }
    return answer.substr(code_begin);
}

}  // namespace

std::string entry_point(std::span<const std::string> tests) {
    std::vector<std::pair<std::string, int>> votes;
    for (const std::string& test : tests) {
        const std::string name(outermost_call(test));
        if (name.empty()) continue;
        const auto seen =
            std::find_if(votes.begin(), votes.end(), [&](const auto& vote) { return vote.first == name; });
        if (seen == votes.end()) {
            votes.emplace_back(name, 1);
        } else {
            ++seen->second;
        }
    }
    const auto best =
        std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return best == votes.end() ? std::string() : best->first;
}

std::string entry_point(const Problem& problem) {
    return problem.entry_point.empty() ? entry_point(problem.test_list) : problem.entry_point;
}

std::optional<std::size_t> program_end(std::string_view generated, std::string_view entry_point,
                                       std::string_view opening) {
    if (entry_point.empty()) return std::nullopt;
    std::string joined;
    if (!opening.empty()) {
        joined = std::string(opening) + std::string(generated);
        generated = joined;
    }
    bool defined = false;
    std::size_t end = 0;
    for (const Statement& statement : scan_statements(generated, TextEnd::open)) {
        if (statement.kind == StatementKind::comment) continue;
        if (defined) {
            if (statement.kind == StatementKind::incomplete) return std::nullopt;
            // An opening alone is no answer.
            if (!may_follow_entry_point(statement.kind) && end > opening.size()) return end - opening.size();
        }
        if (defines(statement, entry_point)) defined = true;
        end = statement.end;
    }
    return std::nullopt;
}

namespace {

/// "complete-program" for an answer that stands alone.
Selection complete_program(std::string_view raw_output, std::string_view prompt, std::string_view entry_point) {
    constexpr std::string_view opened_fence = "```python\n";
    const std::string text = normalize_line_ends(std::string(raw_output));
    const std::string echo = normalize_line_ends(std::string(prompt));
    const auto offset_of = [&](std::string_view part) { return static_cast<std::int64_t>(part.data() - text.data()); };
    const std::string_view answer = without_echo(text, echo);
    std::string with_fence;
    std::string_view source = answer;
    std::int64_t source_offset = offset_of(answer);
    if (ends_in_open_fence(echo)) {
        const std::string_view first = inside_first_fence(answer);
        Selection inside = select_program(first, entry_point);
        if (inside.defines_entry_point || entry_point.empty()) {
            move_by(inside.place, offset_of(first));
            undo_normalizing(inside.place, raw_output);
            return inside;
        }
        with_fence = std::string(opened_fence) + std::string(answer);
        source = with_fence;
        source_offset -= static_cast<std::int64_t>(opened_fence.size());
    }
    Selection selection = select_program(source, entry_point);
    if (!selection.defines_entry_point && !entry_point.empty()) {
        for (const FencedBlock& block : fenced_blocks(source)) {
            Selection alternative = select_program(block.text, entry_point);
            if (!alternative.defines_entry_point) continue;
            selection = std::move(alternative);
            ProgramPlace& place = *selection.place;
            // The last line of a block may lack its newline in the source, so the end is taken from the byte before it.
            place = {block.in_source(place.begin), block.in_source(place.end - 1) + 1,
                     place.signature_end ? std::optional(block.in_source(*place.signature_end - 1) + 1) : std::nullopt};
            break;
        }
    }
    move_by(selection.place, source_offset);
    undo_normalizing(selection.place, raw_output);
    return selection;
}

/// What an opening has before the definition of the entry point.
std::string_view before_definition(std::string_view opening, std::string_view entry_point) {
    std::size_t begin = 0;
    for (const Statement& statement : scan_statements(opening, TextEnd::final)) {
        if (defines(statement, entry_point)) return opening.substr(0, begin);
        if (statement.kind != StatementKind::decorator) begin = statement.end;
    }
    return opening.substr(0, 0);
}

/// "complete-program" for an answer to a prompt that is the beginning of the program.
Selection complete_program_after(std::string_view opening, std::string_view raw_output, std::string_view prompt,
                                 std::string_view entry_point) {
    Selection alone = complete_program(raw_output, prompt, entry_point);
    // Through the selection once more, for imports from __future__.
    if (alone.defines_entry_point) {
        Selection whole = select_program(std::string(before_definition(opening, entry_point)) + "\n" + alone.program, entry_point);
        whole.place = alone.place;
        return whole;
    }
    const std::string text = normalize_line_ends(std::string(raw_output));
    const std::string_view answer = without_echo(text, opening);
    Selection selection = select_program(std::string(opening) + std::string(answer), entry_point);
    // Counted from the beginning of the answer; what stands in the opening is negative, unless the answer repeats it.
    move_by(selection.place, static_cast<std::int64_t>(answer.data() - text.data()) - static_cast<std::int64_t>(opening.size()));
    undo_normalizing(selection.place, raw_output);
    return selection;
}

/// A program that is a piece of the answer as it stands, perhaps behind the opening.
struct Piece {
    std::string_view text;
    bool behind_opening = false;
};

Piece reference_piece(std::string_view raw_output, std::string_view prompt, bool has_opening) {
    constexpr std::string_view marker = "# Solution:";
    std::string_view code = raw_output;
    if (raw_output.starts_with(prompt)) {
        code = raw_output.substr(prompt.size());
    } else if (const auto at = raw_output.find(marker); at != std::string_view::npos) {
        code = raw_output.substr(at + marker.size());
    } else if (const auto last = raw_output.rfind("assert "); last != std::string_view::npos) {
        const auto line_end = raw_output.find('\n', last);
        if (line_end != std::string_view::npos) code = raw_output.substr(line_end);
    }
    const auto definition = code.find("def ");
    if (definition == std::string_view::npos) return has_opening ? Piece{strip_end(code), true} : Piece{strip(code), false};
    code = strip(code.substr(definition));
    for (std::size_t at = code.find('\n'); at != std::string_view::npos; at = code.find('\n', at + 1)) {
        if (at + 1 < code.size() && std::string_view(" \t\n").find(code[at + 1]) == std::string_view::npos) {
            return {strip_end(code.substr(0, at)), false};
        }
    }
    return {code, false};
}

Extraction extraction_of_piece(std::string_view raw_output, const Piece& piece, std::string_view entry_point, std::string_view opening,
                               const std::string& rule) {
    Extraction result{(piece.behind_opening ? std::string(opening) : "") + std::string(piece.text), rule, std::nullopt};
    if (strip(piece.text).empty()) return result;
    const std::int64_t begin = piece.text.data() - raw_output.data();
    result.place = ProgramPlace{begin, begin + static_cast<std::int64_t>(piece.text.size()), std::nullopt};
    const std::int64_t before = piece.behind_opening ? static_cast<std::int64_t>(opening.size()) : 0;
    if (const auto end = signature_end_in(result.program, entry_point)) {
        // In the opening it counts back from the answer's beginning, else on from the piece's.
        result.place->signature_end = *end <= before ? *end - before : begin + *end - before;
    }
    return result;
}

constexpr std::array<std::string_view, 3> rule_names = {"none", "complete-program", "reference"};

}  // namespace

std::string extraction_rule_name(ExtractionRule rule) {
    const auto number = static_cast<std::size_t>(rule);
    if (number >= rule_names.size()) throw InternalError("extraction rule number " + std::to_string(number) + " does not exist");
    return std::string(rule_names[number]);
}

std::vector<std::string> extraction_rule_names() { return {rule_names.begin(), rule_names.end()}; }

ExtractionRule extraction_rule_from_name(std::string_view name) {
    for (std::size_t number = 0; number < rule_names.size(); ++number) {
        if (rule_names[number] == name) return static_cast<ExtractionRule>(number);
    }
    throw UsageError("no extraction rule is called '" + std::string(name) + "'. Known: " + join(extraction_rule_names(), ", "));
}

Extraction extract_program(ExtractionRule rule, std::string_view raw_output, std::string_view prompt,
                           std::string_view entry_point, std::string_view opening) {
    const std::string name = extraction_rule_name(rule);
    switch (rule) {
        case ExtractionRule::none:
            return extraction_of_piece(raw_output, {raw_output, !opening.empty()}, entry_point, opening, name);
        case ExtractionRule::reference:
            return extraction_of_piece(raw_output, reference_piece(raw_output, prompt, !opening.empty()), entry_point, opening, name);
        case ExtractionRule::complete_program:
            break;
    }
    Selection selection = opening.empty() ? complete_program(raw_output, prompt, entry_point)
                                          : complete_program_after(opening, raw_output, prompt, entry_point);
    if (strip(selection.program).empty()) selection.place.reset();
    return {std::move(selection.program), name, selection.place};
}

}  // namespace pva::tasks
