// io::check_io under mpirun: bytes verified, damage found, nothing left behind.
#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>

#include "mpi_test.h"
#include "pva/core/error.h"
#include "pva/io/io_check.h"
#include "pva/mpi/agree.h"
#include "shared_scratch.h"

namespace fs = std::filesystem;
using namespace pva;

namespace {

bool is_empty(const SharedScratch& folder) {
    test_world().barrier();
    const bool result = fs::is_empty(folder.path);
    test_world().barrier();
    return result;
}

ExitCode code_of(const io::IoCheckSettings& settings, const std::string& expected_words) {
    try {
        io::check_io(test_world(), settings);
    } catch (const mpi::AgreedError& error) {
        BOOST_TEST(std::string(error.what()).find(expected_words) != std::string::npos, error.what());
        return error.exit_code();
    }
    return ExitCode::done;
}

}  // namespace

BOOST_AUTO_TEST_CASE(pattern_differs_by_rank_and_block) {
    const io::IoPattern zero(0);
    const io::IoPattern one(1);
    const std::size_t size = 1 << 20;
    const auto block = zero.block(3, size);
    zero.verify(3, block, "file");
    BOOST_CHECK_THROW(zero.verify(4, block, "file"), IoError);
    BOOST_CHECK_THROW(one.verify(3, block, "file"), IoError);
    zero.verify(0, {}, "file");
    std::vector<std::byte> damaged(block.begin(), block.end());
    damaged[777] ^= std::byte{1};
    try {
        zero.verify(3, damaged, "some/file");
        BOOST_FAIL("a flipped bit was not seen");
    } catch (const IoError& error) {
        const std::string text = error.what();
        BOOST_TEST(text.find("some/file") != std::string::npos);
        BOOST_TEST(text.find("byte 777") != std::string::npos);
    }
    BOOST_CHECK_THROW(zero.block(0, static_cast<std::size_t>(io::io_check_block_bytes) + 1), InternalError);
}

BOOST_AUTO_TEST_CASE(all_ways_are_measured_and_cleaned_up) {
    const SharedScratch folder;
    io::IoCheckSettings settings;
    settings.folder = folder.path;
    // One whole block and a short one.
    settings.bytes_per_rank = io::io_check_block_bytes + 3 * io::io_check_row_bytes;
    settings.rounds = 2;
    int calls = 0;
    settings.before_reading = [&](const std::string&) { ++calls; };
    const auto measured = io::check_io(test_world(), settings);
    BOOST_TEST(calls == 6);
    BOOST_REQUIRE(measured.size() == 3u);
    BOOST_TEST(measured[0].way == "pwrite, a file per rank");
    BOOST_TEST(measured[2].way == "HDF5, one file");
    for (const io::IoMeasurement& way : measured) {
        BOOST_TEST(way.bytes == test_world().size() * settings.bytes_per_rank);
        BOOST_TEST(way.write.data > 0);
        BOOST_TEST(way.write.total >= way.write.data);
        BOOST_TEST(way.read.data > 0);
        BOOST_TEST(way.read.total >= way.read.data);
    }
    BOOST_TEST(is_empty(folder));
}

BOOST_AUTO_TEST_CASE(damage_is_found_in_every_way) {
    const SharedScratch folder;
    // The first file, the shared one, HDF5's: damage one of them, on the rank that reads last.
    for (const int target : {0, 1, 2}) {
        io::IoCheckSettings settings;
        settings.folder = folder.path;
        settings.bytes_per_rank = 2 * io::io_check_row_bytes;
        int calls = 0;
        settings.before_reading = [&](const std::string& path) {
            if (calls++ != target || test_world().rank() != test_world().size() - 1) return;
            // The middle of the file is data in all three: of a rank's own, of all ranks', behind HDF5's head.
            std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
            const auto middle = static_cast<std::streamoff>(fs::file_size(path) / 2);
            file.seekg(middle);
            const char old = static_cast<char>(file.get());
            file.seekp(middle);
            file.put(static_cast<char>(old ^ 0x10));
        };
        BOOST_TEST((code_of(settings, "came back different") == ExitCode::io));
        BOOST_TEST(is_empty(folder));
    }
    // A file that ends too early.
    io::IoCheckSettings settings;
    settings.folder = folder.path;
    settings.bytes_per_rank = io::io_check_row_bytes;
    settings.before_reading = [&](const std::string& path) { fs::resize_file(path, 1000); };
    BOOST_TEST((code_of(settings, "too short") == ExitCode::io));
    BOOST_TEST(is_empty(folder));
}

BOOST_AUTO_TEST_CASE(bad_folders_and_too_little_space) {
    const SharedScratch folder;
    io::IoCheckSettings settings;
    settings.folder = folder.path + "/absent";
    settings.bytes_per_rank = io::io_check_row_bytes;
    BOOST_TEST((code_of(settings, "absent") == ExitCode::bad_input));
    settings.folder = folder.path;
    settings.bytes_per_rank = std::int64_t{1} << 60;
    BOOST_TEST((code_of(settings, "are free") == ExitCode::io));
    BOOST_TEST(is_empty(folder));
    settings.bytes_per_rank = io::io_check_row_bytes + 1;
    BOOST_CHECK_THROW(io::check_io(test_world(), settings), InternalError);
    settings.bytes_per_rank = io::io_check_row_bytes;
    settings.rounds = 0;
    BOOST_CHECK_THROW(io::check_io(test_world(), settings), InternalError);
}
