// Moments and differences of two means: worked example, limits, merging of zeros, bad input.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "pva/core/error.h"
#include "pva/stats/moments.h"

using namespace pva::stats;
namespace tt = boost::test_tools;

namespace {

const std::vector<double> positives = {0, 0, 1.5, 2, 2, 3.5};
const std::vector<double> negatives = {0, 0, 0, 0.5, 1, 2, 0, 0};
const double infinity = std::numeric_limits<double>::infinity();

}  // namespace

BOOST_AUTO_TEST_SUITE(moments_suite)

BOOST_AUTO_TEST_CASE(worked_example) {
    const Moments a = moments(positives);
    const Moments b = moments(negatives);
    BOOST_TEST(a.count == 6u);
    BOOST_TEST(a.mean == 1.5);
    BOOST_TEST(a.variance() == 1.8, tt::tolerance(1e-15));
    const WelchTest welch = welch_t(a, b);
    BOOST_TEST(welch.t == 1.755284, tt::tolerance(1e-6));
    BOOST_TEST(welch.df == 7.206321, tt::tolerance(1e-6));
    BOOST_TEST(welch.p == 0.121419, tt::tolerance(1e-5));
    BOOST_TEST(cohens_d(a, b) == 1.032042, tt::tolerance(1e-6));
    BOOST_TEST(hedges_g(a, b) == 0.965931, tt::tolerance(1e-6));
    BOOST_TEST(cohens_d(b, a) == -cohens_d(a, b));
    BOOST_TEST(welch_t(b, a).p == welch.p);
}

BOOST_AUTO_TEST_CASE(none_and_one) {
    const Moments none = moments({});
    BOOST_TEST(none.count == 0u);
    BOOST_TEST(none.mean == 0.0);
    BOOST_TEST(std::isnan(none.variance()));
    const std::vector<double> seven = {7};
    const Moments one = moments(seven);
    BOOST_TEST(one.count == 1u);
    BOOST_TEST(one.mean == 7.0);
    BOOST_TEST(one.squared_deviations == 0.0);
    BOOST_TEST(std::isnan(one.variance()));
}

BOOST_AUTO_TEST_CASE(equal_values_have_no_variance) {
    // 0.1 is no binary fraction: a plain sum over 1000 of them divided by 1000 is not 0.1.
    const std::vector<double> tenths(1000, 0.1);
    const Moments m = moments(tenths);
    BOOST_TEST(m.mean == 0.1);
    BOOST_TEST(m.variance() == 0.0);
    BOOST_TEST(cohens_d(m, m) == 0.0);
    BOOST_TEST(welch_t(m, m).t == 0.0);
    BOOST_TEST(welch_t(m, m).p == 1.0);
    BOOST_TEST(welch_t(m, m).df == 1998.0);
}

BOOST_AUTO_TEST_CASE(different_constants_give_the_limits) {
    const Moments low = moments(std::vector<double>(4, 1.0));
    const Moments high = moments(std::vector<double>(3, 2.0));
    BOOST_TEST(cohens_d(high, low) == infinity);
    BOOST_TEST(cohens_d(low, high) == -infinity);
    BOOST_TEST(hedges_g(low, high) == -infinity);
    BOOST_TEST(welch_t(high, low).t == infinity);
    BOOST_TEST(welch_t(low, high).t == -infinity);
    BOOST_TEST(welch_t(low, high).df == 5.0);
    BOOST_TEST(welch_t(low, high).p == 0.0);
}

BOOST_AUTO_TEST_CASE(tiny_units_keep_their_degrees_of_freedom) {
    std::vector<double> a = positives, b = negatives;
    for (double& x : a)
        x *= 1e-120;
    for (double& x : b)
        x *= 1e-120;
    BOOST_TEST(welch_t(moments(a), moments(b)).df == welch_t(moments(positives), moments(negatives)).df,
               tt::tolerance(1e-12));
    BOOST_TEST(welch_t(moments(a), moments(b)).p == welch_t(moments(positives), moments(negatives)).p,
               tt::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(zeros_need_not_be_written_out) {
    const std::vector<double> nonzero = {1.5, 2, 2, 3.5};
    const Moments m = moments_with_zeros(nonzero, 2);
    BOOST_TEST(m.count == 6u);
    BOOST_TEST(m.mean == 1.5);
    BOOST_TEST(m.variance() == 1.8, tt::tolerance(1e-15));
    BOOST_TEST(moments_with_zeros({}, 5).count == 5u);
    BOOST_TEST(moments_with_zeros({}, 5).variance() == 0.0);
}

BOOST_AUTO_TEST_CASE(too_few_values) {
    const std::vector<double> one = {1};
    BOOST_CHECK_THROW(cohens_d(moments(one), moments(negatives)), pva::InputError);
    BOOST_CHECK_THROW(hedges_g(moments(positives), moments({})), pva::InputError);
    BOOST_CHECK_THROW(welch_t(moments(positives), moments(one)), pva::InputError);
}

BOOST_AUTO_TEST_SUITE_END()
