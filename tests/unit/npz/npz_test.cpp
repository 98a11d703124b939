// Reading npz files: what numpy writes, what other writers may write, and what must be refused.
#define BOOST_TEST_MODULE npz
#include "pva/io/npz.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <numeric>

#include "../scratch.h"
#include "npz_writer.h"
#include "pva/core/error.h"

using namespace pva;
using namespace pva::test;

namespace {

const Scratch& scratch() {
    static const Scratch folder;
    return folder;
}

std::vector<float> counting(std::size_t n) {
    std::vector<float> values(n);
    std::iota(values.begin(), values.end(), -3.5f);
    return values;
}

std::string save(const std::string& bytes) {
    return scratch().write("case.npz", bytes);
}

/// Opens the file and reads everything; fails unless that is refused with all of `parts` in the message.
void check_refused(const std::string& path, const std::vector<std::string>& parts) {
    try {
        const io::NpzFile file(path);
        for (const auto& member : file.members())
            file.read(member);
        BOOST_ERROR("not refused: " << path << " " << parts.front());
    } catch (const InputError& error) {
        const std::string message = error.what();
        BOOST_TEST(message.find(path) != std::string::npos, message);
        for (const auto& part : parts)
            BOOST_TEST(message.find(part) != std::string::npos, part << " in: " << message);
    }
}

void check_bytes_refused(const std::string& bytes, const std::vector<std::string>& parts) {
    check_refused(save(bytes), parts);
}

ZipMember array(const std::string& name, const std::string& shape, const std::vector<float>& values) {
    return {.name = name + ".npy", .data = npy(header(shape), values)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_numpy_writes) {
    const std::string folder = PVA_SOURCE_DIR "/tests/golden/sae/";
    const io::NpzFile stored(folder + "small_stored.npz");
    const io::NpzFile deflated(folder + "small_deflated.npz");
    BOOST_TEST(stored.members().size() == 5u);
    BOOST_TEST(deflated.members().size() == 6u);
    BOOST_TEST(stored.find("w_enc") == nullptr);
    BOOST_REQUIRE(stored.find("W_enc") != nullptr);
    const auto& plain = *stored.find("W_enc");
    const auto& fortran = *deflated.find("w_enc");
    BOOST_TEST(!plain.fortran_order);
    BOOST_TEST(fortran.fortran_order);
    BOOST_TEST(fortran.deflated);
    BOOST_TEST(plain.shape == (std::vector<std::uint64_t>{7, 13}), boost::test_tools::per_element());
    BOOST_TEST(fortran.shape == plain.shape, boost::test_tools::per_element());
    BOOST_TEST(stored.read(plain) == deflated.read(fortran), boost::test_tools::per_element());
    BOOST_TEST(stored.read(*stored.find("b_dec")) == deflated.read(*deflated.find("b_dec")),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(every_way_of_packing_gives_the_same_values) {
    for (int bits = 0; bits < 128; ++bits) {
        const bool fortran = bits & 1;
        const int version = bits & 2 ? 2 : 1;
        const bool large = bits & 64;
        // The large one is 1.2 MB, more than one piece of the reader; two ways of packing suffice for it.
        if (large && bits != 64 + 1 && bits != 64 + 4) continue;
        const std::size_t n_rows = large ? 300 : 3, n_columns = large ? 1000 : 5;
        const auto values = counting(n_rows * n_columns);
        std::vector<float> columns(values.size());
        for (std::size_t i = 0; i < n_rows; ++i) {
            for (std::size_t j = 0; j < n_columns; ++j)
                columns[j * n_rows + i] = values[i * n_columns + j];
        }
        const std::string shape = large ? "(300, 1000)" : "(3, 5)";
        ZipMember member{.name = "a.npy",
                         .data = npy(header(shape, "<f4", fortran), fortran ? columns : values, version),
                         .deflated = bool(bits & 4),
                         .zip64 = bool(bits & 8),
                         .descriptor = bool(bits & 16)};
        // The reader must not take the signature inside a comment for the end record.
        const ZipOptions options{.zip64 = bool(bits & 32),
                                 .comment = bits & 32 ? "PK\5\6 a comment of some length" : ""};
        const io::NpzFile file(save(zip({member, array("b", "(2,)", {1.0f, 2.0f})}, options)));
        BOOST_REQUIRE(file.members().size() == 2u);
        BOOST_TEST(file.members()[0].name == "a");
        BOOST_TEST((file.read(file.members()[0]) == values), "bits " << bits);
        BOOST_TEST(file.read(file.members()[1]) == (std::vector<float>{1.0f, 2.0f}), boost::test_tools::per_element());
    }
}

BOOST_AUTO_TEST_CASE(shapes) {
    // Fortran order in three dimensions: value(i, j, k) at i + 2 * (j + 3 * k).
    std::vector<float> stored(24), expected(24);
    for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 3; ++j) {
            for (int k = 0; k < 4; ++k) {
                expected[(i * 3 + j) * 4 + k] = static_cast<float>(100 * i + 10 * j + k);
                stored[i + 2 * (j + 3 * k)] = expected[(i * 3 + j) * 4 + k];
            }
        }
    }
    const io::NpzFile file(save(zip({{.name = "cube.npy", .data = npy(header("(2, 3, 4)", "<f4", true), stored)},
                                     array("one", "()", {7.0f}),
                                     array("none", "(0, 5)", {}),
                                     array("row", "(1,3)", {1.0f, NAN, INFINITY})})));
    BOOST_TEST(file.read(*file.find("cube")) == expected, boost::test_tools::per_element());
    BOOST_TEST(file.read(*file.find("one")).at(0) == 7.0f);
    BOOST_TEST(file.read(*file.find("none")).empty());
    BOOST_TEST(file.find("none")->n_values == 0u);
    const auto row = file.read(*file.find("row"));
    BOOST_TEST(row.size() == 3u);
    BOOST_TEST(std::isnan(row[1]));
    BOOST_TEST(io::NpzFile(save(zip({}))).members().empty());
}

BOOST_AUTO_TEST_CASE(files_that_are_no_npz) {
    check_refused(scratch().file("missing.npz"), {"no such file"});
    scratch().write("folder/x", "");
    check_refused(scratch().file("folder"), {"not a file"});
    check_bytes_refused("", {"too short"});
    check_bytes_refused(std::string(100000, 'x'), {"not an npz"});
    check_bytes_refused("\x89HDF\r\n\x1a\n" + std::string(200, '\0'), {"not an npz"});
    check_bytes_refused("PK\3\4" + std::string(100000, 'x'), {"no ZIP end record"});
    check_bytes_refused(zip({{.name = "a.txt", .data = "text"}}), {"'a.txt' is no .npy array"});
    check_bytes_refused(zip({{.name = "a.npy", .data = "text, not an array"}}), {"member 'a'", "wrong first bytes"});
    check_bytes_refused(zip({{.name = "a\x1b[0m.npy", .data = "x"}}), {"unprintable"});
}

BOOST_AUTO_TEST_CASE(dtypes_that_are_not_read_are_named) {
    for (const std::string descr : {"<f8", ">f4", "<f2", "<i4", "|O", "=f4"}) {
        check_bytes_refused(zip({{.name = "w.npy", .data = npy(header("(1,)", descr), {1.0f, 2.0f})}}),
                            {"'w'", descr, "<f4"});
    }
    check_bytes_refused(
        zip({{.name = "w.npy",
              .data = npy("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,)}", {1.0f})}}),
        {"structured"});
    check_bytes_refused(zip({{.name = "w.npy", .data = npy(header("(1,)"), {1.0f}, 3)}}), {"npy version 3.0"});
}

BOOST_AUTO_TEST_CASE(npy_headers_that_are_wrong) {
    const std::vector<float> two = {1.0f, 2.0f};
    for (const std::string shape : {"(3,)", "(1,)", "(2, 2)", "()", "(9223372036854775808, 4)",
                                    "(4294967296, 4294967296)", "(4611686018427387904,)"}) {
        check_bytes_refused(zip({array("w", shape, two)}), {"'w'", "shape does not fit"});
    }
    for (const std::string shape :
         {"(-2,)", "2", "(2", "(2 3)", "(2.0,)", "(99999999999999999999,)", "[2]", "('2',)"}) {
        check_bytes_refused(zip({array("w", shape, two)}), {"'w'", "bad npy header"});
    }
    for (const std::string text :
         {"", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "not a dictionary",
          "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
          "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
          "{'descr': <f4, 'fortran_order': False, 'shape': (2,)}",
          "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
          "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} import os",
          "{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}"}) {
        check_bytes_refused(zip({{.name = "w.npy", .data = npy(text, two)}}), {"'w'", "bad npy header"});
    }
    check_bytes_refused(zip({{.name = "w.npy", .data = npy(std::string(20000, ' ') + header("(2,)"), two)}}),
                        {"'w'", "10000"});
    check_bytes_refused(zip({{.name = "w.npy", .data = std::string("\x93NUMPY\1\0\xff\x00{", 11)}}),
                        {"'w'", "cut short"});
}

BOOST_AUTO_TEST_CASE(archives_that_lie) {
    const auto w = array("w", "(100,)", counting(100));
    auto changed = [&](auto change) {
        ZipMember member = w;
        change(member);
        return zip({member});
    };
    check_bytes_refused(zip({w, w}), {"'w.npy' occurs twice"});
    check_bytes_refused(zip({w}, {.extra_count = 1}), {"counts 2 members"});
    check_bytes_refused(changed([](auto& m) { m.flags = 1; }), {"encrypted"});
    check_bytes_refused(changed([](auto& m) { m.method = 12; }), {"method 12"});
    for (const bool deflated : {false, true}) {
        check_bytes_refused(changed([&](auto& m) { m.deflated = deflated, m.crc = 1; }), {"CRC-32"});
    }
    check_bytes_refused(changed([](auto& m) { m.claimed_bytes = 4000; }), {"claims 4000 bytes"});
    // Plausible by ratio, but the stream gives less or more than stated.
    const std::string zeros = npy(header("(25000,)"), std::vector<float>(25000));
    const std::string fewer = npy(header("(24000,)"), std::vector<float>(25000));
    check_bytes_refused(zip({{.name = "w.npy",
                              .data = npy(header("(26000,)"), std::vector<float>(25000)),
                              .deflated = true,
                              .claimed_bytes = zeros.size() + 4000}}),
                        {"fewer than"});
    check_bytes_refused(zip({{.name = "w.npy", .data = fewer, .deflated = true, .claimed_bytes = fewer.size() - 4000}}),
                        {"unpacks to more"});
    // A claim that no deflate stream can keep is refused before anything is allocated.
    const std::string bomb = npy(header("(1000000000000,)"), std::vector<float>(100));
    check_bytes_refused(zip({{.name = "w.npy",
                              .data = bomb,
                              .deflated = true,
                              .zip64 = true,
                              .claimed_bytes = bomb.size() - 400 + 4000000000000}}),
                        {"which cannot be"});
    // Bytes after the end of the deflated data.
    std::string tail = deflate_raw(w.data) + "more";
    check_bytes_refused(zip({{.name = "w.npy",
                              .data = tail,
                              .method = 8,
                              .crc = static_cast<std::uint32_t>(::crc32(
                                  0, reinterpret_cast<const Bytef*>(w.data.data()), static_cast<uInt>(w.data.size()))),
                              .claimed_bytes = w.data.size()}}),
                        {"after the end"});
}

BOOST_AUTO_TEST_CASE(members_that_overlap) {
    // The directory of 'outer' and 'inner', where the data of 'outer' is the whole local record of 'inner'.
    const ZipMember inner = array("inner", "(2,)", {1.0f, 2.0f});
    const std::string inner_zip = zip({inner});
    const std::string inner_record = inner_zip.substr(0, 30 + inner.name.size() + inner.data.size());
    const ZipMember outer{.name = "outer.npy", .data = inner_record};
    std::string bytes = zip({outer, inner});
    const std::size_t first = 30 + outer.name.size();  // where the record lies inside 'outer'
    const std::size_t entry = bytes.find("PK\1\2", bytes.find("PK\1\2") + 1);
    const auto offset = static_cast<std::uint32_t>(first);
    std::memcpy(bytes.data() + entry + 42, &offset, 4);
    check_bytes_refused(bytes, {"overlap"});
}

BOOST_AUTO_TEST_CASE(every_truncation_is_refused) {
    const auto a = array("a", "(3, 5)", counting(15));
    auto b = array("b", "(4,)", counting(4));
    b.deflated = b.zip64 = true;
    const std::string bytes = zip({a, b}, {.zip64 = true});
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        const std::string path = save(bytes.substr(0, n));
        BOOST_CHECK_THROW(io::NpzFile{path}, InputError);
    }
}

BOOST_AUTO_TEST_CASE(every_changed_byte_is_refused_or_changes_nothing) {
    const auto values = counting(15);
    for (const bool deflated : {false, true}) {
        for (const bool zip64 : {false, true}) {
            auto a = array("a", "(3, 5)", values);
            a.deflated = deflated;
            a.zip64 = zip64;
            const std::string bytes = zip({a, array("b", "(4,)", counting(4))}, {.zip64 = zip64});
            std::size_t n_refused = 0;
            for (std::size_t at = 0; at < bytes.size(); ++at) {
                for (const unsigned char mask : {0x01, 0x80, 0xff}) {
                    std::string changed = bytes;
                    changed[at] = static_cast<char>(changed[at] ^ mask);
                    const std::string path = save(changed);
                    try {
                        const io::NpzFile file(path);
                        BOOST_TEST(file.members().size() == 2u);
                        for (const auto& member : file.members()) {
                            const auto read = file.read(member);
                            BOOST_TEST((read == (member.name == "a" ? values : counting(4))), "byte " << at);
                        }
                    } catch (const InputError&) {
                        ++n_refused;
                    }
                }
            }
            BOOST_TEST(n_refused > bytes.size());  // most bytes matter; times and attributes do not
        }
    }
}
