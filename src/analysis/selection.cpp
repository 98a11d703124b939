// Filtering and ranking of latents.
#include "pva/analysis/selection.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
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
        if (rule.q_from == TestFor::permutation && layers[i].permutation_p.size() != layers[i].latents.size()) {
            throw InputError(where + " has no permutation p of its latents; ask for permutations");
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

bool passes_general_text(double rate, const SelectionRule& rule) {
    return rule.strict ? rate < rule.max_general_text_rate : rate <= rule.max_general_text_rate;
}

}  // namespace

Selection rank_latents(std::span<const LayerStatistics> layers, std::uint64_t right, std::uint64_t wrong,
                       const SelectionRule& rule) {
    require_valid(layers, rule);
    Selection selection;
    std::vector<double> p_values;
    for (const LayerStatistics& layer : layers) {
        std::vector<Kept>& kept = selection.kept.emplace_back();
        for (std::size_t latent = 0; latent < layer.latents.size(); ++latent) {
            ++selection.n_latents;
            if (layer.latents[latent].fired_rows < rule.min_rows) {
                ++selection.n_dropped_rare;
                kept.push_back(Kept::rare);
                continue;
            }
            p_values.push_back(rule.q_from == TestFor::permutation ? layer.permutation_p[latent]
                                                                   : layer.latents[latent].mann_whitney_p);
            const bool passes = passes_general_text(layer.general_text_rate[latent], rule);
            ++(passes ? selection.n_kept : selection.n_dropped_general_text);
            kept.push_back(passes ? Kept::kept : Kept::general_text);
        }
    }
    const std::vector<double> q_values = stats::benjamini_hochberg(p_values);
    std::size_t tested = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
        std::vector<double>& q = selection.q_values.emplace_back();
        for (const Kept kept : selection.kept[l])
            q.push_back(kept == Kept::rare ? std::numeric_limits<double>::quiet_NaN() : q_values[tested++]);
    }
    for (const Direction direction : {Direction::right, Direction::wrong}) {
        std::vector<RankedLatent>& list = direction == Direction::right ? selection.right : selection.wrong;
        for (std::size_t l = 0; l < layers.size(); ++l) {
            for (std::size_t latent = 0; latent < layers[l].latents.size(); ++latent) {
                const Kept kept = selection.kept[l][latent];
                if (kept == Kept::rare || (kept == Kept::general_text && rule.filter_after == 0)) continue;
                const double score = signed_score(rule.score, layers[l].latents[latent], right, wrong);
                if (direction == Direction::right ? !(score > 0) : !(score < 0)) continue;
                list.push_back({layers[l].layer, static_cast<std::uint32_t>(latent), direction, std::fabs(score),
                                layers[l].general_text_rate[latent], selection.q_values[l][latent],
                                layers[l].latents[latent]});
            }
        }
        std::sort(list.begin(), list.end(), ranks_before);
        if (rule.filter_after > 0) {
            if (list.size() > rule.filter_after) list.resize(rule.filter_after);
            std::erase_if(list, [&](const RankedLatent& r) { return !passes_general_text(r.general_text_rate, rule); });
        }
        if (list.size() > rule.top_k) list.resize(rule.top_k);
    }
    return selection;
}

SeparationSummary separation_summary(std::span<const LatentStatistics> latents, std::uint64_t right, std::uint64_t wrong,
                                     Score score, std::uint32_t top_k) {
    SeparationSummary summary;
    summary.dimensions = latents.size();
    if (latents.empty()) return summary;
    std::vector<double> scores;
    for (const LatentStatistics& latent : latents)
        scores.push_back(std::fabs(signed_score(score, latent, right, wrong)));
    for (const double value : scores)
        summary.mean += value;
    const double n = static_cast<double>(scores.size());
    summary.mean /= n;
    double squares = 0;
    for (const double value : scores)
        squares += (value - summary.mean) * (value - summary.mean);
    summary.standard_deviation = std::sqrt(squares / n);
    std::vector<std::uint32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0U);
    const std::size_t count = std::min<std::size_t>(top_k, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                      [&](std::uint32_t a, std::uint32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
    summary.max = *std::max_element(scores.begin(), scores.end());
    for (std::size_t i = 0; i < count; ++i) {
        summary.top_indices.push_back(order[i]);
        summary.top_scores.push_back(scores[order[i]]);
    }
    return summary;
}

}  // namespace pva::analysis
