// Filtering and ranking of latents.
#include "pva/analysis/selection.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include "pva/core/error.h"
#include "pva/stats/multiple.h"

namespace pva::analysis {

namespace {

void require_valid(std::span<const LayerStatistics> layers, const SelectionRule& rule) {
    if (!(rule.max_general_text_rate >= 0 && rule.max_general_text_rate <= 1)) {
        throw InputError("highest firing rate on general text is " + std::to_string(rule.max_general_text_rate) +
                         ", expected a share from 0 to 1; 0.02 is usual");
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const std::string where = "layer " + std::to_string(layers[i].layer);
        for (std::size_t j = 0; j < i; ++j) {
            if (layers[j].layer == layers[i].layer) throw InputError(where + " is given twice; give each layer once");
        }
        if (layers[i].general_text_rate.size() != layers[i].latents.size()) {
            throw InputError(where + " has statistics of " + std::to_string(layers[i].latents.size()) +
                             " latents but firing rates on general text of " +
                             std::to_string(layers[i].general_text_rate.size()) + "; compute both with the same SAE");
        }
        for (std::size_t latent = 0; latent < layers[i].latents.size(); ++latent) {
            const double rate = layers[i].general_text_rate[latent];
            if (!(rate >= 0 && rate <= 1)) {
                throw InputError(where + ", latent " + std::to_string(latent) + ": firing rate on general text is " +
                                 std::to_string(rate) + ", expected a share from 0 to 1; run the general text again");
            }
        }
    }
}

bool ranks_before(const RankedLatent& a, const RankedLatent& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.layer != b.layer) return a.layer < b.layer;
    return a.latent < b.latent;
}

std::vector<RankedLatent> top(const std::vector<RankedLatent>& kept, Direction direction, std::uint32_t top_k) {
    std::vector<RankedLatent> list;
    for (const RankedLatent& latent : kept) {
        const double distance = latent.statistics.auroc - 0.5;
        const double score = direction == Direction::right ? distance : -distance;
        if (score <= 0) continue;
        list.push_back(latent);
        list.back().direction = direction;
        list.back().score = score;
    }
    std::sort(list.begin(), list.end(), ranks_before);
    if (list.size() > top_k) list.erase(list.begin() + top_k, list.end());
    return list;
}

}  // namespace

Selection rank_latents(std::span<const LayerStatistics> layers, const SelectionRule& rule) {
    require_valid(layers, rule);
    Selection selection;
    std::vector<RankedLatent> kept;
    std::vector<double> p_values;
    for (const LayerStatistics& layer : layers) {
        for (std::size_t latent = 0; latent < layer.latents.size(); ++latent) {
            ++selection.n_latents;
            const LatentStatistics& statistics = layer.latents[latent];
            const double rate = layer.general_text_rate[latent];
            if (statistics.fired_rows < rule.min_rows) {
                ++selection.n_dropped_rare;
            } else if (rate > rule.max_general_text_rate) {
                ++selection.n_dropped_general_text;
            } else {
                RankedLatent ranked;
                ranked.layer = layer.layer;
                ranked.latent = static_cast<std::uint32_t>(latent);
                ranked.general_text_rate = rate;
                ranked.statistics = statistics;
                kept.push_back(ranked);
                p_values.push_back(statistics.welch_p);
            }
        }
    }
    selection.n_kept = kept.size();
    const std::vector<double> q_values = stats::benjamini_hochberg(p_values);
    for (std::size_t i = 0; i < kept.size(); ++i)
        kept[i].q_value = q_values[i];
    selection.right = top(kept, Direction::right, rule.top_k);
    selection.wrong = top(kept, Direction::wrong, rule.top_k);
    return selection;
}

}  // namespace pva::analysis
