// Lists of options taken apart.
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "pva/core/comma_list.h"

using Items = std::vector<std::string>;

BOOST_AUTO_TEST_SUITE(comma_list)

BOOST_AUTO_TEST_CASE(items_stand_between_commas_without_blanks_around_them) {
    BOOST_TEST(pva::split_at_commas("a,b c, d ") == (Items{"a", "b c", "d"}), boost::test_tools::per_element());
    BOOST_TEST(pva::split_at_commas("only") == Items{"only"}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(empty_items_are_kept_or_left_out) {
    BOOST_TEST(pva::split_at_commas(",a,  ,b,") == (Items{"", "a", "", "b", ""}), boost::test_tools::per_element());
    BOOST_TEST(pva::split_at_commas("") == Items{""}, boost::test_tools::per_element());
    BOOST_TEST(pva::names_at_commas(",a,  ,b,") == (Items{"a", "b"}), boost::test_tools::per_element());
    BOOST_TEST(pva::names_at_commas(" ").empty());
}

BOOST_AUTO_TEST_SUITE_END()
