// SHA-256 by the vectors of FIPS 180-4 and NIST, XXH3 in pieces.
#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

#include "pva/core/checksum.h"
#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "../scratch.h"

using namespace pva;

BOOST_AUTO_TEST_SUITE(hashes)

BOOST_AUTO_TEST_CASE(sha256_vectors) {
    BOOST_TEST(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    BOOST_TEST(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    BOOST_TEST(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    BOOST_TEST(sha256_hex(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

BOOST_AUTO_TEST_CASE(sha256_of_files) {
    const Scratch scratch;
    BOOST_TEST(sha256_file_hex(scratch.write("empty", "")) == sha256_hex(""));
    BOOST_TEST(sha256_file_hex(scratch.write("abc", "abc")) == sha256_hex("abc"));
    // Longer than one block of reading, not a multiple of it, with zero bytes.
    std::string large((std::size_t{2} << 20) + 12345, '\0');
    for (std::size_t i = 0; i < large.size(); i += 7) large[i] = static_cast<char>(i);
    BOOST_TEST(sha256_file_hex(scratch.write("large", large)) == sha256_hex(large));
    for (const std::string& path : {scratch.path + "/absent", scratch.path}) {
        try {
            sha256_file_hex(path);
            BOOST_ERROR("no error for " << path);
        } catch (const InputError& error) {
            BOOST_TEST(std::string(error.what()).find(path) != std::string::npos, error.what());
        }
    }
}

BOOST_AUTO_TEST_CASE(checksums) {
    std::vector<std::byte> bytes(100003);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 3);
    const std::uint64_t whole = checksum(bytes);
    // Of XXH3's specification (test values of the xxHash project): the empty input.
    BOOST_TEST(checksum({}) == 0x2d06800538d394c2u);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{64}, std::size_t{1000}, std::size_t{100000}}) {
        Checksum sum;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            sum.add(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
            sum.add({});
        }
        BOOST_TEST(sum.value() == whole);
        BOOST_TEST(sum.value() == whole);
    }
    // Every flipped bit shows.
    for (const std::size_t at : {std::size_t{0}, std::size_t{50000}, bytes.size() - 1}) {
        bytes[at] ^= std::byte{4};
        BOOST_TEST(checksum(bytes) != whole);
        bytes[at] ^= std::byte{4};
    }
    BOOST_TEST(checksum(std::span(bytes).first(100002)) != whole);
    Checksum first;
    first.add(bytes);
    Checksum moved(std::move(first));
    BOOST_TEST(moved.value() == whole);
}

BOOST_AUTO_TEST_SUITE_END()
