// Entry points, the stop rule and the extraction of programs: hand-written cases, and all references of MBPP in chatty
// answers, whose extracted programs are run by Python.
#include "pva/tasks/extraction.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <iostream>
#include <map>
#include <sstream>

#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/core/sha256.h"
#include "pva/tasks/prompt.h"
#include "support.h"

using namespace pva::tasks;

namespace {

std::string entry(std::initializer_list<std::string> tests) {
    return entry_point(std::vector<std::string>(tests));
}

std::string program(std::string_view raw, std::string_view name = "f", std::string_view prompt = "") {
    return extract_program(ExtractionRule::complete_program, raw, prompt, name).program;
}

/// The answer with marks where the program stands in it: \1 begin, \2 after the signature, \3 end.
std::string marked(ExtractionRule rule, const std::string& raw, std::string_view prompt = "", std::string_view opening = "") {
    const auto place = extract_program(rule, raw, prompt, "f", opening).place;
    if (!place) return "nowhere";
    std::vector<std::pair<std::int64_t, char>> marks = {{place->begin, '\1'}, {place->end, '\3'}};
    if (place->signature_end) marks.insert(marks.begin() + 1, {*place->signature_end, '\2'});
    std::stable_sort(marks.begin(), marks.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    const std::string text = std::string(opening) + raw;
    std::string result = text;
    for (auto mark = marks.rbegin(); mark != marks.rend(); ++mark)
        result.insert(static_cast<std::size_t>(mark->first + static_cast<std::int64_t>(opening.size())), 1, mark->second);
    return result;
}

/// Marked text -> the text; checks that extraction puts the marks there.
void check_place(const std::string& wanted, std::string_view prompt = "", std::string_view opening = "",
                 ExtractionRule rule = ExtractionRule::complete_program) {
    std::string raw = wanted;
    std::erase_if(raw, [](char c) { return c >= '\1' && c <= '\3'; });
    BOOST_TEST(marked(rule, raw.substr(opening.size()), prompt, opening) == wanted);
}

/// The text up to the stop, or "(goes on)".
std::string stopped(std::string_view generated, std::string_view name = "f") {
    const auto end = program_end(generated, name);
    return end ? std::string(generated.substr(0, *end)) : "(goes on)";
}

/// Runs each program with its tests in one Python process; returns the ids that fail.
constexpr std::string_view judge_script = R"PYTHON(
import json, sys, warnings
warnings.simplefilter("ignore")
sys.setrecursionlimit(5000)
failed = []
out, sys.stdout = sys.stdout, sys.stderr
for name, program, setup, tests in json.load(sys.stdin):
    space = {"__name__": "program"}
    try:
        exec(compile(program, "program", "exec"), space)
        exec(compile(setup, "setup", "exec"), space)
        for test in tests:
            exec(compile(test, "test", "exec"), space)
    except BaseException as error:
        failed.append([name, repr(error)])
print(json.dumps(failed), file=out)
)PYTHON";

/// How a model may dress up a program. Whatever stands after the program begins with something that is no part of it.
struct Style {
    const char* name;
    const char* before;
    const char* after;
};

constexpr std::array<Style, 12> styles = {{
    {"bare", "\n", "\n"},
    {"no newline", "", ""},
    {"asserts", "\n", "\n\nassert f(1) == 2\nassert g() == 3\n\ndef broken(:\n"},
    {"fence", "Sure! Here's a function (it isn't hard:\n\n```python\n",
     "\n```\n\nThis function doesn't use anything unusual.\nTime complexity = O(n) (where n is\n"},
    {"main block", "\n\n", "\n\nif __name__ == '__main__':\n    n = int(input())\n    print(f(n))\n"},
    {"prints", "\n# My solution\n", "\n# Test it\nprint(f(1), 'a\nprint(2)\n"},
    {"second problem", "\n",
     "\n\nWrite a function to do something else.\n\nassert h(1) == 1\n\n# Solution:\ndef h(x):\n    return (x\n"},
    {"docstring", "\n\"\"\"\nWe'll solve (it\n\"\"\"\n\n", "\n\n\"\"\"\nThe next problem's text\n"},
    {"markers", "[BEGIN]\n", "\n[DONE]\n\nYou are an expert programmer\n"},
    {"prose of numbers", "1. First we think.\n2. Then we write:\n\n```\n",
     "\n```\n1. `f` is called\n```python\nf(3)\n```\n"},
    {"loop after", "\nprint('hello')\n", "\nfor i in range(3):\n    print(f(i))\n"},
    {"read input", "\nn = int(input())\n", "\nx = input('more')\nprint(x)\n"},
}};

}  // namespace

BOOST_AUTO_TEST_SUITE(extraction)

