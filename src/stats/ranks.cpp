// Rank statistics of two groups, all from one representation: groups of equal scores in ascending order.
#include "pva/stats/ranks.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <string>

#include "pva/core/error.h"

namespace pva::stats {

namespace {

void require_numbers(std::span<const double> values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (std::isnan(values[i])) {
            throw InputError("score number " + std::to_string(i) +
                             " is not a number and has no rank; find out why it could not be computed");
        }
    }
}

void require_group_sizes(std::uint64_t n_positives, std::uint64_t n_negatives, std::uint64_t least, const char* what) {
    if (n_positives < least || n_negatives < least) {
        throw InputError(std::string(what) + " needs at least " + std::to_string(least) +
                         " scores in each class, got " + std::to_string(n_positives) + " positive and " +
                         std::to_string(n_negatives) + " negative; use more data");
    }
}

double two_sided_p(double z) {
    return std::min(1.0, 2 * boost::math::cdf(boost::math::complement(boost::math::normal(), std::fabs(z))));
}

struct GroupTotals {
    std::uint64_t positives = 0;
    std::uint64_t negatives = 0;
};

GroupTotals totals(std::span<const TieGroup> groups) {
    GroupTotals sum;
    for (const TieGroup& group : groups) {
        sum.positives += group.positives;
        sum.negatives += group.negatives;
    }
    return sum;
}

// Twice U, as an integer: the AUROC then carries one rounding only, and 1/2 and 1 come out exactly.
std::uint64_t twice_u(std::span<const TieGroup> groups) {
    std::uint64_t result = 0;
    std::uint64_t negatives_below = 0;
    for (const TieGroup& group : groups) {
        result += group.positives * (2 * negatives_below + group.negatives);
        negatives_below += group.negatives;
    }
    return result;
}

double auroc_of(std::span<const TieGroup> groups, const GroupTotals& n) {
    return static_cast<double>(twice_u(groups)) /
           (2.0 * static_cast<double>(n.positives) * static_cast<double>(n.negatives));
}

// DeLong's structural components of each row: the share of the other class that it is on the right side of.
std::vector<double> components(std::span<const double> own, std::span<const double> other, bool own_is_positive) {
    std::vector<double> sorted(other.begin(), other.end());
    std::sort(sorted.begin(), sorted.end());
    std::vector<double> result;
    result.reserve(own.size());
    for (double score : own) {
        const auto range = std::equal_range(sorted.begin(), sorted.end(), score);
        const double below = static_cast<double>(range.first - sorted.begin());
        const double ties = static_cast<double>(range.second - range.first);
        const double above = static_cast<double>(sorted.end() - range.second);
        result.push_back(((own_is_positive ? below : above) + 0.5 * ties) / static_cast<double>(other.size()));
    }
    return result;
}

}  // namespace

TwoGroups split_by_label(std::span<const double> scores, std::span<const std::uint8_t> labels) {
    if (scores.size() != labels.size()) {
        throw InputError(std::to_string(scores.size()) + " scores but " + std::to_string(labels.size()) +
                         " labels; they must describe the same rows");
    }
    require_numbers(scores);
    TwoGroups groups;
    for (std::size_t i = 0; i < scores.size(); ++i) {
        if (labels[i] > 1) {
            throw InputError("label number " + std::to_string(i) + " is " + std::to_string(labels[i]) +
                             ", expected 0 or 1");
        }
        (labels[i] == 1 ? groups.positives : groups.negatives).push_back(scores[i]);
    }
    return groups;
}

std::vector<TieGroup> tie_groups(std::span<const double> positives, std::span<const double> negatives) {
    require_numbers(positives);
    require_numbers(negatives);
    std::vector<double> p(positives.begin(), positives.end());
    std::vector<double> n(negatives.begin(), negatives.end());
    std::sort(p.begin(), p.end());
    std::sort(n.begin(), n.end());
    std::vector<TieGroup> groups;
    std::size_t i = 0;
    std::size_t j = 0;
    while (i < p.size() || j < n.size()) {
        const double score = j == n.size() || (i < p.size() && p[i] < n[j]) ? p[i] : n[j];
        TieGroup group;
        for (; i < p.size() && p[i] == score; ++i)
            ++group.positives;
        for (; j < n.size() && n[j] == score; ++j)
            ++group.negatives;
        groups.push_back(group);
    }
    return groups;
}

std::vector<double> midranks(std::span<const double> values) {
    require_numbers(values);
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return values[i] < values[j]; });
    std::vector<double> ranks(values.size());
    for (std::size_t begin = 0; begin < order.size();) {
        std::size_t end = begin;
        while (end < order.size() && values[order[end]] == values[order[begin]])
            ++end;
        const double rank = 0.5 * static_cast<double>(begin + 1 + end);
        for (; begin < end; ++begin)
            ranks[order[begin]] = rank;
    }
    return ranks;
}

