// PCRE2 behind the interface of regex.h, and the translation from Oniguruma's Ruby syntax.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "regex.h"

#include <cstdint>
#include <utility>

#include <pcre2.h>

#include "pva/core/error.h"
#include "unicode.h"

namespace pva::text {

namespace {

constexpr std::string_view word_class = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}";

/// Reads a pattern from left to right and writes PCRE2's.
class Translator {
  public:
    Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

    std::string run() {
        while (at_ < pattern_.size()) {
            const char c = pattern_[at_];
            if (c == '\\') {
                escape(false);
            } else if (c == '[') {
                bracket();
            } else if (c == '(') {
                group();
            } else if (c == '{') {
                interval();
            } else {
                result_ += c;
                ++at_;
            }
        }
        return std::move(result_);
    }

  private:
    [[noreturn]] void refuse(const std::string& what) const {
        throw InputError(where_ + ": the regular expression " + std::string(pattern_) + " uses " + what + " at byte " +
                         std::to_string(at_) + ", which pva does not support.");
    }

    char peek(std::size_t ahead) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }

    void copy(std::size_t bytes) {
        result_ += pattern_.substr(at_, bytes);
        at_ += bytes;
    }

    void escape(bool in_class) {
        const char c = peek(1);
        switch (c) {
            case 's':
                return replace("\\p{White_Space}");
            case 'S':
                return replace("\\P{White_Space}");
            case 'd':
                return replace("\\p{Nd}");
            case 'D':
                return replace("\\P{Nd}");
            case 'v':
                return replace("\\x0b");
            case 'w':
                return replace(in_class ? std::string(word_class) : "[" + std::string(word_class) + "]");
            case 'W':
                if (in_class) refuse("\\W in a character class");
                return replace("[^" + std::string(word_class) + "]");
            case 'r':
            case 'n':
            case 't':
            case 'f':
                return copy(2);
            case 'A':
            case 'z':
                if (in_class) refuse("an anchor in a character class");
                return copy(2);
            case 'p':
            case 'P': {
                const std::size_t close = pattern_.find('}', at_);
                if (peek(2) != '{' || peek(3) == '^' || close == std::string_view::npos)
                    refuse("a property that is not of the form \\p{Name}");
                return copy(close + 1 - at_);
            }
            case 'u':
                return code_point(4);
            case 'x':
                if (peek(2) == '{') {
                    const std::size_t close = pattern_.find('}', at_);
                    if (close == std::string_view::npos) refuse("\\x{ without its end");
                    return copy(close + 1 - at_);
                }
                if (peek(2) > '7') refuse("a byte above 7F");
                return code_point(2);
            default:
                break;
        }
        const auto byte = static_cast<unsigned char>(c);
        const bool letter_or_digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (byte < 0x20 || byte > 0x7E || letter_or_digit) refuse("the escape \\" + std::string(1, c));
        copy(2);
    }

    void replace(const std::string& by) {
        result_ += by;
        at_ += 2;
    }

    void code_point(std::size_t digits) {
        const std::string_view hex = pattern_.substr(at_ + 2, digits);
        if (hex.size() != digits || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
            refuse("an escape without its " + std::to_string(digits) + " hexadecimal digits");
        result_ += "\\x{" + std::string(hex) + "}";
        at_ += 2 + digits;
    }

    void bracket() {
        copy(1);
        if (peek(0) == '^') copy(1);
        if (peek(0) == ']') refuse("] as the first character of a class");
        while (peek(0) != ']') {
            if (at_ >= pattern_.size()) refuse("a character class without its end");
            if (peek(0) == '[') refuse("a class inside a class");
            if (peek(0) == '&' && peek(1) == '&') refuse("an intersection of classes");
            if (peek(0) == '\\') {
                escape(true);
            } else {
                copy(1);
            }
        }
        copy(1);
    }

    void group() {
        if (peek(1) != '?') {
            if (peek(1) == '*') refuse("(*");
            return copy(1);
        }
        for (const std::string_view known : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:"}) {
            if (pattern_.substr(at_).starts_with(known)) return copy(known.size());
        }
        refuse("the group " + std::string(pattern_.substr(at_, 4)));
    }

    void interval() {
        const std::size_t close = pattern_.find('}', at_);
        if (close == std::string_view::npos) refuse("{ without }");
        const std::string_view inside = pattern_.substr(at_ + 1, close - at_ - 1);
        if (inside.empty() || inside.front() < '0' || inside.front() > '9' ||
            inside.find_first_not_of("0123456789,") != std::string_view::npos)
            refuse("an interval that is not {n}, {n,} or {n,m}");
        copy(close + 1 - at_);
        if (peek(0) == '+' || peek(0) == '?') refuse("an interval followed by + or ?");  // Ruby reads it differently
    }

    std::string_view pattern_;
    const std::string& where_;
    std::size_t at_ = 0;
    std::string result_;
};

std::string message_of(int code) {
    PCRE2_UCHAR buffer[256];
    if (pcre2_get_error_message(code, buffer, sizeof buffer) < 0) return "error " + std::to_string(code);
    return reinterpret_cast<const char*>(buffer);
}

}  // namespace

