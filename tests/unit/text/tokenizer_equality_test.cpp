// Token ids, offsets and decoding against Hugging Face `tokenizers` and SentencePiece, on whole corpora: every MBPP
// problem, HumanEval, the text sample and 10,000 random strings. The golden hashes are made by
// tests/reference/text/make_equality_golden.py, whose --show prints the tokens of one text.
#define BOOST_TEST_MODULE tokenizer_equality
#include <boost/test/unit_test.hpp>

#include <zlib.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../scratch.h"
#include "pva/core/checksum.h"
#include "pva/text/tokenizer.h"
#include "random_strings.h"

namespace fs = std::filesystem;
using nlohmann::json;
using pva::text::Tokenizer;
using pva::text::TokenSpan;

namespace {

const fs::path source_dir = PVA_SOURCE_DIR;
const fs::path golden_dir = source_dir / "tests/golden/text";
const fs::path data_dir = source_dir / "../shared/data";

std::string read_gzip(const fs::path& path) {
    gzFile file = gzopen(path.c_str(), "rb");
    BOOST_REQUIRE_MESSAGE(file != nullptr, "cannot open " << path);
    std::string bytes;
    char buffer[65536];
    for (int n = 0; (n = gzread(file, buffer, sizeof buffer)) > 0;)
        bytes.append(buffer, static_cast<std::size_t>(n));
    gzclose(file);
    return bytes;
}

template <class MakeText>
std::vector<std::string> texts_of_lines(const std::string& lines, const MakeText& make_text) {
    std::vector<std::string> texts;
    std::istringstream stream(lines);
    for (std::string line; std::getline(stream, line);)
        texts.push_back(make_text(json::parse(line)));
    return texts;
}

/// The corpora that are there, by name. The random strings always are.
const std::map<std::string, std::vector<std::string>>& corpora() {
    static const auto all = [] {
        std::map<std::string, std::vector<std::string>> result;
        result["random"] = random_strings((golden_dir / "random_strings.json").string());
        const auto string = [](const json& value) { return value.get<std::string>(); };
        if (const fs::path path = data_dir / "mbpp/mbpp.jsonl"; fs::exists(path)) {
            result["mbpp"] = texts_of_lines(read_file(path), [&](const json& one) {
                std::string text = string(one["text"]);
                for (const auto& test : one["test_list"])
                    text += "\n" + string(test);
                return text;
            });
        }
        if (const fs::path path = data_dir / "humaneval/HumanEval.jsonl.gz"; fs::exists(path)) {
            result["humaneval"] = texts_of_lines(read_gzip(path), [&](const json& one) {
                return string(one["prompt"]) + string(one["canonical_solution"]) + string(one["test"]);
            });
        }
        if (const fs::path path = data_dir / "text/pile_like_sample.jsonl"; fs::exists(path))
            result["sample"] = texts_of_lines(read_file(path), [&](const json& one) { return string(one["text"]); });
        return result;
    }();
    return all;
}

template <class Number>
std::uint64_t hash_of(const std::vector<Number>& numbers) {
    return pva::checksum(std::as_bytes(std::span(numbers)));
}

std::string hexadecimal(std::uint64_t value) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
    return text;
}

std::vector<std::int32_t> ids_of(const std::vector<TokenSpan>& tokens) {
    std::vector<std::int32_t> ids;
    for (const TokenSpan& token : tokens)
        ids.push_back(token.id);
    return ids;
}

bool bit(const std::string& digits, std::size_t i) {
    const char digit = digits.at(i / 4);
    const int value = digit <= '9' ? digit - '0' : digit - 'a' + 10;
    return (value >> (3 - i % 4) & 1) != 0;
}

void compare_cases(const Tokenizer& tokenizer, const json& cases) {
    BOOST_REQUIRE_GT(cases.size(), 20u);
    for (const auto& one : cases) {
        const auto text = one["text"].get<std::string>();
        std::vector<TokenSpan> expected;
        for (std::size_t i = 0; i < one["ids"].size(); ++i)
            expected.push_back({one["ids"][i].get<std::int32_t>(), one["offsets"][i][0].get<std::size_t>(),
                                one["offsets"][i][1].get<std::size_t>()});
        const auto tokens = tokenizer.encode_with_offsets(text);
        BOOST_TEST(ids_of(tokens) == ids_of(expected), boost::test_tools::per_element());
        BOOST_TEST((tokens == expected), "offsets of " << one["text"].dump());
        BOOST_TEST(tokenizer.encode(text) == ids_of(expected), boost::test_tools::per_element());
        const std::string plain = hexadecimal(hash_of(tokenizer.encode(text, false)));
        BOOST_TEST(plain == one["plain_ids_hash"].get<std::string>(), "ids without BOS of " << one["text"].dump());
    }
}

