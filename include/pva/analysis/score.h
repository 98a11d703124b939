// What latents are ranked by.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pva/analysis/latent_statistics.h"

namespace pva::analysis {

enum class Score : std::uint8_t {
    auroc,                 ///< AUROC - 1/2
    cohens_d,              ///< Cohen's d
    welch_t,               ///< Welch's t
    frequency_difference,  ///< firing share of right rows minus that of wrong ones
    notebook_d,            ///< Cohen's d with 1e-8 added to each standard deviation, as the first notebook has it
};

/// "auroc", "cohens-d", "welch-t", "frequency-difference", "notebook-d".
std::string_view score_name(Score score);
std::vector<std::string> score_names();
/// UsageError for another name.
Score score_from_name(std::string_view name);

/// Above 0 where the latent speaks for right programs, below 0 for wrong ones. `right`, `wrong`: rows of each class. 0
/// where the score is not defined (a class of one row).
double signed_score(Score score, const LatentStatistics& statistics, std::uint64_t right, std::uint64_t wrong);

}  // namespace pva::analysis
