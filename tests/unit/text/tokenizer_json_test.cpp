// tokenizer.json component by component: small files made here, whose tokens can be worked out by hand or are those
// that Hugging Face documents; edges; files that must be refused.
#define BOOST_TEST_MODULE tokenizer_json
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "../scratch.h"
#include "pva/core/error.h"
#include "pva/text/tokenizer.h"

namespace fs = std::filesystem;
using nlohmann::json;
using pva::text::Tokenizer;
using pva::text::TokenSpan;
using Pieces = std::vector<std::string>;

namespace {

const fs::path golden_dir = fs::path(PVA_SOURCE_DIR) / "tests/golden/text";

json added(int id, const std::string& content, const json& options = json::object()) {
    json token = {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                  {"rstrip", false}, {"normalized", false}, {"special", true}};
    token.update(options);
    return token;
}

/// Characters as pieces, in order; merges as pairs. The decoder leaves pieces as they are.
json small(const Pieces& pieces, const std::vector<std::pair<std::string, std::string>>& merges = {}) {
    json vocab = json::object();
    for (const auto& piece : pieces)
        vocab.emplace(piece, vocab.size());
    json list = json::array();
    for (const auto& [left, right] : merges)
        list.push_back({left, right});
    return {{"version", "1.0"},
            {"truncation", nullptr},
            {"padding", nullptr},
            {"added_tokens", json::array()},
            {"normalizer", nullptr},
            {"pre_tokenizer", nullptr},
            {"post_processor", nullptr},
            {"decoder", {{"type", "Fuse"}}},
            {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}}}};
}

Tokenizer load(const json& file) {
    const Scratch folder;
    return Tokenizer::load(folder.write("tokenizer.json", file.dump()));
}

/// The spellings of the tokens, found by decoding; special tokens are spelled as "#id".
Pieces pieces(const Tokenizer& tokenizer, const std::string& text) {
    Pieces result;
    for (const auto id : tokenizer.encode(text)) {
        std::string bytes;
        tokenizer.append(id, bytes);
        result.push_back(bytes.empty() ? "#" + std::to_string(id) : bytes);
    }
    return result;
}

/// The parts a pre-tokenizer makes, seen through a model that joins nothing but whole parts of the given list.
Pieces parts(const json& pre_tokenizer, const std::string& text, const Pieces& expected) {
    Pieces vocabulary;
    std::vector<std::pair<std::string, std::string>> merges;
    const auto add = [&](const std::string& piece) {
        if (std::find(vocabulary.begin(), vocabulary.end(), piece) == vocabulary.end()) vocabulary.push_back(piece);
    };
    for (const auto& part : expected) {
        for (const char c : part)
            add(std::string(1, c));
    }
    for (const char c : text)
        add(std::string(1, c));
    for (const auto& part : expected)
        add(part);
    json file = small(vocabulary, merges);
    file["model"]["ignore_merges"] = true;  // a part that is a piece becomes that piece
    file["pre_tokenizer"] = pre_tokenizer;
    return pieces(load(file), text);
}

json split(const json& pattern, const std::string& behavior, bool invert = false) {
    return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

bool mentions(const std::exception& error, const std::string& part) {
    return std::string(error.what()).find(part) != std::string::npos;
}

void refused(const json& file, const std::string& words) {
    BOOST_CHECK_EXCEPTION(load(file), pva::InputError, [&](const auto& error) {
        const bool good = mentions(error, words) && mentions(error, "tokenizer.json");
        if (!good) BOOST_TEST_MESSAGE("message: " << error.what());
        return good;
    });
}

using Spans = std::vector<TokenSpan>;

}  // namespace

namespace std {
ostream& operator<<(ostream& out, const TokenSpan& span) {
    return out << span.id << "[" << span.begin << "," << span.end << "]";
}
}  // namespace std

