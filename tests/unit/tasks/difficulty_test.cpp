// The complexity script against radon's own numbers (tests/reference/tasks/make_complexity_golden.py).
#include "pva/tasks/difficulty.h"

#include <boost/test/unit_test.hpp>

#include "pva/core/error.h"
#include "support.h"

using namespace pva::tasks;

namespace {

std::vector<Problem> problems_of(const std::vector<std::string>& sources) {
    std::vector<Problem> problems;
    for (const std::string& source : sources) {
        Problem problem;
        problem.task_id = static_cast<std::int64_t>(100 + problems.size());
        problem.code = source;
        problems.push_back(problem);
    }
    return problems;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(difficulty)

BOOST_AUTO_TEST_CASE(embedded_script_is_the_file) {
    BOOST_TEST(complexity_script() == read_file(std::string(PVA_SOURCE_DIR) + "/src/tasks/complexity.py"));
}

BOOST_AUTO_TEST_CASE(every_construct) {
    const auto golden = read_golden("complexity_constructs.json");
    std::vector<std::string> sources;
    for (const auto& item : golden["constructs"])
        sources.push_back(item["source"]);
    const auto result = cyclomatic_complexity(problems_of(sources), run_python);
    BOOST_REQUIRE_EQUAL(result.size(), golden["constructs"].size());
    BOOST_TEST(result.size() > 50u);
    for (std::size_t i = 0; i < result.size(); ++i) {
        BOOST_TEST_CONTEXT(golden["constructs"][i]["name"]) {
            BOOST_TEST(result[i].complexity == golden["constructs"][i]["complexity"].get<int>());
            BOOST_TEST(result[i].task_id == static_cast<std::int64_t>(100 + i));
        }
    }
}

BOOST_AUTO_TEST_CASE(all_of_mbpp) {
    const auto set = mbpp();
    if (!set) return;
    const auto golden = read_golden("mbpp_complexity.json");
    const auto result = cyclomatic_complexity(set->problems, run_python);
    BOOST_REQUIRE_EQUAL(result.size(), 974u);
    double sum = 0;
    for (std::size_t i = 0; i < result.size(); ++i) {
        BOOST_TEST(result[i].task_id == golden["task_ids"][i].get<std::int64_t>());
        BOOST_TEST(result[i].complexity == golden["complexities"][i].get<int>(), "task " << result[i].task_id);
        sum += result[i].complexity;
    }
    BOOST_TEST(sum / 974 == 2.84394, boost::test_tools::tolerance(1e-5));
}

BOOST_AUTO_TEST_CASE(all_of_human_eval_and_sanitized_mbpp) {
    const auto golden = read_golden("problem_sets.json");
    const auto compare = [](const std::optional<ProblemSet>& set, const nlohmann::json& wanted) {
        if (!set) return;
        const auto result = cyclomatic_complexity(set->problems, run_python);
        BOOST_REQUIRE_EQUAL(result.size(), wanted.size());
        for (std::size_t i = 0; i < result.size(); ++i)
            BOOST_TEST(result[i].complexity == wanted[i].get<int>(), "task " << set->problems[i].name);
    };
    compare(human_eval(), golden["human_eval_complexities"]);
    compare(sanitized_mbpp(), golden["sanitized_complexities"]);
}

BOOST_AUTO_TEST_CASE(deep_and_odd_sources) {
    std::string deep_chain = "def f(x):\n    return x";
    for (int i = 0; i < 20000; ++i)
        deep_chain += " + x";
    const std::string deep_brackets =
        "def f(x):\n    return " + std::string(5000, '(') + "x" + std::string(5000, ')') + "\n";
    const auto result = cyclomatic_complexity(
        problems_of({deep_chain, deep_brackets, "\xFF\xFE", "def f():\n  if x: return '\xC3\xA9'\n"}), run_python);
    for (const Difficulty& one : result)
        BOOST_TEST(one.complexity >= 1);
    BOOST_TEST(result[1].complexity == 1);
    BOOST_TEST(result[2].complexity == 1);
    BOOST_TEST(result[3].complexity == 2);
    BOOST_TEST(cyclomatic_complexity({}, run_python).empty());
}

BOOST_AUTO_TEST_CASE(batches_and_bad_answers) {
    int calls = 0;
    const auto ones = [&](std::string_view, std::string_view input) {
        ++calls;
        nlohmann::json answer = nlohmann::json::array();
        for (std::size_t i = 0; i < nlohmann::json::parse(input).size(); ++i)
            answer.push_back(1);
        return answer.dump();
    };
    const auto problems = problems_of(std::vector<std::string>(600, "x = 1"));
    BOOST_TEST(cyclomatic_complexity(problems, ones).size() == 600u);
    BOOST_TEST(calls == 3);
    for (const char* answer : {"", "nonsense", "[1]", "[1, 2, 3]", "[1, \"2\"]", "[1, 0]", "[1, 1.5]", "{}"}) {
        const auto wrong = [&](std::string_view, std::string_view) { return std::string(answer); };
        BOOST_CHECK_THROW(cyclomatic_complexity(problems_of({"a", "b"}), wrong), pva::InternalError);
    }
}

BOOST_AUTO_TEST_CASE(strata) {
    BOOST_TEST(difficulty_stratum(1) == 0);
    BOOST_TEST(difficulty_stratum(2) == 1);
    BOOST_TEST(difficulty_stratum(3) == 1);
    BOOST_TEST(difficulty_stratum(4) == 2);
    BOOST_TEST(difficulty_stratum(16) == 2);
}

BOOST_AUTO_TEST_SUITE_END()
