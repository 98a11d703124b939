// Phase 3, steering: what pushing a latent does to the programs, beside what pushing something else does.
#pragma once

#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/phases/saes.h"

namespace pva::phases {

struct SteeringOptions {
    std::string model;
    std::string problems;
    SaeOptions sae;
    std::string dataset;
    std::string splits;
    std::string latents;
    std::string arms = "right,wrong";
    std::int64_t candidates = 1;
    std::string positions = "last";
    std::string scale = "relative";
    std::string coefficients;  ///< empty: by scale
    std::int64_t controls = 20;
    std::string gate_at = "last-prompt";
    std::string gate_percentiles = "50,70,90";
    std::string compat = "none";
    bool tuning_only = false;
    std::int64_t seed = 0;
    std::int64_t batch_size = 0;  ///< 0: to be chosen
    std::int64_t threads = 0;
    double checkpoint_minutes = 1;
    std::int64_t checkpoint_every = 500;
    bool stream = false;
    PlacementOptions placement;
    PythonOptions python;
    bool fresh = false;
    bool dry_run = false;
};
void register_options(OptionSet& set, SteeringOptions& options);

/// Collective. Writes <data>/phase3/steering_<model>_<range>_tuning_<time>.h5, chooses coefficients there, and then writes
/// steering_<model>_<range>_analysis_<time>.h5.
Report run_steering(Context& context, const SteeringOptions& options);

}  // namespace pva::phases
