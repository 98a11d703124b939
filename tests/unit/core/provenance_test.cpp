// Provenance as JSON, version line, error types and exit codes.
#include "pva/core/join.h"
#include "pva/core/provenance.h"

#include <boost/test/unit_test.hpp>

#include <regex>

#include "pva/core/error.h"

using namespace pva;

BOOST_AUTO_TEST_SUITE(provenance)

BOOST_AUTO_TEST_CASE(joining) {
    BOOST_TEST(pva::join({}, ", ").empty());
    BOOST_TEST(pva::join({"a"}, ", ") == "a");
    // An empty first text is a text all the same.
    BOOST_TEST(pva::join({"", "b", "c"}, "; ") == "; b; c");
}

BOOST_AUTO_TEST_CASE(as_json) {
    Provenance made;
    made.program = "pva_sample";
    made.build = {"1.2.3", "abc", "Release", "GNU 12", "2.11.0", "-O3", "Linux", "Boost 1.74"};
    made.libraries = {{"MPI", "Open MPI v4"}, {"HDF5", "1.10.8"}};
    made.options = {{"zeta", 1}, {"alpha", nullptr}};
    made.given = {{"zeta", 1}};
    made.ranks = 4;
    made.inputs = {{"problems", "p.jsonl", "00ff"}, {"model", "m", "11ee"}};
    BOOST_TEST(to_json(made).dump() ==
               R"({"program":"pva_sample","version":"1.2.3","git_sha":"abc","build_type":"Release","compiler":"GNU 12",)"
               R"("libraries":{"HDF5":"1.10.8","MPI":"Open MPI v4"},"options":{"zeta":1,"alpha":null},"given":{"zeta":1},"ranks":4,)"
               R"("inputs":[{"role":"problems","path":"p.jsonl","sha256":"00ff"},{"role":"model","path":"m","sha256":"11ee"}]})");
    BOOST_TEST(to_json(Provenance{})["inputs"].dump() == "[]");
}

BOOST_AUTO_TEST_CASE(of_this_build) {
    const BuildInfo build = build_info();
    BOOST_TEST(std::regex_match(build.version, std::regex(R"(\d+\.\d+\.\d+)")), build.version);
    BOOST_TEST(std::regex_match(build.git_sha, std::regex(R"(unknown|[0-9a-f]{12}(-modified)?)")), build.git_sha);
    BOOST_TEST(!build.compiler.empty());
    BOOST_TEST(version_line("pva_x") == "pva_x " + build.version + " (" + build.git_sha + ", " + build.build_type + ", " + build.compiler + ")");
    BOOST_TEST(!host_name().empty());
}

BOOST_AUTO_TEST_CASE(exit_codes) {
    BOOST_TEST(static_cast<int>(UsageError("").exit_code()) == 64);
    BOOST_TEST(static_cast<int>(InputError("").exit_code()) == 65);
    BOOST_TEST(static_cast<int>(InternalError("").exit_code()) == 70);
    BOOST_TEST(static_cast<int>(IoError("").exit_code()) == 74);
    BOOST_TEST(static_cast<int>(StopRequested("").exit_code()) == 75);
    BOOST_TEST(static_cast<int>(ExitCode::done) == 0);
    try {
        throw IoError("disk full");
    } catch (const Error& error) {
        BOOST_TEST(std::string(error.what()) == "disk full");
    }
}

BOOST_AUTO_TEST_SUITE_END()