BOOST_AUTO_TEST_CASE(entry_points) {
    BOOST_TEST(entry({"assert f(1) == 2"}) == "f");
    BOOST_TEST(entry({"assert f(g(1)) == h(2)"}) == "f");
    BOOST_TEST(entry({"assert set(f(1)) == set((1,))"}) == "f");
    BOOST_TEST(entry({"assert sorted(list(f(1)))==[1]"}) == "f");
    BOOST_TEST(entry({"assert math.isclose(f(10), 4.18, rel_tol=0.001)"}) == "f");
    BOOST_TEST(entry({"assert not f(1)"}) == "f");
    BOOST_TEST(entry({"assert(f(1)) == 1"}) == "f");
    BOOST_TEST(entry({"assert 3 == f(1)"}) == "f");
    BOOST_TEST(entry({"assert int(f(1)) == int(2.5)"}) == "f");
    BOOST_TEST(entry({"assert Counter(f('a(b')) == Counter({'x': g(1)})"}) == "f");
    BOOST_TEST(entry({"assert f([Pair(5, 24), Pair(1, 2)], 4) == 3"}) == "f");
    BOOST_TEST(entry({"assert Solution().solve(3) == 1"}) == "Solution");
    BOOST_TEST(entry({"assert sum(10,15) == 6"}) == "sum");
    BOOST_TEST(entry({"assert abs(f(1) - 2) < 1e-6 and (g(2) in (1, 2))"}) == "f");
    BOOST_TEST(entry({"assert abs(f(1) - 2) < 1e-6 and g(2) in (1, 2)"}) == "g");  // outermost, then leftmost
    BOOST_TEST(entry({"assert x == 'f(1)' # g(2)", "assert h(1)"}) == "h");
    BOOST_TEST(entry({"assert g(1)", "assert f(1)", "assert f(2)"}) == "f");
    BOOST_TEST(entry({"x = [\n  f(1),\n  2]\nassert x"}) == "f");
    BOOST_TEST(entry({"assert True"}) == "");
    BOOST_TEST(entry({}) == "");
    BOOST_TEST(entry({"((((", "\xFF(", "'"}) == "\xFF");
}

BOOST_AUTO_TEST_CASE(entry_points_of_mbpp) {
    const auto set = mbpp();
    if (!set) return;
    const auto golden = read_golden("entry_points.json");
    const auto compare = [&](const ProblemSet& problems, const nlohmann::json& wanted) {
        BOOST_REQUIRE_EQUAL(problems.problems.size(), wanted.size());
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            BOOST_TEST(problems.problems[i].task_id == wanted[i][0].get<std::int64_t>());
            BOOST_TEST(entry_point(problems.problems[i].test_list) == wanted[i][1].get<std::string>(),
                       "task " << problems.problems[i].task_id);
        }
    };
    compare(*set, golden["mbpp"]);
    const auto sanitized = shared_data("mbpp/sanitized-mbpp.json");
    if (sanitized) compare(load_problems(*sanitized), golden["sanitized"]);
}

BOOST_AUTO_TEST_CASE(stop_rule) {
    const std::string f = "\ndef f(x):\n    return x\n";
    for (const char* more : {"",
                             "\n",
                             "\n\n",
                             "    ",
                             "    y",
                             "\n# comment",
                             "\n# comment\n",
                             "\nd",
                             "\ndef g(x):\n    return 1\n",
                             "\nimport a\n",
                             "\nfrom a import (b,\n",
                             "\n@cache\n",
                             "\nclass A:\n    pass\n",
                             "\nx = 1\n",
                             "\nx",
                             "\nx[0]",
                             "\nf.cache = {}\n",
                             "\nasync def g(): pass\n",
                             "\nx = [\n1,\n",
                             "\na, b = 1, 2\n\n",
                             "\nprint",
                             "\nasser",
                             "\nasync ",
                             "\ng(1",
                             "\nx: int",
                             "\nx = '''\nassert 1\n",
                             "\nf = memo(f)\n",
                             "\nwith_x"}) {
        BOOST_TEST(stopped(f + more) == "(goes on)", more);
    }
    for (const char* junk : {"assert f", "assert(",   "print(",   "if __",        "for ",    "while ", "Write a", "```",
                             "\"\"\"",   "'",         "[DONE]\n", "# c\nassert ", "return ", "else:",  "f(1)\n",  "1",
                             "try:",     "with open", "x == ",    "  y",          "pass\n",  ">>> "}) {
        if (junk[0] == ' ') continue;
        BOOST_TEST(stopped(f + "\n" + junk) == f, junk);
    }
    BOOST_TEST(stopped("def f(x): return x\n    y") == "def f(x): return x\n");
    BOOST_TEST(stopped(f + "\ndef g(): return 1\n# c\n\nprint(1)") == f + "\ndef g(): return 1\n");
    // Only the entry point counts, wherever it is and however it is bound.
    BOOST_TEST(stopped("\ndef g(x):\n    return x\nassert g(1)\nprint(2)\n") == "(goes on)");
    BOOST_TEST(stopped("assert f(1)\nprint(2)\nf = lambda x: x\nprint(3)") ==
               "assert f(1)\nprint(2)\nf = lambda x: x\n");
    BOOST_TEST(stopped("class f:\n  def f(self): pass\nprint(3)") == "class f:\n  def f(self): pass\n");
    BOOST_TEST(stopped("from m import g as f\nprint(3)") == "from m import g as f\n");
    BOOST_TEST(stopped("class A:\n  def f(self): pass\nprint(3)") == "(goes on)");
    BOOST_TEST(stopped("if a:\n  def f(x): return 1\nelse:\n  def f(x): return 2\nprint(3)") ==
               "if a:\n  def f(x): return 1\nelse:\n  def f(x): return 2\n");
    BOOST_TEST(stopped("try:\n  from a import f\nexcept ImportError:\n  f = None\ne") == "(goes on)");
    // What only looks like an end.
    BOOST_TEST(stopped("def f(x):\n    '''\nassert f(1)\n") == "(goes on)");
    BOOST_TEST(stopped("def f(x):\n    y = (1,\n2, 'assert'\n") == "(goes on)");
    BOOST_TEST(stopped("def f(x):\n# comment\n    return x") == "(goes on)");
    BOOST_TEST(stopped("def f(x):\n    return x + \\\n1\n") == "(goes on)");
    BOOST_TEST(stopped("def f(x):\r\n    return x\r\nprint(") == "def f(x):\r\n    return x\r\n");
    BOOST_TEST(stopped("def f(x):\n    y = [x\n    return y\nassert f(1)") == "def f(x):\n    y = [x\n    return y\n");
    BOOST_TEST(stopped("", "f") == "(goes on)");
    BOOST_TEST(stopped(f + "print(1)", "") == "(goes on)");
}