void compare_corpus(const Tokenizer& tokenizer, const std::string& name, const std::vector<std::string>& texts,
                    const json& golden) {
    BOOST_REQUIRE_EQUAL(texts.size(), golden["texts"].get<std::size_t>());
    const auto group = golden["group"].get<std::size_t>();
    const auto round_trips = golden["round_trips"].get<std::string>();
    std::istringstream hashes(golden["hashes"].get<std::string>());
    std::size_t tokens_in_all = 0;
    int faults = 0;
    const auto fault = [&](std::size_t i, const std::string& what) {
        if (++faults <= 5)
            BOOST_ERROR(name << " " << i << ": " << what << " differ from the reference: " << json(texts[i]).dump());
    };
    for (std::size_t begin = 0; begin < texts.size(); begin += group) {
        std::vector<std::uint32_t> numbers;
        for (std::size_t i = begin; i < std::min(begin + group, texts.size()); ++i) {
            const auto tokens = tokenizer.encode_with_offsets(texts[i]);
            tokens_in_all += tokens.size();
            numbers.push_back(static_cast<std::uint32_t>(tokens.size()));
            for (const TokenSpan& token : tokens) {
                numbers.push_back(static_cast<std::uint32_t>(token.id));
                numbers.push_back(static_cast<std::uint32_t>(token.begin));
                numbers.push_back(static_cast<std::uint32_t>(token.end));
            }
            const auto ids = ids_of(tokens);
            if (tokenizer.encode(texts[i]) != ids) fault(i, "ids with and without offsets");
            if (bit(round_trips, i) && tokenizer.decode(ids) != texts[i]) fault(i, "decoded tokens");
        }
        std::string expected;
        hashes >> expected;
        if (hexadecimal(hash_of(numbers)) != expected)
            fault(begin, "ids or offsets (of this text or the group it begins)");
    }
    BOOST_TEST(tokens_in_all == golden["tokens"].get<std::size_t>());
    BOOST_TEST(faults == 0, name << ": " << faults << " faults");
}

void compare(const std::string& name) {
    const auto golden = json::parse(read_file(golden_dir / "equality" / (name + ".json")));
    const auto place = golden["tokenizer"].get<std::string>();
    fs::path path = source_dir / place;
    const bool from_cache = place.starts_with("cache:");
    if (from_cache) {
        const char* const cache = std::getenv("XDG_CACHE_HOME");
        const char* const home = std::getenv("HOME");
        path = (cache ? fs::path(cache) : fs::path(home ? home : "") / ".cache") / "pva" / place.substr(6);
    }
    if (!fs::exists(path)) {
        BOOST_TEST_MESSAGE("skipped: " << path << " is not there");
        BOOST_TEST(true);
        return;
    }
    const Tokenizer tokenizer = Tokenizer::load(path.string());
    const bool same_file = tokenizer.sha256() == golden["sha256"].get<std::string>();
    if (from_cache && !same_file) {
        BOOST_TEST_MESSAGE("skipped: " << path << " was converted by other versions than the golden file's");
        BOOST_TEST(true);
        return;
    }
    BOOST_REQUIRE_MESSAGE(same_file, path << " is not the file the golden tokens were made from; run "
                                          << "tests/reference/text/make_equality_golden.py");
    BOOST_TEST(tokenizer.vocab_size() == golden["vocab_size"].get<int>());
    compare_cases(tokenizer, golden["cases"]);
    for (const auto& [corpus, hashes] : golden["corpora"].items()) {
        const auto texts = corpora().find(corpus);
        if (texts == corpora().end()) {
            BOOST_TEST_MESSAGE("skipped: the corpus " << corpus << " is not there");
        } else {
            compare_corpus(tokenizer, corpus, texts->second, hashes);
        }
    }
}

}  // namespace

BOOST_AUTO_TEST_CASE(neox) {
    compare("neox");
}
BOOST_AUTO_TEST_CASE(llama3) {
    compare("llama3");
}
BOOST_AUTO_TEST_CASE(qwen2) {
    compare("qwen2");
}
BOOST_AUTO_TEST_CASE(smollm2) {
    compare("smollm2");
}
BOOST_AUTO_TEST_CASE(gemma) {
    compare("gemma");
}
BOOST_AUTO_TEST_CASE(llama2) {
    compare("llama2");
}
BOOST_AUTO_TEST_CASE(mistral) {
    compare("mistral");
}
BOOST_AUTO_TEST_CASE(metaspace_variants) {
    compare("metaspace_variants");
}
BOOST_AUTO_TEST_CASE(byte_level_variants) {
    compare("byte_level_variants");
}
BOOST_AUTO_TEST_CASE(pythia) {
    compare("pythia");
}
BOOST_AUTO_TEST_CASE(smollm2_135m) {
    compare("smollm2_135m");
}
BOOST_AUTO_TEST_CASE(llama2_sentencepiece) {
    compare("llama2_sentencepiece");
}
BOOST_AUTO_TEST_CASE(gemma_export) {
    compare("gemma_export");
}
BOOST_AUTO_TEST_CASE(gemma_test) {
    compare("gemma_test");
}
BOOST_AUTO_TEST_CASE(sentencepiece_own) {
    compare("sentencepiece_own");
}
