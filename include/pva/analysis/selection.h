// From the statistics of all latents of all layers to one ranked list for each direction.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/analysis/direction.h"
#include "pva/analysis/latent_statistics.h"
#include "pva/analysis/score.h"

namespace pva::analysis {

/// Everything known about the latents of one layer. The spans are indexed by latent.
struct LayerStatistics {
    std::uint32_t layer = 0;
    std::span<const LatentStatistics> latents;
    std::span<const double> general_text_rate;  ///< share of positions of general text on which the latent fires
    std::span<const double> permutation_p;      ///< of each tested latent; may be empty where rule.q_from does not ask
};

enum class TestFor : std::uint8_t { mann_whitney, permutation };

/// The filters look at no label, so that they leave the tests that follow valid.
struct SelectionRule {
    Score score = Score::auroc;
    double max_general_text_rate = 0.02;  ///< kept if rate <= this
    bool strict = false;                  ///< kept if rate < that, as the published study has it
    std::uint64_t min_rows = 5;           ///< tested if the latent fires on at least so many rows of the part
    std::uint32_t top_k = 20;             ///< longest list for each direction
    /// 0: filter, then rank. Else as the published study: rank, take so many of each direction, then filter.
    std::uint32_t filter_after = 0;
    TestFor q_from = TestFor::mann_whitney;
};

/// What became of a latent.
enum class Kept : std::uint8_t { rare = 0, kept = 1, general_text = 2 };

struct RankedLatent {
    std::uint32_t layer = 0;
    std::uint32_t latent = 0;
    Direction direction = Direction::right;
    double score = 0;  ///< |signed_score|
    double general_text_rate = 0;
    double q_value = 1;
    LatentStatistics statistics;
};

struct Selection {
    std::vector<RankedLatent> right;           ///< best first
    std::vector<RankedLatent> wrong;           ///< best first
    std::uint64_t n_latents = 0;               ///< = n_dropped_rare + n_dropped_general_text + n_kept
    std::uint64_t n_dropped_rare = 0;          ///< fire on fewer than min_rows rows: not tested
    std::uint64_t n_dropped_general_text = 0;  ///< fire often enough, but too often on general text
    std::uint64_t n_kept = 0;
    std::vector<std::vector<Kept>> kept;       ///< [layer][latent]
    /// [layer][latent] Benjamini-Hochberg q among all tested latents of all layers; NaN where not tested.
    std::vector<std::vector<double>> q_values;
};

/// Tests (q over every latent that fires on min_rows rows), filters, ranks by |score| on the side of the direction; ties by
/// (layer, latent), lower first. A latent with score 0 is in neither list, so a list can be shorter than top_k. `right`,
/// `wrong`: rows of each class. InputError for a layer given twice, and for general-text rates that are missing or no
/// shares.
Selection rank_latents(std::span<const LayerStatistics> layers, std::uint64_t right, std::uint64_t wrong,
                       const SelectionRule& rule = {});

/// Figures of |score| over all latents of a layer, as the first notebook prints them.
struct SeparationSummary {
    std::uint64_t dimensions = 0;
    double mean = 0;
    double standard_deviation = 0;  ///< of the population (n), as numpy.std
    double max = 0;
    std::vector<std::uint32_t> top_indices;  ///< by (-|score|, latent)
    std::vector<double> top_scores;
};
SeparationSummary separation_summary(std::span<const LatentStatistics> latents, std::uint64_t right, std::uint64_t wrong,
                                     Score score, std::uint32_t top_k);

}  // namespace pva::analysis
