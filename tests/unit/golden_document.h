// A golden file of tests/golden, read once, and agreement with its figures.
#pragma once

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

/// tests/golden/NAME as JSON; the test fails when it cannot be read.
inline nlohmann::json golden_document(const std::string& name) {
    const std::string path = std::string(PVA_SOURCE_DIR "/tests/golden/") + name;
    std::ifstream file(path);
    BOOST_REQUIRE_MESSAGE(file, "cannot read " << path);
    return nlohmann::json::parse(file);
}

/// 1e-10 relative; `scale` widens it to an absolute error where rounding allows no relative one: a difference of larger figures.
inline void expect_close(double computed, const nlohmann::json& expected, const std::string& what, double scale) {
    const double reference = expected.get<double>();
    const double error = std::fabs(computed - reference);
    BOOST_CHECK_MESSAGE(error <= 1e-10 * std::max(std::fabs(reference), scale),
                        what << ": computed " << computed << ", expected " << reference << ", difference " << error);
}
