// pva_train_sae: sparse autoencoders on a model's rows, on many ranks. What it does and how to choose its options:
// docs/train_sae.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/phases/training_text.h"

namespace pva::phases {

struct TrainSaeOptions {
    std::string model;
    std::string model_name;  ///< in the SAEs' own metadata; empty: the model's name
    TrainingTextOptions text;
    std::string start_from;  ///< folder of SAEs whose numbers the training begins with; empty: random ones
    std::string out;
    std::string format = "saelens";
    std::string kind = "topk";
    std::string sites = "resid_post";
    std::string layers;
    std::string latents = "4096";
    std::string l0 = "32";

    std::optional<std::int64_t> tokens;  ///< rows to train on
    std::int64_t batch = 2048;
    std::int64_t micro_batch = 512;
    std::int64_t buffer = 65536;
    std::int64_t seed = 0;

    double learning_rate = 0;
    double warm_up = 0.05;  ///< shares of the steps
    double decay = 0.2;
    double clip = 1;
    double sparsity = 1;
    double sparsity_warm_up = 0.1;
    double bandwidth = 0.05;
    std::optional<std::int64_t> dead_after;
    double revive = 0.03125;
    std::optional<std::int64_t> revive_k;

    std::optional<std::int64_t> measure_every;
    std::int64_t measure_sequences = 32;
    std::int64_t loss_sequences = 8;
    double checkpoint_minutes = 10;
    std::int64_t threads = 0;
    PlacementOptions placement;
    bool fresh = false;
    bool dry_run = false;
};
void register_options(OptionSet& set, TrainSaeOptions& options);

/// Collective. Trains, measures and writes one SAE for each layer, width and L0, all from one pass of the model. A run that
/// was stopped or killed goes on from its last checkpoint by the same command, with the same result. Errors: AgreedError;
/// exit code 75 when stopped with steps left.
Report run_train_sae(Context& context, const TrainSaeOptions& options);

}  // namespace pva::phases