MannWhitney mann_whitney(std::span<const double> positives, std::span<const double> negatives,
                         ContinuityCorrection correction) {
    require_group_sizes(positives.size(), negatives.size(), 1, "Mann-Whitney's test");
    const std::vector<TieGroup> groups = tie_groups(positives, negatives);
    const double n1 = static_cast<double>(positives.size());
    const double n0 = static_cast<double>(negatives.size());
    const double n = n1 + n0;
    MannWhitney result;
    result.u = 0.5 * static_cast<double>(twice_u(groups));
    // With all scores equal the variance is exactly 0; the formula would leave a rounding error.
    if (groups.size() == 1) return result;
    double ties = 0;
    for (const TieGroup& group : groups) {
        const double t = static_cast<double>(group.positives + group.negatives);
        ties += t * t * t - t;
    }
    result.variance = n1 * n0 / 12 * ((n + 1) - ties / (n * (n - 1)));
    double distance = result.u - n1 * n0 / 2;
    if (correction == ContinuityCorrection::half) {
        // Towards the centre, but not past it.
        distance = std::copysign(std::max(0.0, std::fabs(distance) - 0.5), distance);
    }
    result.z = distance / std::sqrt(result.variance);
    result.p = two_sided_p(result.z);
    return result;
}

double auroc(std::span<const double> positives, std::span<const double> negatives) {
    require_group_sizes(positives.size(), negatives.size(), 1, "AUROC");
    return auroc_of(tie_groups(positives, negatives), {positives.size(), negatives.size()});
}

double DelongAuroc::standard_error() const {
    return std::sqrt(variance);
}

DelongAuroc delong(std::span<const double> positives, std::span<const double> negatives) {
    return delong(tie_groups(positives, negatives));
}

DelongAuroc delong(std::span<const TieGroup> groups) {
    const GroupTotals n = totals(groups);
    require_group_sizes(n.positives, n.negatives, 2, "DeLong's variance of the AUROC");
    const double n1 = static_cast<double>(n.positives);
    const double n0 = static_cast<double>(n.negatives);
    DelongAuroc result;
    result.n_positives = n.positives;
    result.n_negatives = n.negatives;
    result.auroc = auroc_of(groups, n);
    double squares_positives = 0;
    double squares_negatives = 0;
    std::uint64_t positives_below = 0;
    std::uint64_t negatives_below = 0;
    for (const TieGroup& group : groups) {
        const double p = static_cast<double>(group.positives);
        const double q = static_cast<double>(group.negatives);
        const std::uint64_t positives_above = n.positives - positives_below - group.positives;
        const double v10 = (static_cast<double>(negatives_below) + 0.5 * q) / n0 - result.auroc;
        const double v01 = (static_cast<double>(positives_above) + 0.5 * p) / n1 - result.auroc;
        squares_positives += p * (v10 * v10);
        squares_negatives += q * (v01 * v01);
        positives_below += group.positives;
        negatives_below += group.negatives;
    }
    result.variance = squares_positives / (n1 - 1) / n1 + squares_negatives / (n0 - 1) / n0;
    return result;
}

Interval delong_interval(const DelongAuroc& auroc, double confidence) {
    const double z = two_sided_normal_quantile(confidence);
    const double a = auroc.auroc;
    if (auroc.variance == 0) {
        const double pairs = static_cast<double>(std::min(auroc.n_positives, auroc.n_negatives));
        const double r = std::pow((1 - confidence) / 2, 1 / pairs);
        if (a == 1) return {r, 1};
        if (a == 0) return {0, 1 - r};
        return {r / 2, 1 - r / 2};
    }
    const double logit = std::log(a / (1 - a));
    const double half_width = z * auroc.standard_error() / (a * (1 - a));
    return {1 / (1 + std::exp(half_width - logit)), 1 / (1 + std::exp(-half_width - logit))};
}

PairedDelong delong_paired(std::span<const double> scores_a, std::span<const double> scores_b,
                           std::span<const std::uint8_t> labels) {
    const TwoGroups a = split_by_label(scores_a, labels);
    const TwoGroups b = split_by_label(scores_b, labels);
    const DelongAuroc delong_a = delong(a.positives, a.negatives);
    const DelongAuroc delong_b = delong(b.positives, b.negatives);
    PairedDelong result;
    result.auroc_a = delong_a.auroc;
    result.auroc_b = delong_b.auroc;
    const double difference = result.auroc_a - result.auroc_b;
    // The variance of a difference is the variance of the differences of the components: no cancellation of
    // covariances.
    const auto part = [&](const std::vector<double>& va, const std::vector<double>& vb) {
        double squares = 0;
        for (std::size_t i = 0; i < va.size(); ++i) {
            const double deviation = (va[i] - vb[i]) - difference;
            squares += deviation * deviation;
        }
        const double n = static_cast<double>(va.size());
        return squares / (n - 1) / n;
    };
    result.variance = part(components(a.positives, a.negatives, true), components(b.positives, b.negatives, true)) +
                      part(components(a.negatives, a.positives, false), components(b.negatives, b.positives, false));
    // Components are multiples of 1/(2 n): what stays below this is rounding of equal differences, not variance.
    if (result.variance < 1e-28) {
        result.variance = 0;
        result.degenerate = true;
        return result;
    }
    result.z = difference / std::sqrt(result.variance);
    result.p = two_sided_p(result.z);
    return result;
}

}  // namespace pva::stats
