// Intervals of a proportion and the Benjamini-Hochberg procedure.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <vector>

#include "pva/core/error.h"
#include "pva/stats/intervals.h"
#include "pva/stats/multiple.h"

using namespace pva::stats;
namespace tt = boost::test_tools;

BOOST_AUTO_TEST_SUITE(intervals_suite)

BOOST_AUTO_TEST_CASE(worked_examples) {
    BOOST_TEST(wilson(11, 272).lower == 0.022729, tt::tolerance(5e-5));
    BOOST_TEST(wilson(11, 272).upper == 0.070954, tt::tolerance(5e-5));
    BOOST_TEST(clopper_pearson(11, 272).lower == 0.020358, tt::tolerance(5e-5));
    BOOST_TEST(clopper_pearson(11, 272).upper == 0.071207, tt::tolerance(5e-5));
    BOOST_TEST(wilson(17, 116).lower == 0.0936, tt::tolerance(1e-3));
    BOOST_TEST(wilson(17, 116).upper == 0.2222, tt::tolerance(1e-3));
    BOOST_TEST(two_sided_normal_quantile(0.95) == 1.959963984540054, tt::tolerance(1e-14));
}

BOOST_AUTO_TEST_CASE(ends) {
    BOOST_TEST(wilson(0, 272).lower == 0.0);
    BOOST_TEST(wilson(0, 272).upper == 0.0139, tt::tolerance(5e-3));
    BOOST_TEST(wilson(5, 5).upper == 1.0);
    BOOST_TEST(wilson(0, 0).lower == 0.0);
    BOOST_TEST(wilson(0, 0).upper == 1.0);
    BOOST_TEST(clopper_pearson(0, 0).lower == 0.0);
    BOOST_TEST(clopper_pearson(0, 0).upper == 1.0);
    BOOST_TEST(clopper_pearson(0, 3).lower == 0.0);
    BOOST_TEST(clopper_pearson(0, 3).upper == 1 - std::cbrt(0.025), tt::tolerance(1e-12));
    BOOST_TEST(clopper_pearson(3, 3).upper == 1.0);
}

BOOST_AUTO_TEST_CASE(bad_input) {
    BOOST_CHECK_THROW(wilson(2, 1), pva::InputError);
    BOOST_CHECK_THROW(clopper_pearson(2, 1), pva::InputError);
    BOOST_CHECK_THROW(wilson(1, 2, 1.0), pva::InputError);
    BOOST_CHECK_THROW(clopper_pearson(1, 2, 0.0), pva::InputError);
    BOOST_CHECK_THROW(two_sided_normal_quantile(95), pva::InputError);
}

BOOST_AUTO_TEST_CASE(benjamini_hochberg_worked_example) {
    const std::vector<double> p = {.001, .008, .039, .041, .042, .06, .074, .205, .212, .216};
    const std::vector<double> q = {.01, .04, .084, .084, .084, .1, .105714, .216, .216, .216};
    const std::vector<double> computed = benjamini_hochberg(p);
    for (std::size_t i = 0; i < p.size(); ++i)
        BOOST_TEST(computed[i] == q[i], tt::tolerance(1e-5));
}

BOOST_AUTO_TEST_CASE(benjamini_hochberg_keeps_the_order_of_the_input) {
    const std::vector<double> p = {0.9, 0.01, 0.9, 0.02};
    const std::vector<double> q = {0.9, 0.04, 0.9, 0.04};
    BOOST_TEST(benjamini_hochberg(p) == q, tt::tolerance(1e-15) << tt::per_element());
}

BOOST_AUTO_TEST_CASE(benjamini_hochberg_edges) {
    BOOST_TEST(benjamini_hochberg({}).empty());
    BOOST_TEST(benjamini_hochberg(std::vector<double>{0.3})[0] == 0.3);
    BOOST_TEST(benjamini_hochberg(std::vector<double>(3, 1.0))[0] == 1.0);
    BOOST_CHECK_THROW(benjamini_hochberg(std::vector<double>{0.1, 1.1}), pva::InputError);
    BOOST_CHECK_THROW(benjamini_hochberg(std::vector<double>{std::nan("")}), pva::InputError);
    BOOST_CHECK_THROW(benjamini_hochberg(std::vector<double>{-0.1}), pva::InputError);
}

BOOST_AUTO_TEST_SUITE_END()
