// Binomial tails by the incomplete beta function; the published tests and what is wrong with them.
#include "pva/stats/binomial_test.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <string>

#include "pva/core/error.h"

namespace pva::stats {

namespace {

// P(X >= k).
double upper_tail(std::uint64_t k, std::uint64_t n, double rate) {
    if (k == 0) return 1;
    if (rate == 0) return 0;
    return boost::math::ibeta(static_cast<double>(k), static_cast<double>(n - k + 1), rate);
}

// P(X <= k).
double lower_tail(std::uint64_t k, std::uint64_t n, double rate) {
    if (k == n) return 1;
    if (rate == 1) return 0;
    return boost::math::ibetac(static_cast<double>(k + 1), static_cast<double>(n - k), rate);
}

double two_sided(std::uint64_t k, std::uint64_t n, double rate) {
    const double count = static_cast<double>(n);
    const double mean = count * rate;
    const double observed = static_cast<double>(k);
    if (observed == mean) return 1;
    const boost::math::binomial_distribution<> distribution(count, rate);
    const auto at = [&](std::uint64_t i) { return boost::math::pdf(distribution, static_cast<double>(i)); };
    const double limit = at(k) * (1 + 1e-7);
    // Probabilities fall on both sides of the mode, so the other tail begins where they first come down to the limit.
    const auto mode = std::min(n, static_cast<std::uint64_t>((count + 1) * rate));
    if (observed < mean) {
        std::uint64_t low = std::max(mode, k), high = n + 1;  // first i >= mode with P(i) <= limit, or n + 1
        while (low < high) {
            const std::uint64_t middle = low + (high - low) / 2;
            if (at(middle) <= limit)
                high = middle;
            else
                low = middle + 1;
        }
        return std::min(1.0, lower_tail(k, n, rate) + (low > n ? 0.0 : upper_tail(std::max(low, k + 1), n, rate)));
    }
    std::uint64_t low = 0, high = std::min(mode, k);  // number of i from 0 up with P(i) <= limit
    while (low < high) {
        const std::uint64_t middle = low + (high - low) / 2;
        if (at(middle) <= limit)
            low = middle + 1;
        else
            high = middle;
    }
    return std::min(1.0, upper_tail(k, n, rate) + (low == 0 ? 0.0 : lower_tail(low - 1, n, rate)));
}

}  // namespace

double binomial_p(std::uint64_t successes, std::uint64_t trials, double rate, Alternative alternative) {
    if (successes > trials) {
        throw InputError(std::to_string(successes) + " successes in " + std::to_string(trials) +
                         " trials; successes must not exceed trials: check which counts are passed");
    }
    if (!(rate >= 0 && rate <= 1)) {
        throw InputError("a binomial test against the rate " + std::to_string(rate) +
                         " does not exist; give a rate from 0 to 1");
    }
    if (trials == 0) return 1;
    if (alternative == Alternative::greater) return upper_tail(successes, trials, rate);
    if (alternative == Alternative::less) return lower_tail(successes, trials, rate);
    if (rate == 0) return successes == 0 ? 1 : 0;
    if (rate == 1) return successes == trials ? 1 : 0;
    return two_sided(successes, trials, rate);
}

double published_binomial_p(PublishedBinomialTest test, std::uint64_t successes, std::uint64_t trials,
                            double control_rate) {
    switch (test) {
        case PublishedBinomialTest::correction_from_zero:
        case PublishedBinomialTest::corruption_from_zero:
            return binomial_p(successes, trials, 0, Alternative::greater);
        case PublishedBinomialTest::preservation_from_one:
            return binomial_p(successes, trials, 1, Alternative::less);
        case PublishedBinomialTest::above_control_rate:
            return binomial_p(successes, trials, control_rate, Alternative::greater);
    }
    throw InternalError("a published binomial test without a case");
}

std::string_view fault_of(PublishedBinomialTest test) {
    switch (test) {
        case PublishedBinomialTest::correction_from_zero:
            return "The rate without steering is 0 by construction, so a single corrected program gives p = 0 whatever "
                   "it "
                   "costs in programs broken; McNemar's test sets fixed against broken.";
        case PublishedBinomialTest::corruption_from_zero:
            return "The rate without steering is 0 by construction, so a single corrupted program gives p = 0; any "
                   "disturbance breaks some program: compare with controls.";
        case PublishedBinomialTest::preservation_from_one:
            return "The rate without steering is 1 by construction, so a single broken program gives p = 0; it is the "
                   "corruption test over again.";
        case PublishedBinomialTest::above_control_rate:
            return "The control's rate is taken as known without error although it was measured on as few programs, "
                   "often as "
                   "0, and the programs are the same; Fisher's test, the pooled bound and the rank among controls are "
                   "not so.";
    }
    throw InternalError("a published binomial test without a case");
}

}  // namespace pva::stats
