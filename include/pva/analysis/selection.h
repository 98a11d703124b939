// From the statistics of all latents of all layers to one ranked list for each direction.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/analysis/direction.h"
#include "pva/analysis/latent_statistics.h"

namespace pva::analysis {

/// Everything known about the latents of one layer. Both spans are indexed by latent.
struct LayerStatistics {
    std::uint32_t layer = 0;
    std::span<const LatentStatistics> latents;
    std::span<const double> general_text_rate;  ///< share of positions of general text on which the latent fires
};

/// The filters look at no label, so that they leave the tests that follow valid.
struct SelectionRule {
    double max_general_text_rate = 0.02;  ///< kept if rate <= this
    std::uint64_t min_rows = 5;           ///< kept if the latent fires on at least so many rows of the split
    std::uint32_t top_k = 20;             ///< longest list for each direction
};

struct RankedLatent {
    std::uint32_t layer = 0;
    std::uint32_t latent = 0;
    Direction direction = Direction::right;
    double score = 0;  ///< auroc - 1/2 for right, 1/2 - auroc for wrong
    double general_text_rate = 0;
    double q_value = 1;  ///< Benjamini-Hochberg q of Welch's p among all kept latents of all layers
    LatentStatistics statistics;
};

struct Selection {
    std::vector<RankedLatent> right;           ///< best first
    std::vector<RankedLatent> wrong;           ///< best first
    std::uint64_t n_latents = 0;               ///< = n_dropped_rare + n_dropped_general_text + n_kept
    std::uint64_t n_dropped_rare = 0;          ///< fire on fewer than min_rows rows
    std::uint64_t n_dropped_general_text = 0;  ///< fire often enough, but too often on general text
    std::uint64_t n_kept = 0;
};

/// Filters, then ranks by the distance of the AUROC from one half on the side of the direction; ties by (layer,
/// latent), lower first. A latent stands in the list of the side its AUROC is on; with exactly 1/2 in neither, so a
/// list can be shorter than top_k. InputError for a layer given twice, and for general-text rates that are missing or
/// no shares.
Selection rank_latents(std::span<const LayerStatistics> layers, const SelectionRule& rule = {});

}  // namespace pva::analysis