BOOST_AUTO_TEST_CASE(what_is_kept_and_what_is_dropped) {
    BOOST_TEST(extract_program(ExtractionRule::complete_program, "\ndef f(x):\n    return x\n", "", "f").rule == "complete-program");
    BOOST_TEST(program("") == "");
    BOOST_TEST(program("I cannot do this.") == "");
    BOOST_TEST(program("\ndef f(x):\r\n    return x\r") == "def f(x):\n    return x\n");
    const std::string everything =
        "import math\nfrom a import (b,\n    c)\n\nLIMIT = 10\n\ndef helper(x):\n    return x\n\nclass Pair:\n    "
        "pass\n\n"
        "@cache\n@b.c\nasync def g():\n    pass\n\ntry:\n    import numpy\nexcept ImportError:\n    numpy = None\n\n"
        "table = []\nfor i in range(3):\n    table.append(i)\nmath.seterr(all='ignore')\n\n"
        "def f(x):\n    # inside\n    return helper(x)\n\nimport re\n\n@cache\ndef after(x):\n    return x\n\nNUMBER: "
        "int = 3\nf = cache(f)\n";
    BOOST_TEST(program(everything) == everything);
    BOOST_TEST(program("x = 1; import a; print(x); y = 2\ndef f(): pass\n") ==
               "x = 1\nimport a\ny = 2\ndef f(): pass\n");
    BOOST_TEST(program("print(1)\nassert f\n# c\n'''doc'''\nfoo.bar()\nhelper(1)\npass\nx = 1\ndef f(): pass\n") ==
               "x = 1\ndef f(): pass\n");
    BOOST_TEST(program("n = int(input())\nwhile input():\n    pass\nif __name__ == '__main__':\n    pass\nif 1:\n    x "
                       "= 2\ndef f(): pass\n") == "if 1:\n    x = 2\ndef f(): pass\n");
    // After the entry point the first foreign statement ends the program.
    BOOST_TEST(program("def f(): pass\nassert f()\ndef g(): pass\n") == "def f(): pass\n");
    BOOST_TEST(program("def f(): pass\nn = input()\ndef g(): pass\n") == "def f(): pass\n");
    BOOST_TEST(program("def f(): return 1\ndef f(): return 2\nprint(1)\n") == "def f(): return 1\ndef f(): return 2\n");
    // A future import goes first.
    BOOST_TEST(program("import a\n\ndef f(): pass\nfrom __future__ import annotations\n") ==
               "from __future__ import annotations\nimport a\n\ndef f(): pass\n");
    // A decorator that lost its function does not go to another one.
    BOOST_TEST(program("@cache\nHere is the code\ndef f(): pass\n@late\n") == "def f(): pass\n");
    BOOST_TEST(program("@a\n@b\nx = 1\ndef f(): pass\n@late\nprint(1)\n") == "x = 1\ndef f(): pass\n");
    // Without an entry point, or when it is missing, everything that could belong to a program.
    BOOST_TEST(program("def g(): pass\nprint(1)\ndef h(): pass\n", "") == "def g(): pass\n\ndef h(): pass\n");
    BOOST_TEST(program("def g(): pass\nprint(1)\ndef h(): pass\n") == "def g(): pass\n\ndef h(): pass\n");
    // The model's own errors stay.
    BOOST_TEST(program("def f(x)\n    return x\nprint(1)") == "def f(x)\n    return x\n");
    BOOST_TEST(program("def f(x):\n    return (x\nprint(1)\n\ndef g(): pass\n") ==
               "def f(x):\n    return (x\nprint(1)\ndef g(): pass\n");
}

