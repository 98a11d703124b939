// Reading problem files: MBPP itself, its sanitized form, and every way in which a file can be wrong.
#include "pva/tasks/problems.h"

#include <boost/test/unit_test.hpp>

#include <cstdlib>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/tasks/check_function.h"
#include "support.h"

using pva::tasks::load_problems;
using pva::tasks::normalize_line_ends;
using pva::tasks::Problem;
using pva::tasks::split_check_function;
using pva::tasks::SplitTests;

namespace {

const std::string good = R"({"task_id": 7, "text": "Add.", "code": "def f(a, b):\r\n    return a + b\r",)"
                         R"( "test_list": ["assert f(1, 2) == 3"], "unknown": [1]})";

/// Expects InputError whose message holds all the given words.
void refused(const std::string& bytes, std::initializer_list<std::string> words) {
    const Scratch folder;
    write_file(folder.file("p.jsonl"), bytes);
    try {
        load_problems(folder.file("p.jsonl"));
        BOOST_ERROR("accepted: " << bytes);
    } catch (const pva::InputError& error) {
        for (const std::string& word : words) {
            BOOST_TEST(std::string(error.what()).find(word) != std::string::npos, word << " not in: " << error.what());
        }
        BOOST_TEST(std::string(error.what()).find("p.jsonl") != std::string::npos);
    }
}

std::string without(const std::string& field) {
    nlohmann::json record = nlohmann::json::parse(good);
    record.erase(field);
    return record.dump();
}

std::string with(const std::string& field, const nlohmann::json& value) {
    nlohmann::json record = nlohmann::json::parse(good);
    record[field] = value;
    return record.dump();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(problems)

BOOST_AUTO_TEST_CASE(line_ends) {
    BOOST_TEST(normalize_line_ends("a\r\nb\rc\n\r\r\n") == "a\nb\nc\n\n\n");
    BOOST_TEST(normalize_line_ends("") == "");
    BOOST_TEST(normalize_line_ends("x = 'a\\r'") == "x = 'a\\r'");  // an escape in the source is no line end
}

BOOST_AUTO_TEST_CASE(jsonl_sorted_by_id) {
    const Scratch folder;
    const std::string bytes = "\xEF\xBB\xBF" + with("task_id", 9) + "\r\n\n" + with("family", "sums") + "\n";
    write_file(folder.file("p.jsonl"), bytes);
    const auto set = load_problems(folder.file("p.jsonl"));
    BOOST_REQUIRE_EQUAL(set.problems.size(), 2u);
    BOOST_TEST(set.problems[0].task_id == 7);
    BOOST_TEST(set.problems[0].family == "sums");
    BOOST_TEST(set.problems[1].task_id == 9);
    BOOST_TEST(set.problems[1].family == "");
    BOOST_TEST(set.problems[0].code == "def f(a, b):\n    return a + b\n");
    BOOST_TEST(set.problems[0].test_setup_code == "");
    BOOST_TEST(set.problems[0].challenge_test_list.empty());
    BOOST_TEST(set.path == folder.file("p.jsonl"));
    BOOST_TEST(set.sha256.size() == 64u);
}

BOOST_AUTO_TEST_CASE(json_array_prompt_and_imports) {
    const Scratch folder;
    nlohmann::json record = nlohmann::json::parse(without("text"));
    record["prompt"] = "Add two.";
    record["test_imports"] = {"import math", "import sys"};
    record["test_setup_code"] = "x = 1\r\n";
    write_file(folder.file("p.json"), "\n [" + record.dump() + "]\n");
    const auto set = load_problems(folder.file("p.json"));
    BOOST_REQUIRE_EQUAL(set.problems.size(), 1u);
    BOOST_TEST(set.problems[0].text == "Add two.");
    BOOST_TEST(set.problems[0].test_setup_code == "import math\nimport sys\nx = 1\n");
}

BOOST_AUTO_TEST_CASE(ids_that_are_texts) {
    const Scratch folder;
    const auto names_and_numbers = [&](const std::vector<nlohmann::json>& ids) {
        std::string bytes;
        for (const auto& id : ids)
            bytes += with("task_id", id) + "\n";
        write_file(folder.file("p.jsonl"), bytes);
        std::string text;
        for (const Problem& problem : load_problems(folder.file("p.jsonl")).problems)
            text += std::to_string(problem.task_id) + "=" + problem.name + " ";
        return text;
    };
    BOOST_TEST(names_and_numbers({"Set/10", "Set/2"}) == "2=Set/2 10=Set/10 ");
    BOOST_TEST(names_and_numbers({"12", "7"}) == "7=7 12=12 ");
    BOOST_TEST(names_and_numbers({12, 7}) == "7=7 12=12 ");
    // Without numbers, or with one twice: the place in the file.
    BOOST_TEST(names_and_numbers({"b/x", "a/1"}) == "0=b/x 1=a/1 ");
    BOOST_TEST(names_and_numbers({"b/1", "a/1"}) == "0=b/1 1=a/1 ");
    BOOST_TEST(names_and_numbers({"a/-1"}) == "0=a/-1 ");
    BOOST_TEST(names_and_numbers({"a/99999999999999999999"}) == "0=a/99999999999999999999 ");
    refused(with("task_id", "a/1") + "\n" + with("task_id", "a/1"), {"line 2", "task_id a/1", "line 1"});
    refused(with("task_id", "a/1") + "\n" + with("task_id", 2), {"line 2", "partly integers"});
}

BOOST_AUTO_TEST_CASE(human_eval_schema) {
    const Scratch folder;
    nlohmann::json record = {{"task_id", "HumanEval/3"},
                             {"prompt", "import math\r\n\r\ndef f(x):\r\n    \"\"\"Doubles.\"\"\"\r\n"},
                             {"canonical_solution", "    return 2 * x\r\n"},
                             {"test", "M = 3\r\n\r\ndef check(candidate):\r\n    assert candidate(M) == 6\r\n"},
                             {"entry_point", "f"}};
    write_file(folder.file("p.jsonl"), record.dump());
    const Problem problem = load_problems(folder.file("p.jsonl")).problems.at(0);
    BOOST_TEST(problem.task_id == 3);
    BOOST_TEST(problem.name == "HumanEval/3");
    BOOST_TEST(problem.text == record["prompt"].get<std::string>());
    BOOST_TEST(problem.opening == "import math\n\ndef f(x):\n    \"\"\"Doubles.\"\"\"\n");
    BOOST_TEST(problem.code == problem.opening + "    return 2 * x\n");
    BOOST_TEST(problem.test_setup_code == "M = 3\n");
    BOOST_TEST(problem.test_list == std::vector<std::string>{"assert f(M) == 6"}, boost::test_tools::per_element());
    BOOST_TEST(problem.entry_point == "f");

    const auto refused_with = [&](const char* field, const nlohmann::json& value, std::initializer_list<std::string> words) {
        nlohmann::json changed = record;
        changed[field] = value;
        refused("\n" + changed.dump(), words);
    };
    refused_with("prompt", nullptr, {"line 2", "'prompt' is missing", "HumanEval"});
    refused_with("prompt", " \n", {"line 2", "'prompt' is blank"});
    refused_with("entry_point", nullptr, {"line 2", "'entry_point' is missing"});
    for (const char* name : {"", "1f", "f(x)", "a.b", "class"}) refused_with("entry_point", name, {"line 2", "'entry_point'", "no name"});
    refused_with("test", 1, {"line 2", "'test'", "number"});
    refused_with("test", "assert f(1)", {"line 2", "'test'", "check"});
    refused_with("canonical_solution", 1, {"line 2", "'canonical_solution'"});
    record.erase("canonical_solution");
    write_file(folder.file("p.jsonl"), record.dump());
    BOOST_TEST(load_problems(folder.file("p.jsonl")).problems.at(0).code == "");
}

BOOST_AUTO_TEST_CASE(check_functions) {
    const auto tests = [](const std::string& source) {
        const SplitTests split = split_check_function(source, "f");
        std::string text = split.single ? "single|" : "";
        text += split.setup_code;
        for (const std::string& test : split.tests)
            text += "|" + test;
        return text;
    };
    const std::string head = "def check(candidate):\n";
    BOOST_TEST(tests(head + "    assert candidate(1) == 2\n    # no\n\n    assert candidate(candidate(2)), 'candidate'\n") ==
               "|assert f(1) == 2|assert f(f(2)), 'candidate'");
    BOOST_TEST(tests(head + "    'docstring'\n    assert candidate([1,\n  2]) == [\n]\n\ncheck(g)\n") == "|assert f([1,\n  2]) == [\n]");
    BOOST_TEST(tests("\n\nM = {\n 'a': 1 }\n\n\ndef check(g):\n\tassert g(M) and x.g == 1 # g\n\nN = 2\n") ==
               "M = {\n 'a': 1 }\n\nN = 2\n|assert f(M) and x.g == 1");
    BOOST_TEST(tests(head + "    assert True\n") == "|assert True");
    // What cannot be taken apart exactly stays whole.
    for (const std::string body : {"    for i in range(3):\n        assert candidate(i)\n", "    x = 1\n    assert candidate(x)\n", "    pass\n",
                                   "    import math\n    assert candidate(1)\n", "    assert candidate(1); assert candidate(2)\n",
                                   "    assert map(candidate, [1])\n", "    assert (y := candidate(1)) and y\n", "    assert f'{candidate(1)}'\n",
                                   "    assert locals()\n", "    if x:\n        assert candidate(1)\n", "    assert candidate(1)\n    return\n"}) {
        BOOST_TEST(tests(head + body) == "single|" + head + body + "|check(f)", body);
    }
    for (const std::string other : {"def check(candidate, n=1):\n    assert candidate(n)\n", "def check(candidate): assert candidate(1)\n",
                                    "check = lambda c: c(1)\n", "@d\ndef check(candidate):\n    assert candidate(1)\n",
                                    "async def check(candidate):\n    assert candidate(1)\n",
                                    "def check(candidate):\n    assert candidate(1)\ndef check(candidate):\n    assert candidate(2)\n"}) {
        BOOST_TEST(tests(other) == "single|" + other + "|check(f)", other);
    }
    BOOST_CHECK_THROW(split_check_function("", "f"), pva::InputError);
    BOOST_CHECK_THROW(split_check_function("class A:\n    def check(self):\n        pass\n", "f"), pva::InputError);
}

BOOST_AUTO_TEST_CASE(all_of_human_eval) {
    const auto set = human_eval();
    if (!set) return;
    const auto golden = read_golden("problem_sets.json")["human_eval_tests"];
    BOOST_REQUIRE_EQUAL(set->problems.size(), 164u);
    std::size_t whole = 0, tests = 0;
    for (std::size_t i = 0; i < 164; ++i) {
        const Problem& problem = set->problems[i];
        BOOST_TEST(problem.name == "HumanEval/" + std::to_string(i));
        BOOST_TEST(problem.task_id == static_cast<std::int64_t>(i));
        BOOST_TEST(problem.code.starts_with(problem.opening));
        std::string joined;
        for (const std::string& test : problem.test_list)
            joined += (joined.empty() ? "" : std::string(1, '\0')) + test;
        BOOST_TEST(problem.test_list.size() == golden[i]["count"].get<std::size_t>(), problem.name);
        BOOST_TEST(pva::sha256_hex(joined) == golden[i]["sha256"].get<std::string>(), problem.name);
        whole += problem.test_list.front() == "check(" + problem.entry_point + ")";
        tests += problem.test_list.size();
    }
    BOOST_TEST(whole == 7u);
    BOOST_TEST(tests == 1154u);
}

BOOST_AUTO_TEST_CASE(compressed_files) {
    const Scratch folder;
    write_file(folder.file("p.jsonl"), good);
    const auto plain = load_problems(folder.file("p.jsonl"));
    BOOST_REQUIRE(std::system(("gzip -c " + folder.file("p.jsonl") + " > " + folder.file("p.gz")).c_str()) == 0);
    const auto packed = load_problems(folder.file("p.gz"));
    BOOST_TEST(packed.sha256 == plain.sha256);
    BOOST_TEST(packed.problems.at(0).code == plain.problems.at(0).code);
    // Two members, as `cat a.gz b.gz` makes, are one file.
    const std::string bytes = read_file(folder.file("p.gz"));
    write_file(folder.file("twice.gz"), bytes + bytes);
    try {
        load_problems(folder.file("twice.gz"));
        BOOST_ERROR("the second member was not read");
    } catch (const pva::InputError& error) {
        BOOST_TEST(std::string(error.what()).find("Extra data") + std::string(error.what()).find("JSON") != std::string::npos, error.what());
    }
    for (const std::size_t size : {bytes.size() - 1, bytes.size() / 2, std::size_t{12}}) {
        write_file(folder.file("cut.gz"), bytes.substr(0, size));
        BOOST_CHECK_THROW(load_problems(folder.file("cut.gz")), pva::InputError);
    }
    std::string damaged = bytes;
    damaged[bytes.size() - 6] ^= 1;
    write_file(folder.file("damaged.gz"), damaged);
    BOOST_CHECK_THROW(load_problems(folder.file("damaged.gz")), pva::InputError);
    write_file(folder.file("empty"), "");
    BOOST_CHECK_THROW(load_problems(folder.file("empty")), pva::InputError);
}

BOOST_AUTO_TEST_CASE(refusals_name_place_and_field) {
    refused("", {"no problem"});
    refused(" \n\n", {"no problem"});
    refused("[]", {"no problem"});
    refused(good + "\n{\"task_id\": 8, \"text\"\n", {"line 2", "not valid JSON"});
    refused(good + "\n" + good, {"line 2", "task_id 7", "line 1"});
    refused("[" + good + "," + good + "]", {"element 1", "task_id 7", "element 0"});
    refused(good + "\n[1]", {"line 2", "JSON object"});
    refused("[3]", {"element 0", "JSON object"});
    refused("[{\"a\": 1}", {"not valid JSON"});
    for (const char* field : {"task_id", "text", "code", "test_list"}) {
        refused("\n" + without(field), {"line 2", "'" + std::string(field) + "' is missing"});
    }
    refused(with("text", nullptr), {"line 1", "'text' is missing"});
    refused(with("text", 3), {"line 1", "'text'", "number", "string"});
    refused(with("text", " \n"), {"line 1", "'text' is blank"});
    refused(with("code", nlohmann::json::array()), {"'code'", "array", "string"});
    refused(with("task_id", ""), {"'task_id' is empty"});
    refused(with("task_id", 7.5), {"'task_id'", "integer"});
    refused(with("task_id", true), {"'task_id'", "boolean", "integer"});
    refused(with("task_id", -1), {"'task_id'", "negative"});
    refused(with("task_id", 18446744073709551615u), {"'task_id'"});
    refused(with("test_list", nlohmann::json::array()), {"'test_list' is empty"});
    refused(with("test_list", "assert f() == 1"), {"'test_list'", "array"});
    refused(with("test_list", {"assert f() == 1", 2}), {"'test_list[1]'", "string"});
    refused(with("challenge_test_list", 1), {"'challenge_test_list'"});
    refused(with("test_setup_code", 1), {"'test_setup_code'"});
    refused(with("test_imports", "import math"), {"'test_imports'"});
    refused(with("family", 1), {"'family'"});
    refused(good + "\n{\"text\": \"\xFF\"}", {"line 2", "UTF-8"});
    refused("{\"text\": \"\xE2\x82\"}", {"line 1", "UTF-8"});        // cut sequence
    refused("{\"text\": \"\xC0\xAF\"}", {"UTF-8"});                  // overlong
    refused("{\"text\": \"\xED\xA0\x80\"}", {"UTF-8"});              // surrogate
    refused("{\"text\": \"\xF4\x90\x80\x80\"}", {"UTF-8"});          // above U+10FFFF
    refused(R"({"text": "\ud800"})", {"line 1", "not valid JSON"});  // lone surrogate, escaped
    BOOST_CHECK_THROW(load_problems("/nonexistent/problems.jsonl"), pva::InputError);
    BOOST_CHECK_THROW(load_problems("/"), pva::InputError);
}

BOOST_AUTO_TEST_CASE(all_of_mbpp) {
    const auto set = mbpp();
    if (!set) return;
    BOOST_TEST(set->sha256 == "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f");
    BOOST_REQUIRE_EQUAL(set->problems.size(), 974u);
    std::size_t with_setup = 0, with_challenge = 0;
    for (std::size_t i = 0; i < 974; ++i) {
        const Problem& problem = set->problems[i];
        BOOST_TEST(problem.task_id == static_cast<std::int64_t>(i + 1));
        BOOST_TEST(problem.test_list.size() == 3u);
        BOOST_TEST((problem.code + problem.test_setup_code).find('\r') == std::string::npos);
        with_setup += !problem.test_setup_code.empty();
        with_challenge += !problem.challenge_test_list.empty();
    }
    BOOST_TEST(with_setup == 2u);
    BOOST_TEST(with_challenge == 11u);
    const auto sanitized = shared_data("mbpp/sanitized-mbpp.json");
    if (!sanitized) return;
    const auto subset = load_problems(*sanitized);
    BOOST_TEST(subset.problems.size() == 427u);
    std::size_t with_import = 0;
    for (const Problem& problem : subset.problems)
        with_import += problem.test_setup_code == "import math\n";
    BOOST_TEST(with_import == 13u);
}

BOOST_AUTO_TEST_SUITE_END()
