// Phase 1: a program for every problem, its verdict, and the residual stream at the last prompt token.
#pragma once

#include "pva/phases/activations.h"
#include "pva/phases/context.h"
#include "pva/phases/generation.h"
#include "pva/phases/inputs.h"

namespace pva::phases {

struct Phase1Options {
    std::string model;
    std::string problems;
    std::string difficulty;           ///< file of phase 0; optional
    RangeOptions range;
    WritingOptions writing;
    double temperature = 0;
    std::int64_t samples = 1;
    std::string layers;               ///< whose residual stream is stored; all when empty
    ActivationOptions activations;
    PlacementOptions placement;
    PythonOptions python;
    bool fresh = false;
    bool dry_run = false;
};
void register_options(OptionSet& set, Phase1Options& options);

/// Figures of a dataset, from its columns: what stands in its summary and in the last lines of a run.
struct DatasetColumns {
    std::vector<std::uint8_t> verdict;
    std::vector<std::uint8_t> passed;
    std::vector<std::uint8_t> stop_reason;
    std::vector<std::int32_t> generated_tokens;
    std::vector<std::int32_t> complexity;
    std::int64_t samples = 1;
};
Report dataset_report(const DatasetColumns& columns);

/// Collective. The columns of a file that is being written, all its units done.
DatasetColumns read_columns(Context& context, const io::ResultFile& file);

/// Collective. The report of a finished dataset.
Report dataset_report(Context& context, const std::string& path);

/// Collective. Writes <data>/phase1_0/dataset_<model>_<range>_<time>.h5.
Report run_phase1(Context& context, const Phase1Options& options);

}  // namespace pva::phases