BOOST_AUTO_TEST_CASE(echoes_and_fences) {
    const std::string prompt = "Write f.\n\nassert f(1) == 1\n\n# Solution:";
    const std::string code = "def f(x):\n    return x\n";
    BOOST_TEST(program(prompt + "\n" + code, "f", prompt) == code);
    BOOST_TEST(program("\n " + prompt + "\n" + code, "f", prompt) == code);
    BOOST_TEST(program("\n" + code + "\n" + prompt + "\ndef f(x):\n    return 2\n", "f", prompt) == code);
    BOOST_TEST(program("Write f (again.\n\nassert f(1) == 1\n# Solution:\n" + code, "f", prompt) == code);
    BOOST_TEST(program("```python\n" + code + "```\nIt's easy.\n") == code);
    BOOST_TEST(program("```\nimport a\n```\nand then\n```python\n" + code + "```\n") == "import a\n\n" + code);
    BOOST_TEST(program(code + "```\nprint(f(1))\n```\n") == code);
    BOOST_TEST(program("* like this:\n\n  ```python\n  def f(x):\n      return x\n  ```\n") == code);
    BOOST_TEST(program("Don't use \"\"\" here\n```python\n" + code + "```\n") == code);
    const std::string doc = "def f(x):\n    \"\"\"\n    ```\n    f(1)\n    ```\n    \"\"\"\n    return x\n";
    BOOST_TEST(program(doc) == doc);
}

BOOST_AUTO_TEST_CASE(cut_output_keeps_its_longest_complete_beginning) {
    BOOST_TEST(program("def f(x):\n    return x\n\ndef g(x):\n    y = 1\n    retu") ==
               "def f(x):\n    return x\n\ndef g(x):\n    y = 1\n    retu\n");
    BOOST_TEST(program("def f(x):\n    return x\n\ndef g(x):\n    y = 1\n    return (y,") ==
               "def f(x):\n    return x\n\ndef g(x):\n    y = 1\n");
    BOOST_TEST(program("def f(x):\n    return x\n\n@cache\ndef g(x):\n    if x:") == "def f(x):\n    return x\n");
    BOOST_TEST(program("def f(x):\n    return x\n\nTABLE = [1, 2,") == "def f(x):\n    return x\n");
    BOOST_TEST(program("import a\n\ndef f(x):\n    '''Doc") == "import a\n");
    BOOST_TEST(program("def f(x):\n    try:\n        return x") == "");
}

BOOST_AUTO_TEST_CASE(answers_that_begin_inside_a_fence) {
    const std::string f = "def f(x):\n    return x\n";
    const auto inside = [](std::string_view raw, std::string_view name = "f") {
        return program(raw, name, "<|im_start|>assistant\n```python\n");
    };
    BOOST_TEST(inside(f) == f);  // cut off by the token limit
    BOOST_TEST(inside(f + "```") == f);
    BOOST_TEST(inside(f + "```\n\nThis function:\n\n1. returns x\n") == f);
    BOOST_TEST(inside(f + "   ```\nx = 1\n") == f);
    BOOST_TEST(inside("\n" + f + "\n```\n```python\nprint(f(1))\n```\n") == f);
    BOOST_TEST(inside("import a\r\ndef f(x):\r\n    return x\r\n```\r\n") == "import a\n" + f);
    // Nothing behind the fence gets into the program, whatever it looks like, nor does it hide what is before it.
    BOOST_TEST(inside(f + "y = 1\n```\nz = 2\n") == f + "y = 1\n");
    BOOST_TEST(inside(f + "y = [1,\n```\nA bracket ] in prose\n") == f);
    BOOST_TEST(inside(f + "```\n'''Prose in quotes\ndef f(x):\n    return 2\n") == f);
    BOOST_TEST(inside("It's easy:\n" + f + "```\n") == f);
    // A fence inside a docstring that is indented deeper than a fence can be.
    const std::string documented = "def f(x):\n    \"\"\"\n    ```\n    f(1)\n    ```\n    \"\"\"\n    return x\n";
    BOOST_TEST(inside(documented + "```\n") == documented);
    // The model opens the fence again, or first closes it.
    BOOST_TEST(inside("```python\n" + f + "```\n") == f);
    BOOST_TEST(inside("\n```\n\n```python\n" + f + "```\nx = 1\n") == f);
    BOOST_TEST(inside("import a\n```\nNow it's the function:\n```python\n" + f + "```\n") == "import a\n\n" + f);
    // The program is in the second block alone, indented: the opened fence counts as the first.
    BOOST_TEST(inside("pip install it\n```\n  ```python\n  def f(x):\n      return x\n  ```\n") == f);
    BOOST_TEST(inside("") == "");
    BOOST_TEST(inside("```") == "");
    BOOST_TEST(inside("import a\n```\nimport b\n", "") == "import a\n");  // no entry point: the first block
    // Without an opened fence in the prompt nothing changes.
    for (const char* prompt : {"", "# Solution:", "```python", "x ```python\ny\n", "```python x\n", "``` ```\n"})
        BOOST_TEST(program("import a\n```\nimport b\n", "", prompt) == "import a\n\nimport b\n", prompt);
    for (const char* prompt : {"```python\n", "```\n", "[/INST] ```python\n", "a\r\n```py3\r\n"})
        BOOST_TEST(program("import a\n```\nimport b\n", "", prompt) == "import a\n", prompt);
    for (const std::string& name : prompt_template_names()) {
        const PromptTemplate form = prompt_template_from_name(name);
        Problem problem;
        problem.text = "Text";
        problem.test_list = {"assert f(1) == 1"};
        const std::string wanted = opens_fence(form) ? "import a\n" : "import a\n\nimport b\n";
        BOOST_TEST(program("import a\n```\nimport b\n", "", build_prompt(problem, form)) == wanted, name);
    }
}

