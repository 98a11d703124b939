// Phase 0: difficulty of every problem.
#pragma once

#include "pva/phases/context.h"
#include "pva/phases/inputs.h"

namespace pva::phases {

struct Phase0Options {
    std::string problems;
    RangeOptions range;
    PythonOptions python;
    bool fresh = false;
    bool dry_run = false;
};
void register_options(OptionSet& set, Phase0Options& options);

/// Collective. Writes <data>/phase0/difficulty_<problems>_<range>_<time>.h5.
Report run_phase0(Context& context, const Phase0Options& options);

}  // namespace pva::phases