BOOST_AUTO_TEST_CASE(merges_go_by_their_place_in_the_list) {
    const Pieces vocabulary = {"a", "b", "c", "ab", "bc", "abc"};
    BOOST_TEST(pieces(load(small(vocabulary, {{"b", "c"}, {"a", "b"}})), "abc") == (Pieces{"a", "bc"}),
               boost::test_tools::per_element());
    BOOST_TEST(pieces(load(small(vocabulary, {{"a", "b"}, {"b", "c"}})), "abc") == (Pieces{"ab", "c"}),
               boost::test_tools::per_element());
    BOOST_TEST(pieces(load(small(vocabulary, {{"a", "b"}, {"ab", "c"}})), "abcab") == (Pieces{"abc", "ab"}),
               boost::test_tools::per_element());
    // Of equal pairs the left one comes first.
    BOOST_TEST(pieces(load(small({"a", "aa"}, {{"a", "a"}})), "aaaaa") == (Pieces{"aa", "aa", "a"}),
               boost::test_tools::per_element());
    // A pair listed twice counts where it stands last, as in the reference.
    BOOST_TEST(pieces(load(small(vocabulary, {{"a", "b"}, {"b", "c"}, {"a", "b"}})), "abc") == (Pieces{"a", "bc"}),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(merges_are_written_in_two_ways) {
    json file = small({"a", "b", "ab"});
    file["model"]["merges"] = {"#version: 0.2", "a b"};
    BOOST_TEST(pieces(load(file), "ab") == Pieces{"ab"}, boost::test_tools::per_element());
    file = small({"a", " ", "a "}, {{"a", " "}});  // only the pair can hold a blank
    BOOST_TEST(pieces(load(file), "a a") == (Pieces{"a ", "a"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(ignore_merges_takes_whole_pieces) {
    json file = small({"a", "b", "ab", "abb"}, {{"a", "b"}});
    BOOST_TEST(pieces(load(file), "abb") == (Pieces{"ab", "b"}), boost::test_tools::per_element());
    file["model"]["ignore_merges"] = true;
    BOOST_TEST(pieces(load(file), "abb") == Pieces{"abb"}, boost::test_tools::per_element());
    BOOST_TEST(pieces(load(file), "abba") == (Pieces{"ab", "b", "a"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(unknown_characters) {
    json file = small({"<unk>", "a"});
    BOOST_TEST(load(file).encode("axyb") == std::vector<std::int32_t>{1},
               boost::test_tools::per_element());  // left out
    BOOST_TEST(load(file).unk_id() == -1);
    file["model"]["unk_token"] = "<unk>";
    const Tokenizer single = load(file);
    BOOST_TEST(single.unk_id() == 0);
    BOOST_TEST(single.encode("axya") == (std::vector<std::int32_t>{1, 0, 0, 1}), boost::test_tools::per_element());
    file["model"]["fuse_unk"] = true;
    const Tokenizer fused = load(file);
    BOOST_TEST(fused.encode_with_offsets("a\xC3\xA9ya") == (Spans{{1, 0, 1}, {0, 1, 3}, {1, 3, 4}}),
               boost::test_tools::per_element());
    file["model"]["unk_token"] = "<none>";
    refused(file, "<none>");
}

BOOST_AUTO_TEST_CASE(byte_fallback) {
    json file = small({"<unk>", "a", "<0xC3>", "<0xA9>"});
    file["model"]["unk_token"] = "<unk>";
    file["model"]["byte_fallback"] = true;
    file["decoder"] = {{"type", "ByteFallback"}};
    const Tokenizer tokenizer = load(file);
    const Spans spans =
        tokenizer.encode_with_offsets("a\xC3\xA9\xC3\xA8");  // the second letter's last byte has no piece
    BOOST_TEST(spans == (Spans{{1, 0, 1}, {2, 1, 2}, {3, 1, 2}, {0, 2, 3}}), boost::test_tools::per_element());
    std::string grown;
    tokenizer.append(2, grown);
    BOOST_TEST(grown == "\xC3");
    BOOST_TEST(tokenizer.decode(std::vector<std::int32_t>{1, 2, 3}) == "a\xC3\xA9");
}

BOOST_AUTO_TEST_CASE(split_behaviours) {
    // The example of the reference's documentation.
    const std::string text = "the-final--countdown";
    const json dash = {{"String", "-"}};
    const auto test = [&](const std::string& behavior, const Pieces& expected, const json& pattern,
                          bool invert = false) {
        BOOST_TEST(parts(split(pattern, behavior, invert), text, expected) == expected,
                   boost::test_tools::per_element());
    };
    test("Removed", {"the", "final", "countdown"}, dash);
    test("Isolated", {"the", "-", "final", "-", "-", "countdown"}, dash);
    test("MergedWithPrevious", {"the-", "final-", "-", "countdown"}, dash);
    test("MergedWithNext", {"the", "-final", "-", "-countdown"}, dash);
    test("Contiguous", {"the", "-", "final", "--", "countdown"}, dash);
    test("Isolated", {"the", "-", "final", "--", "countdown"}, json{{"Regex", "-+"}});
    test("Removed", {"the", "final", "countdown"}, json{{"Regex", "[a-z]+"}}, true);
    test("Isolated", {"the-final--countdown"}, json{{"String", ""}});  // an empty string matches nothing
}

BOOST_AUTO_TEST_CASE(digits_and_sequences) {
    const json single = {{"type", "Digits"}, {"individual_digits", true}};
    const json runs = {{"type", "Digits"}, {"individual_digits", false}};
    BOOST_TEST(parts(single, "ab12c", {"ab", "1", "2", "c"}) == (Pieces{"ab", "1", "2", "c"}),
               boost::test_tools::per_element());
    BOOST_TEST(parts(runs, "ab12c3", {"ab", "12", "c", "3"}) == (Pieces{"ab", "12", "c", "3"}),
               boost::test_tools::per_element());
    const json both = {{"type", "Sequence"}, {"pretokenizers", {runs, split({{"String", "b"}}, "MergedWithNext")}}};
    BOOST_TEST(parts(both, "abc12", {"a", "bc", "12"}) == (Pieces{"a", "bc", "12"}), boost::test_tools::per_element());
    const json none = {{"type", "Sequence"}, {"pretokenizers", json::array()}};
    BOOST_TEST(parts(none, "ab1", {"ab1"}) == Pieces{"ab1"}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(regular_expressions_mean_what_ruby_means) {
    const auto test = [](const std::string& regex, const std::string& text, const Pieces& expected) {
        BOOST_TEST(parts(split({{"Regex", regex}}, "Isolated"), text, expected) == expected,
                   boost::test_tools::per_element());
    };
    test("^b", "a\nb", {"a\n", "b"});  // ^ begins every line
    test("a$", "xa\nb", {"x", "a", "\nb"});
    test(".+", "ab\ncd", {"ab", "\n", "cd"});
    test("\\d+", "a12", {"a", "12"});
    test("\\w+", "ab_1-c", {"ab_1", "-", "c"});
    test("[\\w]+", "ab_1-c", {"ab_1", "-", "c"});
    test("(?i:AB)", "xaby", {"x", "ab", "y"});
    test("\\s+(?!\\S)|\\s+", "a   b", {"a", "  ", " ", "b"});
    test("\\u0061", "xa", {"x", "a"});
    test("(?<=x)a", "axa", {"ax", "a"});
    test("x{2,3}", "xxxx", {"xxx", "x"});
    for (const std::string regex : {"\\h", "(?m:a)", "[[:alpha:]]", "[a&&b]", "a{2}+", "a{,2}", "\\bab", "(a)\\1",
                                    "\\p{^L}", "(?i)a", "[a", "(a", "\\p{NoSuchProperty}", "a\\"}) {
        json file = small({"a"});
        file["pre_tokenizer"] = split({{"Regex", regex}}, "Isolated");
        refused(file, "pre_tokenizer Split");
    }
}

BOOST_AUTO_TEST_CASE(byte_level) {
    json file = json::parse(read_file(golden_dir / "tokenizers/neox.json"));
    const Tokenizer tokenizer = load(file);
    std::string all;
    for (int c = 0; c < 128; ++c)
        all += static_cast<char>(c);
    BOOST_TEST(tokenizer.decode(tokenizer.encode(all)) == all);
    // A character of four bytes that the small vocabulary does not hold: every byte a token, all of the same character.
    const Spans spans = tokenizer.encode_with_offsets("\xF0\xA0\x83\x80");
    BOOST_REQUIRE_EQUAL(spans.size(), 4u);
    for (const TokenSpan& span : spans)
        BOOST_TEST((span.begin == 0 && span.end == 1));
    std::string grown;
    tokenizer.append(spans[0].id, grown);
    BOOST_TEST(grown == "\xF0");
    // Pieces are spelled with byte-level characters in the file.
    BOOST_REQUIRE(tokenizer.id_of("\xC4\xA0"));
    BOOST_TEST(*tokenizer.id_of("\xC4\xA0") == tokenizer.encode(" ").at(0));
    BOOST_TEST(!tokenizer.id_of("no such piece"));
}

BOOST_AUTO_TEST_CASE(nfc_puts_characters_together) {
    json file = small({"a", "\xC3\xA9", "x"});
    file["normalizer"] = {{"type", "NFC"}};
    const Tokenizer tokenizer = load(file);
    BOOST_TEST(tokenizer.encode_with_offsets("ae\xCC\x81x") == (Spans{{0, 0, 1}, {1, 1, 2}, {2, 3, 4}}),
               boost::test_tools::per_element());
    BOOST_TEST(tokenizer.encode("\xC3\xA9") == std::vector<std::int32_t>{1}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(normalizers) {
    json file = small({"a", "b", "_", "x"});
    const auto encode = [&](const json& normalizer, const std::string& text) {
        file["normalizer"] = normalizer;
        return pieces(load(file), text);
    };
    const json prepend = {{"type", "Prepend"}, {"prepend", "_"}};
    const json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "_"}};
    const json regex = {{"type", "Replace"}, {"pattern", {{"Regex", "a+"}}}, {"content", "x"}};
    BOOST_TEST(encode(prepend, "ab") == (Pieces{"_", "a", "b"}), boost::test_tools::per_element());
    BOOST_TEST(encode(prepend, "").empty());  // nothing before an empty text
    BOOST_TEST(encode(replace, "a  b") == (Pieces{"a", "_", "_", "b"}), boost::test_tools::per_element());
    BOOST_TEST(encode(regex, "aabaa") == (Pieces{"x", "b", "x"}), boost::test_tools::per_element());
    BOOST_TEST(
        encode({{"type", "Sequence"}, {"normalizers", {prepend, replace}}}, "a b") == (Pieces{"_", "a", "_", "b"}),
        boost::test_tools::per_element());
    BOOST_TEST(encode({{"type", "Lowercase"}}, "AB") == (Pieces{"a", "b"}), boost::test_tools::per_element());
    BOOST_TEST(encode({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}}, " \t a\n") == Pieces{"a"},
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(metaspace) {
    json file = small({"\xE2\x96\x81", "a", "b", "<s>"});
    file["added_tokens"] = {added(3, "<s>")};
    file["decoder"] = {{"type", "Metaspace"}, {"replacement", "\xE2\x96\x81"}, {"prepend_scheme", "always"}};
    const auto encode = [&](const std::string& scheme, const std::string& text) {
        file["pre_tokenizer"] = {
            {"type", "Metaspace"}, {"replacement", "\xE2\x96\x81"}, {"prepend_scheme", scheme}, {"split", true}};
        return load(file).encode(text);
    };
    using Ids = std::vector<std::int32_t>;
    BOOST_TEST(encode("always", "a b<s>a") == (Ids{0, 1, 0, 2, 3, 0, 1}), boost::test_tools::per_element());
    BOOST_TEST(encode("first", "a b<s>a") == (Ids{0, 1, 0, 2, 3, 1}), boost::test_tools::per_element());
    BOOST_TEST(encode("first", "<s>a") == (Ids{3, 1}), boost::test_tools::per_element());
    BOOST_TEST(encode("never", "a b") == (Ids{1, 0, 2}), boost::test_tools::per_element());
    BOOST_TEST(encode("always", " a") == (Ids{0, 1}), boost::test_tools::per_element());
    file["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\xE2\x96\x81"}, {"add_prefix_space", false}};
    refused(file, "add_prefix_space");
}

BOOST_AUTO_TEST_CASE(added_tokens_and_their_options) {
    json file = small({"a", "b", " ", "<", ">"});
    file["decoder"] = {{"type", "Fuse"}};
    file["added_tokens"] = {added(5, "<a>"), added(6, "<a><b>", {{"special", false}}),
                            added(7, "<l>", {{"lstrip", true}}), added(8, "<r>", {{"rstrip", true}}),
                            added(9, "<w>", {{"single_word", true}})};
    const Tokenizer tokenizer = load(file);
    const auto spans = [&](const std::string& text) { return tokenizer.encode_with_offsets(text); };
    BOOST_TEST(spans("b<a>b") == (Spans{{1, 0, 1}, {5, 1, 4}, {1, 4, 5}}), boost::test_tools::per_element());
    BOOST_TEST(spans("<a><b>") == (Spans{{6, 0, 6}}), boost::test_tools::per_element());  // the longest one
    BOOST_TEST(spans("a \n<l> b") == (Spans{{0, 0, 1}, {7, 1, 6}, {2, 6, 7}, {1, 7, 8}}),
               boost::test_tools::per_element());
    BOOST_TEST(spans("a<r> \n b") == (Spans{{0, 0, 1}, {8, 1, 7}, {1, 7, 8}}), boost::test_tools::per_element());
    BOOST_TEST(spans("<w> a").at(0) == (TokenSpan{9, 0, 3}));
    BOOST_TEST(spans("a<w>").at(1).id == 3);  // behind a word character it is text
    BOOST_TEST(spans("<w>\xCC\x81").at(0).id == 3);
    BOOST_TEST(tokenizer.decode(std::vector<std::int32_t>{5, 6, 0}) == "<a><b>a");  // special ones decode to nothing
    BOOST_TEST(tokenizer.id_of("<r>").value() == 8);
    BOOST_TEST(tokenizer.vocab_size() == 10);
}

BOOST_AUTO_TEST_CASE(white_space_tokens_inside_what_a_token_has_taken) {
    json file = small({"a", " "});
    file["added_tokens"] = {added(2, "<r>", {{"rstrip", true}}), added(3, "  ", {{"lstrip", true}})};
    const Tokenizer tokenizer = load(file);
    for (const std::string text : {"<r>      a", "<r>  <r>   ", "   <r>", "a     <r>     a"}) {
        for (const TokenSpan& span : tokenizer.encode_with_offsets(text))
            BOOST_TEST((span.begin <= span.end && span.end <= text.size()), text);
    }
}

BOOST_AUTO_TEST_CASE(normalized_added_tokens_are_found_behind_the_normalizer) {
    json file = small({"a", "b", "x", "y"});
    file["normalizer"] = {{"type", "Lowercase"}};
    file["added_tokens"] = {added(4, "XY", {{"normalized", true}, {"special", false}}),
                            added(5, "AB", {{"special", false}})};
    const Tokenizer tokenizer = load(file);
    BOOST_TEST(tokenizer.encode("xyXYab") == (std::vector<std::int32_t>{4, 4, 0, 1}), boost::test_tools::per_element());
    BOOST_TEST(tokenizer.encode("abAB") == (std::vector<std::int32_t>{0, 1, 5}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(bos_by_template_forced_forbidden_and_spelled) {
    const Tokenizer tokenizer = Tokenizer::load((golden_dir / "tokenizers/gemma.json").string());
    const std::int32_t bos = tokenizer.id_of("<bos>").value();
    BOOST_TEST(tokenizer.bos_id() == bos);
    BOOST_TEST(tokenizer.eos_id() == tokenizer.id_of("<eos>").value());
    BOOST_TEST(tokenizer.adds_bos());
    const auto plain = tokenizer.encode("x y", false);
    BOOST_TEST(plain.front() != bos);
    auto with_bos = plain;
    with_bos.insert(with_bos.begin(), bos);
    for (const auto& ids : {tokenizer.encode("x y"), tokenizer.encode("x y", true), tokenizer.encode("<bos>x y"),
                            tokenizer.encode("<bos>x y", true), tokenizer.encode("<bos>x y", false)})
        BOOST_TEST(ids == with_bos, boost::test_tools::per_element());
    BOOST_TEST(tokenizer.encode("") == std::vector<std::int32_t>{bos}, boost::test_tools::per_element());
    BOOST_TEST(tokenizer.encode("", false).empty());
    BOOST_TEST(tokenizer.encode_with_offsets("x").front() == (TokenSpan{bos, 0, 0}));
    BOOST_TEST(tokenizer.encode_with_offsets("<bos>x").front() == (TokenSpan{bos, 0, 5}));
    // A template without BOS, forced.
    const Tokenizer neox = Tokenizer::load((golden_dir / "tokenizers/neox.json").string());
    BOOST_TEST(!neox.adds_bos());
    BOOST_TEST(neox.encode("x", true).size() == neox.encode("x").size() + 1);
    BOOST_TEST(neox.encode("x", true).front() == neox.bos_id());
}

BOOST_AUTO_TEST_CASE(tokenizer_config_names_bos_and_eos) {
    const Scratch folder;
    json file = small({"a"});
    file["added_tokens"] = {added(1, "<s>"), added(2, "<begin>"), added(3, "</s>")};
    const std::string path = folder.write("tokenizer.json", file.dump());
    BOOST_TEST(Tokenizer::load(path).bos_id() == 1);
    BOOST_TEST(Tokenizer::load(path).eos_id() == 3);
    folder.write("tokenizer_config.json", R"({"bos_token": {"content": "<begin>", "lstrip": false}, "eos_token": "<s>"})");
    BOOST_TEST(Tokenizer::load(path).bos_id() == 2);
    BOOST_TEST(Tokenizer::load(path).eos_id() == 1);
    folder.write("tokenizer_config.json", R"({"bos_token": null, "eos_token": "<s>"})");  // Qwen2
    BOOST_TEST(Tokenizer::load(path).bos_id() == -1);
    BOOST_CHECK_EXCEPTION(Tokenizer::load(path).encode("a", true), pva::InputError,
                          [](const auto& error) { return mentions(error, "bos_token"); });
    folder.write("tokenizer_config.json", "{\"bos_token\": ");
    BOOST_CHECK_EXCEPTION(Tokenizer::load(path), pva::InputError,
                          [](const auto& error) { return mentions(error, "tokenizer_config.json"); });
}

BOOST_AUTO_TEST_CASE(sentencepiece_bos_by_tokenizer_config) {
    const Scratch folder;
    const std::string path = folder.write("tokenizer.model", read_file(golden_dir / "tokenizers/llama2.model"));
    BOOST_TEST(Tokenizer::load(path).adds_bos());
    BOOST_TEST(Tokenizer::load(path).unk_id() == 0);
    folder.write("tokenizer_config.json", R"({"add_bos_token": false, "add_eos_token": true})");
    const Tokenizer tokenizer = Tokenizer::load(path);
    BOOST_TEST(!tokenizer.adds_bos());
    BOOST_TEST(tokenizer.encode("x").front() != tokenizer.bos_id());
    BOOST_TEST(tokenizer.encode("x").back() == tokenizer.eos_id());
    BOOST_TEST(tokenizer.encode("x", true).back() != tokenizer.eos_id());
    BOOST_TEST(tokenizer.id_of("</s>").value() == 2);
    BOOST_TEST(!tokenizer.id_of("no such piece"));
    // The dummy prefix goes with the text, not with a continuation.
    BOOST_TEST(tokenizer.decode(tokenizer.encode("x", true)) == "x");
    BOOST_TEST(tokenizer.decode(tokenizer.encode("x", false)) == " x");
    BOOST_TEST(tokenizer.decode(tokenizer.encode("  x", true)) == "  x");
}

BOOST_AUTO_TEST_CASE(only_specials) {
    const Tokenizer tokenizer = Tokenizer::load((golden_dir / "tokenizers/llama3.json").string());
    const std::int32_t end = tokenizer.id_of("<|eot_id|>").value();
    BOOST_TEST(tokenizer.encode("<|eot_id|><|eot_id|>", false) == (std::vector<std::int32_t>{end, end}),
               boost::test_tools::per_element());
    BOOST_TEST(tokenizer.decode(std::vector<std::int32_t>{end, end}).empty());
}

BOOST_AUTO_TEST_CASE(invalid_utf8_and_ids_are_refused) {
    const Tokenizer tokenizer = Tokenizer::load((golden_dir / "tokenizers/neox.json").string());
    BOOST_CHECK_EXCEPTION(tokenizer.encode("ab\xFF"), pva::InputError,
                          [](const auto& error) { return mentions(error, "byte 2"); });
    BOOST_CHECK_EXCEPTION(tokenizer.encode_with_offsets("ab\xFF", false), pva::InputError,
                          [](const auto& error) { return mentions(error, "byte 2"); });
    for (const std::int32_t id : {-1, tokenizer.vocab_size()})
        BOOST_CHECK_THROW(tokenizer.decode(std::vector<std::int32_t>{id}), pva::InputError);
    json gap = small({"a"});
    gap["model"]["vocab"] = {{"a", 0}, {"b", 5}};
    const Tokenizer with_gap = load(gap);
    BOOST_TEST(with_gap.vocab_size() == 6);
    BOOST_CHECK_THROW(with_gap.decode(std::vector<std::int32_t>{3}), pva::InputError);
}

BOOST_AUTO_TEST_CASE(long_texts_take_no_quadratic_time) {
    // One part of 400,000 bytes: with quadratic merging this would take minutes.
    const auto begin = std::chrono::steady_clock::now();
    const Tokenizer letters = load(small({"a", "aa", "aaaa"}, {{"a", "a"}, {"aa", "aa"}}));
    BOOST_TEST(letters.encode(std::string(400'000, 'a')).size() == 100'000u);
    for (const char* const name : {"neox", "llama3", "gemma", "llama2"}) {
        const Tokenizer tokenizer =
            Tokenizer::load((golden_dir / "tokenizers" / (std::string(name) + ".json")).string());
        for (const std::string& text : {std::string(100'000, 'a'), std::string(100'000, ' '),
                                        std::string(99'999, '\n') + "x", std::string(50'000, '7')}) {
            const auto ids = tokenizer.encode(text);
            BOOST_TEST(tokenizer.decode(ids).size() == text.size(), name);
        }
    }
    BOOST_TEST((std::chrono::steady_clock::now() - begin < std::chrono::seconds(30)));
}

BOOST_AUTO_TEST_CASE(several_threads) {
    const Tokenizer tokenizer = Tokenizer::load((golden_dir / "tokenizers/qwen2.json").string());
    const std::string text = read_file(golden_dir / "tiny.json");
    const auto expected = tokenizer.encode_with_offsets(text);
    std::vector<int> equal(8, 0);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < equal.size(); ++i) {
        threads.emplace_back([&, i] {
            for (int round = 0; round < 5; ++round)
                equal[i] += tokenizer.encode_with_offsets(text) == expected ? 1 : 0;
        });
    }
    for (auto& thread : threads)
        thread.join();
    BOOST_TEST(equal == std::vector<int>(8, 5), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(unsupported_components_are_named) {
    const auto with = [](const std::string& field, const json& value) {
        json file = small({"a"});
        file[field] = value;
        return file;
    };
    refused(with("normalizer", {{"type", "BertNormalizer"}}), "normalizer BertNormalizer");
    refused(with("normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "Nmt"}}}}}), "normalizer Nmt");
    refused(with("pre_tokenizer", {{"type", "Whitespace"}}), "pre_tokenizer Whitespace");
    refused(with("post_processor", {{"type", "BertProcessing"}}), "post_processor BertProcessing");
    refused(with("decoder", {{"type", "WordPiece"}}), "decoder WordPiece");
    refused(with("decoder", nullptr), "decoder");
    refused(with("pre_tokenizer", {{"type", "Digits"}, {"individual_digits", true}, {"new_option", 1}}), "new_option");
    refused(with("new_field", 1), "new_field");
    const auto model = [](const std::string& field, const json& value) {
        json file = small({"a"});
        file["model"][field] = value;
        return file;
    };
    refused(model("type", "Unigram"), "Unigram");
    refused(model("dropout", 0.1), "dropout");
    refused(model("continuing_subword_prefix", "##"), "continuing_subword_prefix");
    refused(model("end_of_word_suffix", "</w>"), "end_of_word_suffix");
    refused(model("new_option", true), "new_option");
    BOOST_CHECK_NO_THROW(load(model("dropout", 0.0)));
    BOOST_CHECK_NO_THROW(load(model("continuing_subword_prefix", "")));
}

BOOST_AUTO_TEST_CASE(damaged_files_are_refused) {
    const auto model = [](const std::string& field, const json& value) {
        json file = small({"a", "b", "ab"});
        file["model"][field] = value;
        return file;
    };
    refused(model("vocab", {{"a", 0}, {"b", 0}}), "given twice");
    refused(model("vocab", {{"a", -1}}), "not a token id");
    refused(model("vocab", {{"a", 1.5}}), "not a token id");
    refused(model("vocab", {{"a", "0"}}), "not a token id");
    refused(model("vocab", {{"a", 2'000'000'000}}), "far beyond");
    refused(model("vocab", {{"a", 20'000'000'000}}), "not a token id");
    refused(model("vocab", json::array()), "vocab");
    refused(model("merges", json::array({json::array({"a", "zz"})})), "zz");
    refused(model("merges", json::array({json::array({"b", "a"})})), "ba");  // the joined piece is missing
    refused(model("merges", json::array({"a b c"})), "entry 0");
    refused(model("merges", json::array({"ab"})), "entry 0");
    refused(model("merges", json::array({json::array({"a", "b", "c"})})), "entry 0");
    refused(model("merges", json::array({json::array({"a", 1})})), "entry 0");
    refused(model("merges", json::object()), "merges");
    const auto tokens = [](const json& list) {
        json file = small({"a"});
        file["added_tokens"] = list;
        return file;
    };
    refused(tokens(json::array({added(7, "<x>")})), "Hugging Face would give it 1");
    refused(tokens(json::array({added(1, "a")})), "Hugging Face would give it 0");
    refused(tokens(json::array({added(1, "<x>"), added(1, "<x>")})), "<x>");
    refused(tokens(json::array({added(1, "")})), "empty");
    refused(tokens(json::array({added(1, "<x>", {{"lstrip", 1}})})), "lstrip");
    refused(tokens(json::array({json::object()})), "added_tokens, entry 0");
    refused(tokens(json::object()), "added_tokens");
    json around = small({"a"});
    around["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"pair", json::array()},
        {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {9}}, {"tokens", {"<s>"}}}}}}};
    refused(around, "the id 9");
    around["post_processor"]["single"] = json::array();
    refused(around, "$A");

    const Scratch folder;
    const std::string whole = read_file(golden_dir / "tokenizers/llama2.json");
    std::string deep = R"({"version":)";
    for (int i = 0; i < 100'000; ++i)
        deep += '[';
    std::string objects;
    for (int i = 0; i < 100'000; ++i)
        objects += "{\"a\":";
    const std::string twice = R"({"version": "1.0", "version": "1.0"})";
    for (const std::string& bytes :
         {whole.substr(0, whole.size() / 2), whole.substr(0, whole.size() - 3), std::string("{"), std::string("{}"),
          std::string("{\"a\xFF\": 1}"), deep, objects, twice, whole + "x"}) {
        const std::string path = folder.write("tokenizer.json", bytes);
        BOOST_CHECK_EXCEPTION(Tokenizer::load(path), pva::InputError,
                              [&](const auto& error) { return mentions(error, path); });
    }
    // Every field that the reader needs, of a wrong type or missing, must end in a message.
    const json good = json::parse(whole);
    for (const auto& [field, value] : good.items()) {
        if (field == "version" || field == "truncation" || field == "padding") continue;
        for (const json& bad : {json(1), json("x"), json(true), json::array({1}), json::object()}) {
            json file = good;
            file[field] = bad;
            BOOST_CHECK_THROW(load(file), pva::InputError);
        }
        json file = good;
        file.erase(field);
        BOOST_CHECK_THROW(load(file), pva::InputError);
    }
}

BOOST_AUTO_TEST_CASE(cut_and_changed_files_never_crash) {
    const std::string whole = read_file(golden_dir / "tokenizers/byte_level_variants.json");
    const Scratch folder;
    int loaded = 0;
    int refusals = 0;
    for (std::size_t i = 0; i < whole.size(); i += 37) {
        std::string bytes = whole;
        bytes[i] = static_cast<char>(bytes[i] ^ (1 << i % 7));
        try {
            const Tokenizer tokenizer = Tokenizer::load(folder.write("tokenizer.json", bytes));
            tokenizer.encode_with_offsets("Some text, 123 <mask>\n");
            ++loaded;
        } catch (const pva::InputError&) {
            ++refusals;
        }
    }
    BOOST_TEST(loaded + refusals > 100);
    BOOST_TEST(refusals > 0);
}