/// The place holds the program's first and last line and ends the signature at its colon.
void check_piece(const Extraction& result, const std::string& raw, const std::string& name, const std::string& label) {
    BOOST_REQUIRE_MESSAGE(result.place, label);
    const auto [begin, end, signature_end] = *result.place;
    BOOST_REQUIRE_MESSAGE((0 <= begin && begin < end && end <= static_cast<std::int64_t>(raw.size())), label);
    const std::string piece = raw.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    const std::string first = result.program.substr(0, result.program.find('\n'));
    const std::string body = result.program.substr(0, result.program.size() - 1);
    const std::size_t newline = body.rfind('\n');
    BOOST_TEST(piece.starts_with(first), label);
    BOOST_TEST(piece.ends_with(newline == std::string::npos ? body : body.substr(newline + 1)), label);
    BOOST_REQUIRE_MESSAGE(signature_end, label);
    const std::string before = raw.substr(0, static_cast<std::size_t>(*signature_end));
    BOOST_TEST(before.ends_with(":"), label);
    BOOST_TEST(before.rfind("def " + name) != std::string::npos, label);
    BOOST_TEST(before.find('\n', before.rfind("def " + name)) == std::string::npos, label);  // MBPP's signatures have one line
}

BOOST_AUTO_TEST_CASE(references_in_chatty_answers_pass) {
    const auto set = mbpp();
    if (!set) return;
    nlohmann::json jobs = nlohmann::json::array();
    std::size_t stops = 0, late = 0;
    for (const Style& style : styles) {
        for (const Problem& problem : set->problems) {
            // Every problem bare and in four of the other styles. Task 123 computes for seconds: once is enough.
            const auto number = static_cast<std::int64_t>(&style - styles.data());
            if (number > 0 && ((problem.task_id + number) % 3 != 0 || problem.task_id == 123)) continue;
            const std::string prompt = build_prompt(problem, PromptTemplate::solution);
            const std::string name = entry_point(problem.test_list);
            const std::string raw = style.before + problem.code + style.after;
            const Extraction result = extract_program(ExtractionRule::complete_program, raw, prompt, name);
            const std::string label = std::string(style.name) + " " + std::to_string(problem.task_id);
            jobs.push_back({label, result.program, problem.test_setup_code, problem.test_list});
            check_piece(result, raw, name, label);
            // The program is the same when generation was stopped.
            if (const auto end = program_end(raw, name)) {
                ++stops;
                BOOST_TEST(extract_program(ExtractionRule::complete_program, raw.substr(0, *end), prompt, name).program == result.program, label);
            } else {
                late += std::string(style.name) != "bare" && std::string(style.name) != "no newline";
            }
        }
    }
    // The same behind a chat prompt, whose fence is open.
    for (const Problem& problem : set->problems) {
        if (problem.task_id == 123) continue;
        static constexpr std::array<const char*, 4> ends = {"", "\n```", "\n```\n\nThis isn't hard:\nx = (1,\n",
                                                            "\n```\n\n```python\nassert f(1)\n```\n"};
        const std::string prompt = build_prompt(problem, PromptTemplate::smollm2_instruct);
        const std::string name = entry_point(problem.test_list);
        const std::string raw = problem.code + ends[static_cast<std::size_t>(problem.task_id) % ends.size()];
        const Extraction result = extract_program(ExtractionRule::complete_program, raw, prompt, name);
        const std::string label = "opened fence " + std::to_string(problem.task_id);
        jobs.push_back({label, result.program, problem.test_setup_code, problem.test_list});
        BOOST_TEST(result.program == extract_program(ExtractionRule::complete_program, problem.code, "", name).program, label);
        if (const auto end = program_end(raw, name))
            BOOST_TEST(extract_program(ExtractionRule::complete_program, raw.substr(0, *end), prompt, name).program == result.program, label);
    }
    const auto failed = nlohmann::json::parse(run_python(judge_script, jobs.dump()));
    std::cout << "extraction: " << jobs.size() << " answers, " << failed.size()
              << " extracted programs fail; generation would stop in " << stops << "\n";
    for (const auto& one : failed)
        BOOST_ERROR(one.dump());
    BOOST_TEST(jobs.size() > 974u + 3 * 974u);
    BOOST_TEST(late == 0u);
}

