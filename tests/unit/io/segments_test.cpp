// Segment files: whole records are found again, torn and damaged ones are passed over.
#include "pva/io/segments.h"

#include <boost/test/unit_test.hpp>

#include "pva/core/checksum.h"
#include "pva/core/error.h"
#include "../scratch.h"

using namespace pva;

namespace {

std::vector<std::byte> payload(std::size_t size, int seed) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 31 + static_cast<std::size_t>(seed)) % 251);
    return bytes;
}

/// Three records: units 5 (100 bytes), 2 (empty), 9 (3000 bytes). Record heads are 40 bytes.
void write_three(const std::string& path) {
    io::SegmentWriter writer(path);
    const auto first = payload(100, 5);
    BOOST_TEST(writer.append(5, first) == checksum(first));
    writer.append(2, {});
    writer.append(9, payload(3000, 9));
    writer.sync();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(segments)

BOOST_AUTO_TEST_CASE(records_come_back) {
    const Scratch scratch;
    const std::string path = scratch.file("a.segment.0");
    write_three(path);
    BOOST_TEST(std::filesystem::file_size(path) == 3 * 40u + 3100u);
    const auto index = io::read_segment_index({path});
    BOOST_REQUIRE(index.size() == 3u);
    BOOST_TEST((io::read_segment(index.at(5)) == payload(100, 5)));
    BOOST_TEST(io::read_segment(index.at(2)).empty());
    BOOST_TEST((io::read_segment(index.at(9)) == payload(3000, 9)));
    BOOST_TEST(index.at(9).size == 3000);
    BOOST_TEST(index.at(9).checksum == checksum(payload(3000, 9)));
}

BOOST_AUTO_TEST_CASE(nothing_there) {
    const Scratch scratch;
    BOOST_TEST(io::read_segment_index({}).empty());
    const std::string path = scratch.file("empty");
    { const io::SegmentWriter writer(path); }
    BOOST_TEST(io::read_segment_index({path}).empty());
    BOOST_CHECK_THROW(io::read_segment_index({scratch.file("absent")}), IoError);
    BOOST_CHECK_THROW(io::SegmentWriter(scratch.file("absent/a")), IoError);
    // A new writer never writes over an old file.
    BOOST_CHECK_THROW(io::SegmentWriter{path}, IoError);
}

BOOST_AUTO_TEST_CASE(every_torn_tail) {
    const Scratch scratch;
    const std::string whole_path = scratch.file("whole");
    write_three(whole_path);
    const std::string whole = read_file(whole_path);
    const std::string cut_path = scratch.file("cut");
    for (std::size_t size = 0; size <= whole.size(); size += size < 300 ? 1 : 97) {
        write_file(cut_path, whole.substr(0, size));
        const std::size_t expected = size >= whole.size() ? 3 : size >= 180 ? 2 : size >= 140 ? 1 : 0;
        const auto index = io::read_segment_index({cut_path});
        BOOST_TEST(index.size() == expected, "cut to " << size << " bytes: " << index.size() << " records");
        BOOST_TEST(index.contains(5) == (expected >= 1));
    }
    // Other bytes behind whole records.
    write_file(cut_path, whole + std::string(500, 'x'));
    BOOST_TEST(io::read_segment_index({cut_path}).size() == 3u);
}

BOOST_AUTO_TEST_CASE(a_flipped_bit_costs_one_record) {
    const Scratch scratch;
    const std::string path = scratch.file("flipped");
    write_three(path);
    const auto intact = io::read_segment_index({path});
    const std::string whole = read_file(path);
    // In the payload of unit 5: the others stay.
    std::string damaged = whole;
    damaged[40 + 50] ^= 1;
    write_file(path, damaged);
    auto index = io::read_segment_index({path});
    BOOST_TEST(index.size() == 2u);
    BOOST_TEST(!index.contains(5));
    BOOST_TEST((io::read_segment(index.at(9)) == payload(3000, 9)));
    // The place found before the damage: reading says so.
    BOOST_CHECK_THROW(io::read_segment(intact.at(5)), IoError);
    // In a head nothing after it can be trusted, whichever byte it is.
    for (std::size_t at = 140; at < 180; ++at) {
        damaged = whole;
        damaged[at] ^= 1;
        write_file(path, damaged);
        index = io::read_segment_index({path});
        BOOST_TEST(index.size() == 1u);
        BOOST_TEST(index.contains(5));
    }
}

BOOST_AUTO_TEST_CASE(two_files) {
    const Scratch scratch;
    const std::string first = scratch.file("run.segment.0");
    const std::string second = scratch.file("run.segment.1");
    {
        io::SegmentWriter a(first);
        io::SegmentWriter b(second);
        a.append(0, payload(10, 1));
        b.append(1, payload(20, 2));
        a.append(2, payload(30, 3));
        b.append(2, payload(30, 3));  // done twice, as after a kill between the record and its mark
        io::SegmentWriter moved(std::move(b));
        moved.append(3, payload(40, 4));
    }
    const auto index = io::read_segment_index({first, second});
    BOOST_REQUIRE(index.size() == 4u);
    BOOST_TEST(index.at(0).path == first);
    BOOST_TEST(index.at(1).path == second);
    BOOST_TEST(index.at(2).path == first);
    BOOST_TEST((io::read_segment(index.at(3)) == payload(40, 4)));
}

BOOST_AUTO_TEST_SUITE_END()
