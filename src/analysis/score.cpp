// Scores by name.
#include "pva/analysis/score.h"

#include <array>
#include <cmath>
#include <utility>

#include "pva/core/error.h"

namespace pva::analysis {

namespace {

constexpr std::array<std::pair<Score, std::string_view>, 5> names = {{{Score::auroc, "auroc"},
                                                                      {Score::cohens_d, "cohens-d"},
                                                                      {Score::welch_t, "welch-t"},
                                                                      {Score::frequency_difference,
                                                                       "frequency-difference"},
                                                                      {Score::notebook_d, "notebook-d"}}};

// abs(mean difference) / sqrt(((n1 - 1)(sd1 + 1e-8)^2 + (n0 - 1)(sd0 + 1e-8)^2) / (n1 + n0 - 2)), with the sign kept.
double notebook_d(const LatentStatistics& s, std::uint64_t right, std::uint64_t wrong) {
    const double sd_right = std::sqrt(s.variance_right) + 1e-8;
    const double sd_wrong = std::sqrt(s.variance_wrong) + 1e-8;
    const double n1 = static_cast<double>(right);
    const double n0 = static_cast<double>(wrong);
    const double pooled = ((n1 - 1) * (sd_right * sd_right) + (n0 - 1) * (sd_wrong * sd_wrong)) / (n1 + n0 - 2);
    return (s.mean_right - s.mean_wrong) / std::sqrt(pooled);
}

}  // namespace

std::string_view score_name(Score score) {
    for (const auto& [value, name] : names) {
        if (value == score) return name;
    }
    throw InternalError("a score without a name");
}

std::vector<std::string> score_names() {
    std::vector<std::string> result;
    for (const auto& [value, name] : names)
        result.emplace_back(name);
    return result;
}

Score score_from_name(std::string_view name) {
    for (const auto& [value, known] : names) {
        if (known == name) return value;
    }
    throw UsageError("no score is called '" + std::string(name) +
                     "'. Known: auroc, cohens-d, welch-t, frequency-difference, notebook-d");
}

double signed_score(Score score, const LatentStatistics& s, std::uint64_t right, std::uint64_t wrong) {
    double value = 0;
    switch (score) {
        case Score::auroc:
            value = s.auroc - 0.5;
            break;
        case Score::cohens_d:
            value = s.cohens_d;
            break;
        case Score::welch_t:
            value = s.welch_t;
            break;
        case Score::frequency_difference:
            value = s.frequency_difference;
            break;
        case Score::notebook_d:
            value = notebook_d(s, right, wrong);
            break;
    }
    return std::isnan(value) ? 0.0 : value;
}

}  // namespace pva::analysis
