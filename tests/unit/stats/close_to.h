// Agreement with a figure of a golden file.
#pragma once

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

/// 1e-10 relative; `scale` widens it to an absolute error where rounding allows no relative one: a difference of larger figures.
inline void expect_close(double computed, const nlohmann::json& expected, const std::string& what, double scale = 0) {
    const double reference = expected.get<double>();
    const double error = std::fabs(computed - reference);
    BOOST_CHECK_MESSAGE(error <= 1e-10 * std::max(std::fabs(reference), scale),
                        what << ": computed " << computed << ", expected " << reference << ", difference " << error);
}

/// The same for every value of a list.
inline void expect_close(const std::vector<double>& computed, const nlohmann::json& expected, const std::string& what) {
    BOOST_REQUIRE_MESSAGE(computed.size() == expected.size(),
                          what << ": " << computed.size() << " values, expected " << expected.size());
    for (std::size_t i = 0; i < computed.size(); ++i)
        expect_close(computed[i], expected[i], what + " " + std::to_string(i));
}
