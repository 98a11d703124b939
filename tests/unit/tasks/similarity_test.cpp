// Token similarity against Python's difflib and tokenize.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "pva/tasks/code_similarity.h"

using pva::tasks::code_similarity;

BOOST_AUTO_TEST_SUITE(similarity)

BOOST_AUTO_TEST_CASE(equal_to_difflib_on_python_tokens) {
    std::ifstream file(std::string(PVA_SOURCE_DIR) + "/tests/golden/tasks/code_similarity.json");
    BOOST_REQUIRE(file.good());
    const auto golden = nlohmann::json::parse(file);
    const auto programs = golden["programs"].get<std::vector<std::string>>();
    BOOST_REQUIRE(golden["pairs"].size() == programs.size() * programs.size());
    for (const auto& pair : golden["pairs"]) {
        const double ratio = code_similarity(programs[pair[0].get<std::size_t>()], programs[pair[1].get<std::size_t>()]);
        BOOST_TEST(std::abs(ratio - pair[2].get<double>()) < 1e-15, "programs " << pair[0] << " and " << pair[1] << ": " << ratio << ", difflib " << pair[2]);
    }
}

BOOST_AUTO_TEST_CASE(layout_and_comments_do_not_count) {
    BOOST_TEST(code_similarity("x=1 # one\n\n", "x = 1") == 1.0);
    BOOST_TEST(code_similarity("x = 1", "") == 0.0);
    BOOST_TEST(code_similarity("", "") == 1.0);
    BOOST_TEST(code_similarity("x = 1", "y + 2") == 0.0);
    // Broken programs are compared as they stand.
    const double broken = code_similarity("def f(:\n  return ((", "def f(x):\n  return x");
    BOOST_TEST(broken > 0.3);
    BOOST_TEST(broken < 1.0);
}

BOOST_AUTO_TEST_SUITE_END()