std::string to_pcre2(std::string_view pattern, const std::string& where) {
    return Translator(pattern, where).run();
}

struct Regex::Code {
    pcre2_code* code = nullptr;
    pcre2_match_context* context = nullptr;
    Code() = default;
    Code(const Code&) = delete;
    Code& operator=(const Code&) = delete;
    ~Code() {
        pcre2_match_context_free(context);
        pcre2_code_free(code);
    }
};

Regex::Regex(std::string_view pattern, const std::string& where) : code_(std::make_unique<Code>()) {
    const std::string translated = to_pcre2(pattern, where);
    const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> settings(
        pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
    if (!settings) throw InternalError("no memory for a regular expression");
    pcre2_set_newline(settings.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE offset = 0;
    // Ruby syntax: ^ and $ mean lines, and . is everything but a line feed.
    code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, settings.get());
    if (code_->code == nullptr) {
        throw InputError(where + ": the regular expression " + std::string(pattern) +
                         " cannot be read: " + message_of(error));
    }
    pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);  // without JIT matching works all the same
    code_->context = pcre2_match_context_create(nullptr);
    if (code_->context == nullptr) throw InternalError("no memory for a regular expression");
    // Long runs of blanks reach the default limit of ten million steps. Without any, a pattern like (?:a|a)+b never ends; this one is a second or two.
    pcre2_set_match_limit(code_->context, std::uint32_t{1} << 28);
    pcre2_set_heap_limit(code_->context, std::uint32_t{1} << 20);  // KiB
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Regex::Search::Search(const Regex& regex)
    : regex_(regex), match_data_(pcre2_match_data_create_from_pattern(regex.code_->code, nullptr)) {
    if (match_data_ == nullptr) throw InternalError("no memory for a regular expression");
}

Regex::Search::~Search() {
    pcre2_match_data_free(static_cast<pcre2_match_data*>(match_data_));
}

void Regex::Search::start(std::string_view text) {
    text_ = text;
    at_ = 0;
    last_end_ = 0;
    had_match_ = false;
}

bool Regex::Search::next(ByteRange& match) {
    auto* const data = static_cast<pcre2_match_data*>(match_data_);
    const auto* const subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
    while (at_ <= text_.size()) {
        const Code& code = *regex_.code_;
        int result = pcre2_match(code.code, subject, text_.size(), at_, PCRE2_NO_UTF_CHECK, data, code.context);
        if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
            result = pcre2_match(code.code, subject, text_.size(), at_, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                                 code.context);
        }
        if (result == PCRE2_ERROR_NOMATCH) return false;
        if (result < 0) {
            throw InputError("a regular expression of the tokenizer fails on a text of " +
                             std::to_string(text_.size()) + " bytes (" + message_of(result) +
                             "); cut the text, or check the tokenizer file.");
        }
        const PCRE2_SIZE* const found = pcre2_get_ovector_pointer(data);
        match = {found[0], found[1]};
        if (match.begin == match.end && had_match_ && last_end_ == match.end) {
            at_ = match.end < text_.size() ? match.end + character_length(text_, match.end) : text_.size() + 1;
            continue;
        }
        at_ = last_end_ = match.end;
        had_match_ = true;
        return true;
    }
    return false;
}

}  // namespace pva::text