BOOST_AUTO_TEST_CASE(stop_rule_on_all_references_byte_by_byte) {
    const auto set = mbpp();
    if (!set) return;
    const std::vector<std::string> junk = {
        "\n\nassert f(1) == 2\n",           "\n\nprint(f(1))\n", "\n\nWrite a function to do this.\n", "\n```\n",
        "\n\nif __name__ == '__main__':\n", "\n\nf(1)\n\n",      "\n\n# Test cases\nfor i in x:\n"};
    std::size_t longest_wait = 0;
    for (const Problem& problem : set->problems) {
        const std::string name = entry_point(problem.test_list);
        const std::string code = "\n" + problem.code;
        const std::string text = code + junk[static_cast<std::size_t>(problem.task_id) % junk.size()];
        std::size_t n = 1;
        while (n <= text.size() && !program_end(std::string_view(text).substr(0, n), name))
            ++n;
        BOOST_REQUIRE_MESSAGE(n <= text.size(), "never stops: task " << problem.task_id);
        BOOST_REQUIRE_MESSAGE(n > code.size(), "stops inside the program: task " << problem.task_id << " after " << n);
        longest_wait = std::max(longest_wait, n - code.size());
        // The end it names holds the whole program, and stays the same when more text comes.
        const std::size_t end = *program_end(std::string_view(text).substr(0, n), name);
        BOOST_TEST(extract_program(ExtractionRule::complete_program, std::string_view(text).substr(0, end), "", name).program ==
                       extract_program(ExtractionRule::complete_program, code, "", name).program,
                   "task " << problem.task_id);
        for (; n <= text.size(); ++n)
            BOOST_TEST(program_end(std::string_view(text).substr(0, n), name).value() == end);
    }
    std::cout << "stop rule: at most " << longest_wait << " bytes after the program\n";
    BOOST_TEST(longest_wait <= 22u);  // "\n\n# Test cases\nfor " is 18 bytes
}

