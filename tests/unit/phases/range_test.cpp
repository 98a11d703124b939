// Pieces of a range of problems: they cover it exactly, and other forms are refused.
#define BOOST_TEST_MODULE range
#include <boost/test/unit_test.hpp>

#include "pva/core/error.h"
#include "pva/phases/inputs.h"

using pva::phases::piece_of;

BOOST_AUTO_TEST_CASE(pieces_cover_the_range) {
    for (const std::int64_t length : {1, 2, 7, 12, 974}) {
        for (std::int64_t pieces = 1; pieces <= std::min<std::int64_t>(length, 13); ++pieces) {
            std::int64_t next = 5;
            for (std::int64_t i = 0; i < pieces; ++i) {
                const auto [first, last] = piece_of(5, 5 + length - 1, std::to_string(i) + "/" + std::to_string(pieces));
                BOOST_TEST(first == next);
                BOOST_TEST((last - first + 1 == length / pieces || last - first + 1 == length / pieces + 1));
                next = last + 1;
            }
            BOOST_TEST(next == 5 + length);
        }
    }
    BOOST_TEST((piece_of(0, 9, "2/4") == std::pair<std::int64_t, std::int64_t>(6, 7)));
}

BOOST_AUTO_TEST_CASE(other_forms_are_refused) {
    for (const char* text : {"", "3", "/", "1/", "/2", "-1/4", "1/4/2", "a/b", "0/0", "1.0/2", " 0/2", "0/12345678901"}) {
        BOOST_CHECK_THROW(piece_of(0, 9, text), pva::UsageError);
    }
    BOOST_CHECK_THROW(piece_of(0, 9, "4/4"), pva::UsageError);
    BOOST_CHECK_THROW(piece_of(0, 2, "0/4"), pva::UsageError);
}
