// Tokenizer against golden ids of Python's sentencepiece, exact round trips, and refusals.
#define BOOST_TEST_MODULE text
#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <nlohmann/json.hpp>

#include "../scratch.h"
#include "pva/core/error.h"
#include "pva/text/tokenizer.h"
#include "pva/text/utf8.h"

namespace fs = std::filesystem;
using pva::text::Tokenizer;

namespace {

const fs::path source_dir = PVA_SOURCE_DIR;
const std::string tiny_path = (source_dir / "tests/golden/text/tiny_tokenizer.model").string();

std::string hex(const std::string& bytes) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

bool mentions(const std::exception& error, const std::string& part) {
    return std::string(error.what()).find(part) != std::string::npos;
}

void compare_with_golden(const std::string& name) {
    const auto golden = nlohmann::json::parse(read_file(source_dir / "tests/golden/text" / (name + ".json")));
    const fs::path model = source_dir / golden["tokenizer"].get<std::string>();
    if (!fs::exists(model)) {
        BOOST_TEST_MESSAGE("skipped: " << model << " is not there");
        BOOST_TEST(true);
        return;
    }
    const Tokenizer tokenizer = Tokenizer::load(model.string());
    BOOST_REQUIRE_MESSAGE(
        tokenizer.sha256() == golden["sha256"].get<std::string>(),
        model << " is not the file the golden ids were made from; run tests/reference/text/make_golden.py");
    BOOST_TEST(tokenizer.vocab_size() == golden["vocab_size"].get<int>());
    BOOST_TEST(tokenizer.bos_id() == golden["bos_id"].get<int>());
    BOOST_TEST(tokenizer.eos_id() == golden["eos_id"].get<int>());
    BOOST_REQUIRE_GT(golden["cases"].size(), 10u);
    for (const auto& one : golden["cases"]) {
        const auto text = one["text"].get<std::string>();
        const auto ids = one["ids"].get<std::vector<std::int32_t>>();
        BOOST_TEST(tokenizer.encode(text, false) == ids, boost::test_tools::per_element());
        BOOST_TEST(hex(tokenizer.decode(ids)) == one["bytes_hex"].get<std::string>());
    }
}

}  // namespace

BOOST_AUTO_TEST_CASE(golden_tiny) {
    compare_with_golden("tiny");
}
BOOST_AUTO_TEST_CASE(golden_gemma_bytes) {
    compare_with_golden("gemma_bytes");
}
BOOST_AUTO_TEST_CASE(golden_gemma_no_bytes) {
    compare_with_golden("gemma_no_bytes");
}
BOOST_AUTO_TEST_CASE(golden_sentencepiece_test) {
    compare_with_golden("sentencepiece_test");
}

BOOST_AUTO_TEST_CASE(golden_demo) {
    if (!fs::exists(source_dir / "data/demo/model/tokenizer.model")) {
        BOOST_TEST_MESSAGE("skipped: no data/demo/model");
        BOOST_TEST(true);
        return;
    }
    compare_with_golden("demo");
}

BOOST_AUTO_TEST_CASE(round_trip_is_exact) {
    const Tokenizer tokenizer = Tokenizer::load(tiny_path);
    for (const std::string text :
         {"", " ", "   \t x", "a\r\nb\n\n\n", "\xF0\x9F\x98\x80 \xE4\xBD\xA0", "def f(x):\n        return x  \n"}) {
        BOOST_TEST(tokenizer.decode(tokenizer.encode(text, false)) == text);
        BOOST_TEST(tokenizer.decode(tokenizer.encode(text, true)) == text);  // BOS stands for no bytes
    }
    const std::string with_zero("a\0b", 3);
    BOOST_TEST(tokenizer.decode(tokenizer.encode(with_zero, false)) == with_zero);
}

BOOST_AUTO_TEST_CASE(appending_token_by_token_equals_decoding) {
    const Tokenizer tokenizer = Tokenizer::load(tiny_path);
    const std::string text = "x = '\xF0\x9F\x98\x80'\n";
    const auto ids = tokenizer.encode(text, true);
    std::string grown;
    bool was_inside_a_character = false;
    for (const auto id : ids) {
        tokenizer.append(id, grown);
        was_inside_a_character = was_inside_a_character || pva::text::valid_utf8_prefix(grown) != grown.size();
    }
    BOOST_TEST(grown == text);
    BOOST_TEST(was_inside_a_character);  // otherwise the case tests nothing
}