BOOST_AUTO_TEST_CASE(any_text) {
    const std::vector<std::string> pieces = {"def f(x):\n",
                                             "def g():\n",
                                             "    return x\n",
                                             "    ",
                                             "\n",
                                             "```python\n",
                                             "```\n",
                                             "assert f(1) == 2\n",
                                             "print(",
                                             ")",
                                             "import a\n",
                                             "from __future__ import b\n",
                                             "x = ",
                                             "1\n",
                                             "'''",
                                             "\"",
                                             "@a\n",
                                             "class f:\n",
                                             "if __name__ == '__main__':\n",
                                             "n = input()\n",
                                             "try:\n",
                                             "except E:\n",
                                             "# Solution:\n",
                                             "Write a function\n",
                                             "(",
                                             "[",
                                             "\\\n",
                                             ";",
                                             "\r",
                                             "\xC3\xA9",
                                             "\xFF",
                                             std::string(1, '\0')};
    pva::PhiloxStream random(4, 5, 6);
    std::size_t stops = 0;
    for (int round = 0; round < 10000; ++round) {
        std::string text;
        const std::uint32_t n = random.below(30);
        for (std::uint32_t i = 0; i < n; ++i)
            text += pieces[random.below(static_cast<std::uint32_t>(pieces.size()))];
        const Extraction result = extract_program(ExtractionRule::complete_program, text, "# Solution:", "f");
        BOOST_CHECK(result.program.size() <= text.size() + n + 1);
        if (result.place) {
            const auto [begin, place_end, signature_end] = *result.place;
            BOOST_CHECK(0 <= begin && begin < place_end && place_end <= static_cast<std::int64_t>(text.size()));
            if (signature_end) BOOST_CHECK(begin < *signature_end && *signature_end <= place_end && text[static_cast<std::size_t>(*signature_end) - 1] == ':');
        }
        BOOST_CHECK(extract_program(ExtractionRule::complete_program, text, "```python\n", "f").program.size() <= text.size() + n + 1);
        // Extracting again changes nothing that is defined; and the end once found stays.
        const auto end = program_end(text, "f");
        if (end) {
            ++stops;
            BOOST_CHECK(*end <= text.size());
            const std::string longer = text + pieces[random.below(static_cast<std::uint32_t>(pieces.size()))];
            BOOST_CHECK_MESSAGE(program_end(longer, "f") == end,
                                nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
        }
    }
    BOOST_TEST(stops > 500u);
}

BOOST_AUTO_TEST_CASE(rule_names) {
    for (const std::string& name : extraction_rule_names())
        BOOST_TEST(extraction_rule_name(extraction_rule_from_name(name)) == name);
    BOOST_TEST(extraction_rule_names().size() == 3u);
    BOOST_CHECK_THROW(extraction_rule_from_name("Reference"), pva::UsageError);
    BOOST_CHECK_THROW(extraction_rule_name(static_cast<ExtractionRule>(3)), pva::InternalError);
    BOOST_TEST(extract_program(ExtractionRule::none, " x\r\n", "p", "f", "o\r\n").program == "o\r\n x\r\n");
    BOOST_TEST(extract_program(ExtractionRule::none, "", "", "").rule == "none");
}

BOOST_AUTO_TEST_CASE(reference_rule) {
    const auto program = [](std::string_view raw, std::string_view prompt = "PROMPT") {
        return extract_program(ExtractionRule::reference, raw, prompt, "f").program;
    };
    BOOST_TEST(program("PROMPT\nimport math\ndef f(x):\n    return x\n\nprint(1)\n") == "def f(x):\n    return x");
    BOOST_TEST(program("no\n# Solution:\ndef f():\n  pass") == "def f():\n  pass");
    BOOST_TEST(program("def g(): pass\nassert g()\n\n@d\ndef f(x):\n\treturn x\n\n\n\tx\n@") == "def f(x):\n\treturn x\n\n\n\tx");
    BOOST_TEST(program("def f(): assert f()") == "def f(): assert f()");  // the assert's line does not end
    BOOST_TEST(program("def f():\r\n    return 1\r\n\r\nx") == "def f():\r\n    return 1");
    BOOST_TEST(program("\xC2\xA0 x = 1 \n") == "x = 1");
    BOOST_TEST(program("# a def inside\nx") == "def inside");
    BOOST_TEST(program("def ") == "def");
    BOOST_TEST(program("") == "");
    BOOST_TEST(extract_program(ExtractionRule::reference, "    return 1\n", "P", "f", "def f():\n").program == "def f():\n    return 1");
    const auto set = mbpp();
    if (!set) return;
    const auto golden = read_golden("problem_sets.json");
    std::map<std::string, std::string> joined;
    nlohmann::json jobs = nlohmann::json::array();
    nlohmann::json raw_rows = nlohmann::json::array();
    std::istringstream file(read_file(*shared_data("mbpp/mbpp.jsonl")));
    std::map<std::int64_t, std::string> raw_codes;
    for (std::string line; std::getline(file, line);) {
        const auto row = nlohmann::json::parse(line);
        raw_codes[row["task_id"]] = row["code"];
    }
    for (const Problem& problem : set->problems) {
        const std::string prompt = build_prompt(problem, PromptTemplate::solution);
        std::string asserts;
        for (const std::string& test : problem.test_list)
            asserts += test + "\n";
        const std::string after = "\n\nassert True\nprint('x')\n";
        const std::map<std::string, std::pair<std::string, std::string>> cases = {
            {"answer", {problem.code, prompt}},
            {"echo", {prompt + "\n" + problem.code + after, prompt}},
            {"marker", {"Sure.\n# Solution:\n  \t" + problem.code + after, prompt}},
            {"asserts", {asserts + problem.code, "another prompt"}},
            {"raw_line_ends", {raw_codes.at(problem.task_id), prompt}}};
        for (const auto& [name, text] : cases) {
            const std::string made = extract_program(ExtractionRule::reference, text.first, text.second, "f").program;
            joined[name] += (problem.task_id == 1 ? "" : std::string(1, '\0')) + made;
            if (name == "answer" || name == "raw_line_ends")
                jobs.push_back({name, made, problem.test_setup_code, problem.test_list});
        }
    }
    for (const auto& [name, hash] : golden["reference_rule"].items())
        BOOST_TEST(pva::sha256_hex(joined[name]) == hash.get<std::string>(), name);
    std::map<std::string, int> failed;
    for (const auto& failure : nlohmann::json::parse(run_python(judge_script, jobs.dump())))
        ++failed[failure[0].get<std::string>()];
    BOOST_TEST(failed["answer"] == 221);
    BOOST_TEST(failed["raw_line_ends"] == 225);
}

BOOST_AUTO_TEST_CASE(place_of_the_program) {
    check_place("\1def f(x):\2\n    return x\3\n");
    check_place("\n\n\1def f(x: dict[str, int] = {1: 2}) -> list[int]:\2 return x\3");
    check_place("Sure:\n\1import math\n# a comment\nx = 1\nasync def f(\n    a,\n):\2\n    pass\n\ndef g():\n    pass\3\nprint(1)\ndef h(): pass\n");
    check_place("\r\n\1import a\r\ndef f(x):\2\r\n    return x\3\r\nprint()\r\n");
    check_place("\r\1def f(x):\2\r    return x\3\r");
    check_place("print(0)\n\1from __future__ import annotations\ndef f():\2 pass\3\n");
    check_place("\1f = lambda x: x\3\n");  // no signature
    check_place("\1def f(x):\2\n    y = 1\3\n    return (y");
    check_place("\1x = 1\3\n");
    // Fences: opened by the prompt, opened again, indented blocks tried alone.
    check_place("\1def f():\2\n    pass\3\n```\nThat's it.\n", "Say:\n```python\n");
    check_place("```python\n\1def f():\2\n    pass\3\n```\n", "Say:\n```python\n");
    check_place("Words first\n```\nThen: \n```python\n\1def f():\2\n    pass\3\n```\n", "Say:\n```python\n");
    check_place("1. Like this:\n   ```python\n   \1import a\n   def f():\2\n       pass\3\n   ```\n");
    check_place("1. Like this:\r\n   ```python\r\n   \1def f():\2\r\n       pass\3");
    // An echo of the prompt.
    check_place("# Do f\n\1def f():\2 pass\3\n", "# Do f\n");
    // Behind an opening.
    const std::string opening = "import os\n\ndef f(x):\n    \"\"\"Does.\"\"\"\n";
    check_place("\1import os\n\ndef f(x):\2\n    \"\"\"Does.\"\"\"\n    return x\3\n\nprint()\n", opening, "import os\n\ndef f(x):\n    \"\"\"Does.\"\"\"\n");
    check_place(opening + "\1def f(y):\2\n    return y\3\n", opening, opening);
    // The other rules.
    check_place("\1 x\r\ndef f():\2 pass\r\n\3", "", "", ExtractionRule::none);
    check_place("P\nimport a\n\1def f(x):\2\n    return x\3\n\nprint(1)\n", "P", "", ExtractionRule::reference);
    check_place("def f():\2\n\1    return 1\3\n", "P", "def f():\n", ExtractionRule::reference);
    for (const auto rule : {ExtractionRule::none, ExtractionRule::reference, ExtractionRule::complete_program})
        BOOST_CHECK(!extract_program(rule, " \n", "", "f").place);
    BOOST_CHECK(!extract_program(ExtractionRule::complete_program, "Only words, no code.\n", "", "f").place);
}

BOOST_AUTO_TEST_CASE(answers_that_continue_an_opening) {
    const std::string opening = "from typing import List\n\ndef helper(x):\n    return x\n\ndef f(x: List):\n    \"\"\"Does.\n    >>> f(1)\n    \"\"\"\n";
    const auto made = [&](std::string_view raw) {
        return extract_program(ExtractionRule::complete_program, raw, opening, "f", opening).program;
    };
    const std::string body = "    return helper(x)\n";
    BOOST_TEST(made(body) == opening + body);
    BOOST_TEST(made(opening + body) == opening + body);  // an echo
    BOOST_TEST(made(body + "\n\nassert f(1)\ndef g(:\n") == opening + body);
    BOOST_TEST(made(body + "\ndef g():\n    return 1\n") == opening + body + "\ndef g():\n    return 1\n");
    // An answer that is a program of its own gets what stands before the definition.
    BOOST_TEST(made("Sure:\n```python\ndef f(x):\n    return helper(x)\n```\n") ==
               "from typing import List\n\ndef helper(x):\n    return x\n\ndef f(x):\n    return helper(x)\n");
    BOOST_TEST(made("from __future__ import annotations\ndef f(x):\n    return 1\n").starts_with("from __future__ import annotations\n"));
    // Stop rule: not before anything was written, and at the first line that is no part of the program.
    BOOST_CHECK(!program_end("", "f", opening));
    BOOST_CHECK(!program_end(body, "f", opening));
    BOOST_CHECK(!program_end("```python\n", "f", opening));
    BOOST_TEST(program_end(body + "\nprint(f(1))\n", "f", opening).value_or(0) == body.size());
    BOOST_CHECK(!program_end(body + "\ndef g():\n    pass\n", "f", opening));
}

BOOST_AUTO_TEST_CASE(guarded_imports_after_the_entry_point) {
    const std::string f = "def f(x):\n    return np.max(x)\n";
    const std::string guarded = "try:\n    import numpy as np\nexcept ImportError:\n    np = None\n";
    BOOST_TEST(program(f + guarded) == f + guarded);
    BOOST_TEST(program(f + "try:\n    print(f(1))\nexcept ImportError:\n    np = None\n") == f);
    BOOST_TEST(program(f + "try:\n") == f);
}

BOOST_AUTO_TEST_CASE(references_of_human_eval_in_chatty_answers_pass) {
    const auto set = human_eval();
    if (!set) return;
    nlohmann::json jobs = nlohmann::json::array();
    for (const Problem& problem : set->problems) {
        const std::string solution = problem.code.substr(problem.opening.size());
        const auto add = [&](const char* name, const std::string& raw, const std::string& prompt) {
            const std::string made = extract_program(ExtractionRule::complete_program, raw, prompt, problem.entry_point, problem.opening).program;
            jobs.push_back({name + (" " + problem.name), made, problem.test_setup_code, problem.test_list});
        };
        for (const Style& style : styles) {
            const bool continues = std::string_view(style.before).find_first_not_of("\n") == std::string_view::npos;
            if (continues) add(style.name, solution + style.after, problem.opening);
            add(style.name, style.before + problem.code + style.after, problem.opening);
        }
        add("chat", problem.code + "\n```\nIt isn't hard.\n", build_prompt(problem, PromptTemplate::qwen2_5_instruct));
    }
    const auto failed = nlohmann::json::parse(run_python(judge_script, jobs.dump()));
    std::cout << "extraction: " << jobs.size() << " answers to HumanEval, " << failed.size() << " extracted programs fail\n";
    for (const auto& failure : failed)
        BOOST_ERROR(failure.dump());
}

BOOST_AUTO_TEST_SUITE_END()
