// What counts as left over in a data folder, and what must never be.
#include "pva/io/leftovers.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pva/io/h5.h"
#include "pva/io/result_file.h"
#include "../scratch.h"

using namespace pva;
namespace fs = std::filesystem;
namespace h5 = pva::io::h5;

namespace {

/// A working or finished file with the marks of some units; what the rest of a real one looks like is not looked at here.
void make_file(const std::string& path, const std::string& identity, std::vector<std::uint64_t> done) {
    fs::create_directories(fs::path(path).parent_path());
    const h5::File file = h5::create(path);
    h5::write_attribute(file, "/", "filetype", std::string("pva dataset"));
    h5::write_attribute(file, "/", "program", std::string("pva_phase1"));
    h5::write_attribute(file, "/", "identity_hash", identity);
    h5::write_rows(h5::create_dataset(file, "done", h5::Element::u64, 0, {static_cast<std::int64_t>(done.size())}, false), 0,
                   static_cast<std::int64_t>(done.size()), std::as_bytes(std::span(done)));
    const nlohmann::ordered_json run = {{"provenance", {{"ranks", 3}, {"given", {{"model", "a model"}, {"stream", true}, {"fresh", false}, {"samples", 4}, {"end", nullptr}}}}}};
    h5::write_rows(h5::create_dataset(file, "measured/run", h5::Element::text, 4096, {1}, true), 0, 1, io::pack_texts({run.dump()}, 4096));
}

void touch(const std::string& path) { write_file(path, "x"); }

std::vector<std::string> names(const std::vector<io::Leftover>& found) {
    std::vector<std::string> result;
    for (const io::Leftover& file : found) result.push_back(fs::path(file.path).filename().string());
    return result;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(leftovers)

BOOST_AUTO_TEST_CASE(nothing_there) {
    const Scratch scratch;
    BOOST_TEST(io::unfinished_runs(scratch.file("absent")).empty());
    BOOST_TEST(io::leftovers(scratch.file("absent"), 0).empty());
}

BOOST_AUTO_TEST_CASE(what_stays_and_what_goes) {
    const Scratch scratch;
    const std::string data = scratch.file("data");
    const std::string phase = data + "/phase1_0/";
    // A run that can be taken up, with its segment and lock; one whose result is complete; one that is alive.
    make_file(phase + "dataset_0001.h5.part", "open", {7, 0, 9});
    touch(phase + "dataset_0001.h5.part.segment.0.0");
    touch(phase + "dataset_0001.lock");
    make_file(phase + "dataset_m_0-9_2026-01-02_03-04-05.h5", "over", {1, 2});
    make_file(phase + "dataset_0002.h5.part", "over", {1, 2});
    touch(phase + "dataset_0002.h5.part.segment.1.0");
    touch(phase + "dataset_0002.lock");
    make_file(phase + "dataset_0003.h5.part", "over", {1, 0});
    touch(phase + "dataset_0003.lock");
    touch(phase + "dataset_0003.h5.part.new");
    // Cut short, belonging to nothing, damaged, foreign.
    touch(phase + "dataset_0004.h5.part.new");
    touch(phase + "dataset_0005.h5.layout");
    touch(phase + "dataset_0006.h5.part.segment.0.1");
    touch(phase + "dataset_0007.lock");
    touch(phase + "dataset_0008.h5.part");
    touch(phase + "notes.txt");
    fs::create_directories(data + "/logs");
    touch(data + "/logs/old.log");
    touch(data + "/logs/new.log");
    touch(data + "/logs/old.txt");
    for (const char* name : {"old.log", "old.txt"})
        fs::last_write_time(data + "/logs/" + name, fs::file_time_type::clock::now() - std::chrono::hours(24 * 40));
    const int held = open((phase + "dataset_0003.lock").c_str(), O_RDWR);
    BOOST_REQUIRE(held >= 0 && flock(held, LOCK_SH) == 0);

    const auto runs = io::unfinished_runs(data);
    BOOST_REQUIRE(runs.size() == 2u);
    BOOST_TEST(fs::path(runs[0].path).filename().string() == "dataset_0001.h5.part");
    BOOST_TEST(runs[0].done == 2);
    BOOST_TEST(runs[0].total == 3);
    BOOST_TEST(!runs[0].alive);
    BOOST_TEST(runs[0].program == "pva_phase1");
    BOOST_TEST(runs[0].ranks == 3);
    BOOST_TEST(runs[0].arguments == (std::vector<std::string>{"--model", "a model", "--stream", "--samples", "4"}), boost::test_tools::per_element());
    BOOST_TEST(fs::path(runs[1].path).filename().string() == "dataset_0003.h5.part");
    BOOST_TEST(runs[1].alive);

    const auto found = io::leftovers(data, 30);
    const std::vector<std::string> wanted = {"dataset_0002.h5.part", "dataset_0002.h5.part.segment.1.0", "dataset_0002.lock", "dataset_0004.h5.part.new",
                                             "dataset_0005.h5.layout", "dataset_0006.h5.part.segment.0.1", "dataset_0007.lock", "old.log"};
    BOOST_TEST(names(found) == wanted, boost::test_tools::per_element());
    io::remove_leftovers(found);
    BOOST_TEST(io::leftovers(data, 30).empty());
    for (const char* name : {"dataset_0001.h5.part", "dataset_0001.h5.part.segment.0.0", "dataset_0003.h5.part", "dataset_0003.h5.part.new", "dataset_0008.h5.part", "notes.txt",
                             "dataset_m_0-9_2026-01-02_03-04-05.h5"})
        BOOST_TEST(fs::exists(phase + name), name);
    close(held);
    // Dead now: what it made is over, for its result is there.
    BOOST_TEST(names(io::leftovers(data, 30)) == (std::vector<std::string>{"dataset_0003.h5.part", "dataset_0003.h5.part.new", "dataset_0003.lock"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
