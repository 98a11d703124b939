// A golden file of tests/golden, read once.
#pragma once

#include <boost/test/unit_test.hpp>
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