BOOST_AUTO_TEST_CASE(bos_is_added_once) {
    const Tokenizer tokenizer = Tokenizer::load(tiny_path);
    const auto plain = tokenizer.encode("abc", true);
    const auto spelled = tokenizer.encode("<bos>abc", true);
    BOOST_TEST(plain.front() == tokenizer.bos_id());
    BOOST_TEST(plain == spelled, boost::test_tools::per_element());
    BOOST_TEST(tokenizer.encode("", true).size() == 1u);
    BOOST_TEST(tokenizer.encode("", false).empty());
    // Without add_bos the spelling is text like any other.
    BOOST_TEST(tokenizer.decode(tokenizer.encode("<bos>abc", false)) == "<bos>abc");
}

BOOST_AUTO_TEST_CASE(control_tokens_and_unknown_ids) {
    const Tokenizer tokenizer = Tokenizer::load(tiny_path);
    const std::vector<std::int32_t> controls = {0, tokenizer.eos_id(), tokenizer.bos_id()};
    BOOST_TEST(tokenizer.decode(controls).empty());
    for (const std::int32_t id : {-1, tokenizer.vocab_size()}) {
        BOOST_CHECK_EXCEPTION(tokenizer.decode(std::vector<std::int32_t>{id}), pva::InputError,
                              [&](const auto& error) { return mentions(error, std::to_string(id)); });
    }
}

BOOST_AUTO_TEST_CASE(invalid_utf8_is_refused) {
    const Tokenizer tokenizer = Tokenizer::load(tiny_path);
    for (const std::string bad : {"ab\xFF", "ab\xC3", "ab\xED\xA0\x80", "ab\xC0\xAF", "ab\xF4\x90\x80\x80"}) {
        BOOST_CHECK_EXCEPTION(tokenizer.encode(bad, true), pva::InputError,
                              [](const auto& error) { return mentions(error, "byte 2"); });
    }
}

BOOST_AUTO_TEST_CASE(utf8_prefix) {
    using pva::text::valid_utf8_prefix;
    BOOST_TEST(valid_utf8_prefix("") == 0u);
    BOOST_TEST(valid_utf8_prefix("abc") == 3u);
    BOOST_TEST(valid_utf8_prefix("\xE2\x82\xAC") == 3u);
    BOOST_TEST(valid_utf8_prefix("a\xE2\x82") == 1u);                 // cut short
    BOOST_TEST(valid_utf8_prefix("\xE0\x80\x80") == 0u);              // overlong
    BOOST_TEST(valid_utf8_prefix("\xF0\x8F\xBF\xBF") == 0u);          // overlong
    BOOST_TEST(valid_utf8_prefix("\xF4\x8F\xBF\xBF") == 4u);          // U+10FFFF
    BOOST_TEST(valid_utf8_prefix("\x80") == 0u);                      // continuation alone
    BOOST_TEST(valid_utf8_prefix("\xED\x9F\xBF\xEE\x80\x80") == 6u);  // around the surrogates
}

BOOST_AUTO_TEST_CASE(missing_and_damaged_files_are_refused) {
    BOOST_CHECK_EXCEPTION(Tokenizer::load("/nonexistent/tokenizer.model"), pva::InputError,
                          [](const auto& error) { return mentions(error, "/nonexistent/tokenizer.model"); });
    BOOST_CHECK_THROW(Tokenizer::load(fs::temp_directory_path().string()), pva::InputError);
    const std::string whole = read_file(tiny_path);
    const std::string cases[] = {"", "not a model", "{\"json\": 1}", whole.substr(0, 1000),
                                 whole.substr(0, whole.size() - 1)};
    for (const std::string& bytes : cases) {
        const Scratch folder;
        BOOST_CHECK_EXCEPTION(Tokenizer::load(folder.write("damaged.model", bytes)), pva::InputError,
                              [](const auto& error) { return mentions(error, "damaged.model"); });
    }
}
