// Where a training stands, in one file: enough to go on bit for bit, on any number of ranks.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "pva/mpi/communicator.h"
#include "pva/train/state.h"

namespace pva::phases {

/// What belongs to all SAEs of a training.
struct TrainingProgress {
    std::string identity;         ///< hash of everything that changes results
    std::vector<double> scales;   ///< of the places
    std::string table;            ///< the progress table so far
    double seconds = 0;           ///< spent on the model and on training, all runs together; not on measuring
};

/// Collective. Written whole or not at all by rank 0. Errors (AgreedError): IoError.
void save_checkpoint(const mpi::Communicator& comm, const std::string& path, const TrainingProgress& progress, std::span<const train::SaeState> states);

/// Reads the progress alone. Errors: InputError for a damaged file or another identity.
TrainingProgress read_progress(const std::string& path, const std::string& identity, std::size_t places);

/// Fills states that have their settings and owned latents (first_state). Errors: InputError for a damaged file.
void load_states(const std::string& path, std::span<train::SaeState> states);

}  // namespace pva::phases
