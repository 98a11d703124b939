// Which SAEs a training makes: their places in the model, settings and folders, and what each begins with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "pva/model/config.h"
#include "pva/mpi/communicator.h"
#include "pva/phases/train_sae.h"
#include "pva/phases/training_rows.h"
#include "pva/train/settings.h"

namespace pva::phases {

/// One SAE to be trained.
struct TrainingJob {
    std::size_t place = 0;
    train::Settings settings;
    std::string folder;  ///< below --out
    std::string start;   ///< of --start-from: the SAE that it begins with
};

/// Sites and layers of the options. Errors: UsageError for ones that the model or the format do not have.
std::vector<TrainingPlace> training_places(const TrainSaeOptions& options, const model::ModelConfig& config);

/// Every SAE that the options ask for; `rows` are those of the text. Errors: UsageError for options that make no sense.
std::vector<TrainingJob> training_jobs(const TrainSaeOptions& options, std::span<const TrainingPlace> places, std::int64_t rows);

/// Of every SAE to be trained, the one of --start-from that it begins with: below the same folder as in --out where there is
/// one, else the one of its layer. Errors: InputError where it is missing, of another site or unfit (train::check_start).
void find_starts(const TrainSaeOptions& options, std::span<const TrainingPlace> places, std::vector<TrainingJob>& jobs);

/// Collective. SHA-256 of these SAEs by folder; rank 0 reads them.
nlohmann::ordered_json hashes_of_starts(const mpi::Communicator& comm, const std::vector<TrainingJob>& jobs);

}  // namespace pva::phases
