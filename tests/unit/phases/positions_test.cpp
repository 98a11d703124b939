// Positions in an answer, worked out by hand on a tokenizer of single characters; names and lists.
#define BOOST_TEST_MODULE positions
#include <boost/test/unit_test.hpp>

#include <string>

#include "../scratch.h"
#include "pva/core/error.h"
#include "pva/phases/activations.h"

using namespace pva;
using phases::PositionKind;
using phases::TokenPosition;

namespace {

/// A tokenizer.json whose tokens are the printable characters, the line end, and the merged "):".
text::Tokenizer small_tokenizer() {
    nlohmann::ordered_json vocabulary = nlohmann::ordered_json::object();
    int id = 0;
    vocabulary["\xC4\x8A"] = id++;  // the line end, in byte-level spelling
    vocabulary["\xC4\xA0"] = id++;  // the blank
    for (char c = '!'; c <= '~'; ++c) vocabulary[std::string(1, c)] = id++;
    vocabulary["):"] = id++;
    nlohmann::ordered_json json = {
        {"version", "1.0"},
        {"truncation", nullptr},
        {"padding", nullptr},
        {"added_tokens", nlohmann::ordered_json::array()},
        {"normalizer", nullptr},
        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}},
        {"post_processor", nullptr},
        {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
        {"model",
         {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr}, {"end_of_word_suffix", nullptr}, {"fuse_unk", false},
          {"byte_fallback", false}, {"vocab", vocabulary}, {"merges", nlohmann::ordered_json::array({") :"})}}}};
    const Scratch folder;
    return text::Tokenizer::load(folder.write("tokenizer.json", json.dump()));
}

struct Case {
    std::string prompt;
    std::string answer;
    std::string opening = "";
    std::string continued = "";
    std::int32_t eos_tokens = 0;
    std::size_t text_bytes = std::string::npos;
};

/// "kind.tenth@token" for each row.
std::string shown(const Case& one, const std::string& kinds, tasks::ExtractionRule rule = tasks::ExtractionRule::complete_program) {
    static const text::Tokenizer tokenizer = small_tokenizer();
    phases::PromptedProblem problem;
    problem.prompt = one.prompt;
    problem.tokens = tokenizer.encode(one.prompt);
    problem.entry_point = "f";
    problem.problem.opening = one.opening;
    problem.continued = one.continued;
    std::vector<std::int32_t> answer = tokenizer.encode(one.answer);
    for (int i = 0; i < one.eos_tokens; ++i) answer.push_back(0);
    std::string text;
    for (const TokenPosition& position :
         phases::token_positions(tokenizer, problem, answer, one.text_bytes, one.eos_tokens, rule, phases::position_kinds(kinds))) {
        text += (text.empty() ? "" : " ") + std::to_string(static_cast<int>(position.kind)) + "." + std::to_string(position.tenth) + "@" + std::to_string(position.token);
    }
    return text;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_program_in_an_answer) {
    // Tokens of the answer: line end 0, "def f(" 1 to 6, "):" 7, line end 8, "  return 1" 9 to 18, line end 19, EOS 20. The prompt has 4.
    const Case one{"Do.\n", "\ndef f():\n  return 1\n", "", "", 1};
    BOOST_TEST(shown(one, "last-prompt") == "0.0@3");
    BOOST_TEST(shown(one, "signature-end") == "1.0@11");
    BOOST_TEST(shown(one, "last-token") == "3.0@22");
    // 18 tokens of program: the tenths end with the tokens number 2, 4, 6, 8, 9, 11, 13, 15, 17, 18.
    BOOST_TEST(shown(one, "tenths") == "2.1@6 2.2@8 2.3@10 2.4@12 2.5@13 2.6@15 2.7@17 2.8@19 2.9@21 2.10@22");
    BOOST_TEST(shown({"Do.\n", "x=1\n"}, "all,last-prompt") == "0.0@3 4.0@0 4.0@1 4.0@2 4.0@3 4.0@4 4.0@5 4.0@6 4.0@7");
    BOOST_TEST(shown({"Do.\n", "", "", "", 1}, "all") == "4.0@0 4.0@1 4.0@2 4.0@3 4.0@4");
}

BOOST_AUTO_TEST_CASE(short_programs_share_tokens) {
    // "f=1" has 3 tokens and no signature.
    BOOST_TEST(shown({"P", "f=1"}, "tenths,signature-end,last-token") == "2.1@1 2.2@1 2.3@1 2.4@2 2.5@2 2.6@2 2.7@3 2.8@3 2.9@3 2.10@3 3.0@3");
}

BOOST_AUTO_TEST_CASE(no_program) {
    BOOST_TEST(shown({"P", "Sorry, no."}, "last-prompt,signature-end,tenths,last-token") == "0.0@0");
    BOOST_TEST(shown({"P", ""}, "tenths,last-token") == "");
}

BOOST_AUTO_TEST_CASE(a_stop_string_was_cut_off) {
    // The text ends before "\n#E": what follows is no part of the program, though its tokens are there.
    const Case one{"P", "f=1\nf=2", "", "", 0, 3};
    BOOST_TEST(shown(one, "last-token", tasks::ExtractionRule::none) == "3.0@3");
}

BOOST_AUTO_TEST_CASE(behind_an_opening) {
    // The signature stands in the prompt: "#\ndef f():" are its tokens 0 to 8, ")" and ":" one token, the line end 9.
    const Case one{"#\ndef f():\n", "  return 1", "def f():\n", "def f():\n"};
    BOOST_TEST(shown(one, "signature-end,last-token") == "1.0@8 3.0@19");
    BOOST_TEST(shown(one, "tenths") == "2.1@10 2.2@11 2.3@12 2.4@13 2.5@14 2.6@15 2.7@16 2.8@17 2.9@18 2.10@19");
    // A form of prompt that does not end with the opening has no place for it.
    BOOST_TEST(shown({"Go on:\n", "  return 1", "def f():\n", ""}, "signature-end") == "");
}

BOOST_AUTO_TEST_CASE(names) {
    for (const std::string name : {"last-prompt", "signature-end", "tenth-1", "tenth-10", "last-token"})
        BOOST_TEST(phases::position_name(phases::position_from_name(name)) == name);
    for (const std::string name : {"", "tenth-0", "tenth-11", "tenths", "all", "Last-prompt"}) BOOST_CHECK_THROW(phases::position_from_name(name), UsageError);
    BOOST_TEST((phases::position_kinds("all, last-prompt") == std::vector<PositionKind>{PositionKind::last_prompt, PositionKind::all}));
    for (const std::string list : {"", "last", "all,all", "all,", "tenth-3"}) BOOST_CHECK_THROW(phases::position_kinds(list), UsageError);
}
