// Phase 1.1: dividing the problems into selection (50 %), tuning (10 %) and analysis (40 %).
#pragma once

#include "pva/phases/context.h"
#include "pva/phases/inputs.h"

namespace pva::phases {

struct Phase11Options {
    std::string problems;
    std::string difficulty;
    std::string dataset;  ///< instead of difficulty: the problems and difficulties of a phase 1 dataset
    std::string compat = "none";
    std::int64_t seed = 0;
    bool fresh = false;
    bool dry_run = false;
};
void register_options(OptionSet& set, Phase11Options& options);

/// Collective; the first rank computes. Writes <data>/phase1_1/splits_<problems>_<range>_<time>.h5.
Report run_phase1_1(Context& context, const Phase11Options& options);

}  // namespace pva::phases
