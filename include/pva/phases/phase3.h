// Phase 3: do the chosen latents detect right and wrong programs on problems they were not chosen on?
#pragma once

#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/phases/saes.h"

namespace pva::phases {

struct Phase3Options {
    std::string model;
    std::string problems;
    SaeOptions sae;
    std::string dataset;
    std::string splits;
    std::string latents;
    std::string chosen_on;       ///< problems of another study, in which latents, fits and thresholds were chosen
    std::string chosen_dataset;  ///< its dataset
    std::string temperatures;    ///< result of phase 1.2 on the analysis part
    std::string activations;     ///< rows at other positions
    std::string stages = "auto";
    std::string group_by;
    std::int64_t candidates = 5;
    std::int64_t random_latents = 100;
    std::int64_t bootstrap = 2000;
    std::int64_t permutations = 10000;
    std::int64_t seed = 0;
    std::int64_t threads = 0;
    bool fresh = false;
    bool dry_run = false;
};
void register_options(OptionSet& set, Phase3Options& options);

/// Collective. Latents, signs and fits come from the selection part, thresholds from tuning, figures from analysis; a
/// latents file of another part is refused. With chosen_on the first two belong to that study, and all programs of
/// `problems` are measured. Writes <data>/phase3/validation_<model>_<range>_<time>.h5, and stages_*.h5 beside it where
/// activations of several stages of writing are there (run_stages).
Report run_phase3(Context& context, const Phase3Options& options);

}  // namespace pva::phases
