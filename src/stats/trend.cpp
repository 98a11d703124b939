// Trend of shares and of estimates over ordered groups.
#include "pva/stats/trend.h"

#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "pva/core/error.h"

namespace pva::stats {

namespace {

double normal_p(double z, Alternative alternative) {
    const boost::math::normal standard;
    if (alternative == Alternative::less) return boost::math::cdf(standard, z);
    const double upper =
        boost::math::cdf(boost::math::complement(standard, alternative == Alternative::greater ? z : std::fabs(z)));
    return alternative == Alternative::greater ? upper : 2 * upper;
}

void require_same_length(std::size_t a, std::size_t b, const char* what) {
    if (a != b) {
        throw InputError("a trend over " + std::to_string(a) + " groups got " + std::to_string(b) + " " + what +
                         "; one for each group is needed");
    }
}

void require_finite(std::span<const double> values, const char* what) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) {
            throw InputError(std::string(what) + " number " + std::to_string(i) +
                             " of a trend is not a finite number; leave out groups that could not be measured");
        }
    }
}

struct WeightedLine {
    double slope = 0;
    double squares = 0;  // weighted sum of squared distances of the scores from their weighted mean
};

WeightedLine weighted_line(std::span<const double> scores, std::span<const double> estimates,
                           std::span<const double> weights) {
    require_same_length(scores.size(), estimates.size(), "estimates");
    require_same_length(scores.size(), weights.size(), "weights");
    require_finite(scores, "score");
    require_finite(estimates, "estimate");
    require_finite(weights, "weight");
    double total = 0, mean_score = 0, mean_estimate = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
        if (!(weights[i] > 0)) {
            throw InputError("weight number " + std::to_string(i) + " of a trend is " + std::to_string(weights[i]) +
                             ", expected a number above 0; leave out groups without rows");
        }
        total += weights[i];
        mean_score += weights[i] * scores[i];
        mean_estimate += weights[i] * estimates[i];
    }
    mean_score /= total;
    mean_estimate /= total;
    bool differ = false;
    WeightedLine line;
    double products = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
        differ = differ || scores[i] != scores[0];
        const double distance = scores[i] - mean_score;
        line.squares += weights[i] * distance * distance;
        products += weights[i] * distance * (estimates[i] - mean_estimate);
    }
    if (!differ) {
        throw InputError("a trend needs groups of at least two different scores, got " + std::to_string(scores.size()) +
                         " of one score");
    }
    line.slope = products / line.squares;
    return line;
}

}  // namespace

TrendTest cochran_armitage(std::span<const std::uint64_t> successes, std::span<const std::uint64_t> trials,
                           std::span<const double> scores, Alternative alternative) {
    require_same_length(trials.size(), successes.size(), "numbers of successes");
    require_same_length(trials.size(), scores.size(), "scores");
    require_finite(scores, "score");
    double n = 0, all_successes = 0, mean = 0;
    for (std::size_t i = 0; i < trials.size(); ++i) {
        if (successes[i] > trials[i]) {
            throw InputError("group number " + std::to_string(i) + " has " + std::to_string(successes[i]) +
                             " successes in " + std::to_string(trials[i]) +
                             " trials; successes must not exceed trials: check which counts are passed");
        }
        n += static_cast<double>(trials[i]);
        all_successes += static_cast<double>(successes[i]);
        mean += static_cast<double>(trials[i]) * scores[i];
    }
    if (n < 2 || all_successes == 0 || all_successes == n) return {};
    mean /= n;
    double statistic = 0, squares = 0;
    bool differ = false;
    const double* first = nullptr;
    for (std::size_t i = 0; i < trials.size(); ++i) {
        if (trials[i] == 0) continue;
        if (first == nullptr) first = &scores[i];
        differ = differ || scores[i] != *first;
        statistic += static_cast<double>(successes[i]) * (scores[i] - mean);
        squares += static_cast<double>(trials[i]) * (scores[i] - mean) * (scores[i] - mean);
    }
    if (!differ) return {};
    const double share = all_successes / n;
    TrendTest test;
    test.z = statistic / std::sqrt(share * (1 - share) * squares * n / (n - 1));
    test.p = normal_p(test.z, alternative);
    return test;
}

LinearTrend weighted_trend(std::span<const double> scores, std::span<const double> estimates,
                           std::span<const double> standard_errors) {
    std::vector<double> weights;
    for (std::size_t i = 0; i < standard_errors.size(); ++i) {
        if (!(standard_errors[i] > 0) || !std::isfinite(standard_errors[i])) {
            throw InputError("standard error number " + std::to_string(i) + " of a trend is " +
                             std::to_string(standard_errors[i]) +
                             ", expected a finite number above 0; leave out groups that could not be measured");
        }
        weights.push_back(1 / (standard_errors[i] * standard_errors[i]));
    }
    const WeightedLine line = weighted_line(scores, estimates, weights);
    LinearTrend trend;
    trend.slope = line.slope;
    trend.standard_error = 1 / std::sqrt(line.squares);
    trend.z = trend.slope / trend.standard_error;
    trend.p = normal_p(trend.z, Alternative::two_sided);
    return trend;
}

double weighted_slope(std::span<const double> scores, std::span<const double> estimates,
                      std::span<const double> weights) {
    return weighted_line(scores, estimates, weights).slope;
}

}  // namespace pva::stats
