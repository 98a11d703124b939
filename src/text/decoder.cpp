// Decoding of single tokens.
#include "decoder.h"

#include "byte_level.h"
#include "pva/core/error.h"
#include "unicode.h"

namespace pva::text {

namespace {

std::string replaced(std::string_view token, const Pattern& pattern, const std::string& content) {
    std::string result;
    std::size_t at = 0;
    pattern.each_match(token, [&](ByteRange match) {
        result += token.substr(at, match.begin - at);
        result += content;
        at = match.end;
    });
    result += token.substr(at);
    return result;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/// The byte that a token spelled <0xAB> stands for; every other token is itself.
std::string without_byte_spelling(std::string token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return token;
    const int high = hex_digit(token[3]);
    const int low = hex_digit(token[4]);
    if (high < 0 || low < 0) return token;
    return std::string(1, static_cast<char>(high << 4 | low));
}

std::string stripped(std::string_view token, std::string_view content, std::size_t start, std::size_t stop) {
    for (; start > 0 && token.starts_with(content); --start)
        token.remove_prefix(content.size());
    for (; stop > 0 && token.ends_with(content); --stop)
        token.remove_suffix(content.size());
    return std::string(token);
}

}  // namespace

Decoder::Decoder(const nlohmann::json& value, const std::string& where) {
    bool fused = false;
    if (value.is_null())
        throw InputError(where + ", decoder: there is none, and pva does not guess how tokens become text.");
    read(value, where, fused);
}

void Decoder::read(const nlohmann::json& value, const std::string& where, bool& fused) {
    const std::string type = Component(value, where + ", decoder").type();
    const Component named(value, where + ", decoder " + type);
    if (fused && type != "Strip" && type != "Fuse") named.refuse("pva supports nothing but Strip behind Fuse");
    if (type == "ByteLevel") {
        named.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
        steps_.push_back(ByteLevel{});
    } else if (type == "ByteFallback") {
        named.only({"type"});
        steps_.push_back(ByteFallback{});
    } else if (type == "Replace") {
        named.only({"type", "pattern", "content"});
        steps_.push_back(Replace{Pattern(pattern_text(named), named.where()), named.string("content")});
    } else if (type == "Fuse") {
        named.only({"type"});
        fused = true;
    } else if (type == "Strip") {
        named.only({"type", "content", "start", "stop"});
        const std::string content = named.string("content");
        const auto start = static_cast<std::size_t>(named.id("start"));
        const auto stop = static_cast<std::size_t>(named.id("stop"));
        if (content.empty() || character_length(content, 0) != content.size())
            named.refuse("the content must be one character");
        if (!fused) {
            steps_.push_back(Strip{content, start, stop});
        } else if (content == " " && start <= 1 && stop == 0) {
            drops_first_blank_ = drops_first_blank_ || start == 1;
        } else {
            named.refuse("behind Fuse pva supports one blank at the start only");
        }
    } else if (type == "Metaspace") {
        named.only({"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
        steps_.push_back(Replace{Pattern({named.string("replacement"), false}, named.where()), " "});
        drops_first_blank_ = named.string("prepend_scheme", "always") != "never";
    } else if (type == "Sequence") {
        named.only({"type", "decoders"});
        for (const auto& one : named.array("decoders"))
            read(one, where, fused);
    } else {
        named.refuse("pva does not support this decoder");
    }
}

std::string Decoder::bytes(std::string_view token) const {
    std::string result(token);
    for (const Step& step : steps_) {
        if (std::holds_alternative<ByteLevel>(step)) {
            if (auto bytes = bytes_of_byte_level(result)) result = std::move(*bytes);
        } else if (std::holds_alternative<ByteFallback>(step)) {
            result = without_byte_spelling(std::move(result));
        } else if (const auto* replace = std::get_if<Replace>(&step)) {
            result = replaced(result, replace->pattern, replace->content);
        } else {
            const Strip& strip = std::get<Strip>(step);
            result = stripped(result, strip.content, strip.start, strip.stop);
        }
    }
    return result;
}

}  // namespace pva::text
