// Rank statistics of two groups, all from one representation: groups of equal scores in ascending order.
#include "pva/stats/ranks.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
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

// In double throughout: long double costs ten times as much and changes the last digits only.
using InDouble = boost::math::policies::policy<boost::math::policies::promote_double<false>>;

double two_sided_p(double z) {
    const boost::math::normal_distribution<double, InDouble> standard;
    return std::min(1.0, 2 * boost::math::cdf(boost::math::complement(standard, std::fabs(z))));
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
    return mann_whitney(tie_groups(positives, negatives), correction);
}

MannWhitney mann_whitney(std::span<const TieGroup> groups, ContinuityCorrection correction) {
    const GroupTotals sizes = totals(groups);
    require_group_sizes(sizes.positives, sizes.negatives, 1, "Mann-Whitney's test");
    const double n1 = static_cast<double>(sizes.positives);
    const double n0 = static_cast<double>(sizes.negatives);
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

std::optional<double> exact_mann_whitney_p(std::span<const TieGroup> groups, double most_steps) {
    const GroupTotals sizes = totals(groups);
    require_group_sizes(sizes.positives, sizes.negatives, 1, "Mann-Whitney's test");
    const auto size_of = [](const TieGroup& group) { return group.positives + group.negatives; };
    const auto background =
        std::max_element(groups.begin(), groups.end(),
                         [&](const TieGroup& a, const TieGroup& b) { return size_of(a) < size_of(b); }) -
        groups.begin();
    const std::uint64_t n_background = size_of(groups[static_cast<std::size_t>(background)]);
    const std::uint64_t k = sizes.positives + sizes.negatives - n_background;  // rows that are counted through
    if (k == 0) return 1.0;

    // Twice the midrank of each group, less that of the background: which of the background's rows are positive then
    // does not matter, and the statistic is the sum over the positive rows among the k others.
    std::vector<std::int64_t> doubled;
    std::int64_t below = 0;
    for (const TieGroup& group : groups) {
        const auto size = static_cast<std::int64_t>(size_of(group));
        doubled.push_back(2 * below + size + 1);
        below += size;
    }
    const std::int64_t origin = doubled[static_cast<std::size_t>(background)];
    std::int64_t smallest = std::numeric_limits<std::int64_t>::max();
    for (std::size_t g = 0; g < groups.size(); ++g) {
        doubled[g] -= origin;
        if (static_cast<std::ptrdiff_t>(g) != background) smallest = std::min(smallest, doubled[g]);
    }
    // A row's part is `smallest` plus a multiple of `step`.
    std::int64_t step = 0;
    for (std::size_t g = 0; g < groups.size(); ++g) {
        if (static_cast<std::ptrdiff_t>(g) != background) step = std::gcd(step, doubled[g] - smallest);
    }
    step = std::max<std::int64_t>(step, 1);
    std::int64_t observed = 0;
    double cost = 0;
    double range = 0;
    std::vector<std::size_t> items;  // of each of the k rows, ascending, its multiple of `step`
    items.reserve(k);
    for (std::size_t g = 0; g < groups.size(); ++g) {
        if (static_cast<std::ptrdiff_t>(g) == background) continue;
        observed += static_cast<std::int64_t>(groups[g].positives) * doubled[g];
        for (std::uint64_t i = 0; i < size_of(groups[g]); ++i) {
            items.push_back(static_cast<std::size_t>((doubled[g] - smallest) / step));
            range += static_cast<double>(items.back());
            cost += static_cast<double>(std::min<std::uint64_t>(items.size(), sizes.positives)) * (range + 1);
            if (cost > most_steps) return std::nullopt;
        }
    }

    // ways[j][s]: how many sets of j of the rows have the sum s.
    const std::size_t most = static_cast<std::size_t>(std::min<std::uint64_t>(k, sizes.positives));
    const std::size_t width = static_cast<std::size_t>(range) + 1;
    std::vector<double> ways((most + 1) * width, 0.0);
    ways[0] = 1;
    std::size_t reach = 0;  // largest sum so far
    for (std::size_t i = 0; i < items.size(); ++i) {
        for (std::size_t j = std::min(i, most - 1) + 1; j-- > 0;) {
            const double* from = ways.data() + j * width;
            double* to = ways.data() + (j + 1) * width + items[i];
            for (std::size_t s = 0; s <= reach; ++s)
                to[s] += from[s];
        }
        reach += items[i];
    }
    // Weight of each set of j: in how many ways the background gives the other n1 - j positives, up to a factor that
    // the sum over all sets takes out. From the most frequent j outwards, so that nothing overflows.
    const std::size_t least =
        sizes.positives > n_background ? static_cast<std::size_t>(sizes.positives - n_background) : 0;
    const double n1 = static_cast<double>(sizes.positives);
    const double zeros = static_cast<double>(n_background);
    const std::size_t middle = std::clamp(
        static_cast<std::size_t>(static_cast<double>(k) * n1 / (n1 + static_cast<double>(sizes.negatives))), least, most);
    std::vector<double> weight(most + 1, 0.0);
    weight[middle] = 1;
    for (std::size_t j = middle; j < most; ++j)
        weight[j + 1] = weight[j] * (n1 - static_cast<double>(j)) / (zeros - n1 + static_cast<double>(j) + 1);
    for (std::size_t j = middle; j > least; --j)
        weight[j - 1] = weight[j] * (zeros - n1 + static_cast<double>(j)) / (n1 - static_cast<double>(j) + 1);
    double less = 0;
    double greater = 0;
    double total = 0;
    for (std::size_t j = least; j <= most; ++j) {
        double less_j = 0;
        double greater_j = 0;
        double total_j = 0;
        for (std::size_t s = 0; s < width; ++s) {
            const double count = ways[j * width + s];
            const std::int64_t statistic =
                static_cast<std::int64_t>(s) * step + static_cast<std::int64_t>(j) * smallest;
            total_j += count;
            if (statistic <= observed) less_j += count;
            if (statistic >= observed) greater_j += count;
        }
        less += weight[j] * less_j;
        greater += weight[j] * greater_j;
        total += weight[j] * total_j;
    }
    return std::min(1.0, 2 * std::min(less, greater) / total);
}

double auroc(std::span<const double> positives, std::span<const double> negatives) {
    require_group_sizes(positives.size(), negatives.size(), 1, "AUROC");
    return auroc_of(tie_groups(positives, negatives), {positives.size(), negatives.size()});
}

double auroc(std::span<const TieGroup> groups) {
    const GroupTotals n = totals(groups);
    require_group_sizes(n.positives, n.negatives, 1, "AUROC");
    return auroc_of(groups, n);
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
