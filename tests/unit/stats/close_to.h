// Agreement with figures of a golden file, relative alone.
#pragma once

#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../golden_document.h"

inline void expect_close(double computed, const nlohmann::json& expected, const std::string& what) { expect_close(computed, expected, what, 0); }

/// The same for every value of a list.
inline void expect_close(const std::vector<double>& computed, const nlohmann::json& expected, const std::string& what) {
    BOOST_REQUIRE_MESSAGE(computed.size() == expected.size(),
                          what << ": " << computed.size() << " values, expected " << expected.size());
    for (std::size_t i = 0; i < computed.size(); ++i)
        expect_close(computed[i], expected[i], what + " " + std::to_string(i));
}
