// Phase 2: SAE codes, how each latent differs between right and wrong programs, baselines beside them, and ranked lists.
#pragma once

#include <optional>

#include "pva/analysis/selection.h"
#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/phases/saes.h"
#include "pva/phases/text_rates.h"

namespace pva::phases {

struct Phase2Options {
    std::string model;
    std::string problems;
    std::string dataset;
    std::string splits;
    SaeOptions sae;  ///< one a layer
    std::string general_text;
    std::string split = "selection";
    std::string site = "resid_post";
    std::string position = "last-prompt";
    std::string activations;                      ///< file of phase 1 for other sites and positions
    std::string layers;                           ///< list; all SAEs when empty
    std::string compat = "none";
    std::string score = "auto";                   ///< auto: as compat says
    std::optional<double> activation_threshold;   ///< nothing: as compat says; so the next ones
    std::optional<double> general_threshold;
    std::string general_positions = "auto";
    std::optional<std::int64_t> general_tokens;
    std::optional<std::int64_t> general_documents;
    std::optional<std::int64_t> min_rows;
    double min_effect = 0.5;
    std::int64_t top_k = 20;
    std::string group_by;
    std::int64_t permutations = 1000;
    std::string permute_within;
    std::string q_from = "mann-whitney";
    std::int64_t random_directions = 100;
    std::int64_t seed = 0;
    std::int64_t threads = 0;
    PlacementOptions placement;  ///< of the model on the general text; its data type is the dataset's
    bool fresh = false;
    bool dry_run = false;
};
void register_options(OptionSet& set, Phase2Options& options);

/// What --compat and the options together mean.
struct Phase2Rules {
    analysis::SelectionRule selection;
    TextRules text;
    double least_effect = 0.5;          ///< Cohen's d above which a latent is marked
    std::uint64_t least_per_class = 2;  ///< rows of each class that the part must have
};
/// The table of docs/methods.md. Errors: UsageError for permutation q-values without permutations.
Phase2Rules phase2_rules(const Phase2Options& options);

/// Collective. Writes <data>/phase2/latents_<model>_<range>_<part>_<time>.h5, and beside it, where they are not there yet,
/// the dataset's codes (sparse_*.h5) and the rates on general text (rates_*.h5).
Report run_phase2(Context& context, const Phase2Options& options);

}  // namespace pva::phases
