// Life of MPI in a process: initialised once, never finalised while an exception unwinds, singletons refused.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "pva/mpi/communicator.h"

namespace pva::mpi {

/// Rank that the launcher states in the environment, before MPI_Init; 0 when nothing is stated. Used to let only one
/// process print usage errors.
int launcher_rank();

using EnvironmentLookup = std::function<std::optional<std::string>(const std::string& name)>;

/// Text of the refusal when this process is one of several that a launcher started but MPI sees only one; nothing
/// otherwise. SLURM_NTASKS is not looked at: it is above 1 for a rightful `mpirun -n 1` in a larger allocation.
/// step_tasks, ompi_size: the environment as it was before MPI_Init, which may change it.
std::optional<std::string> singleton_refusal(const EnvironmentLookup& lookup, int world_size);

/// For Open MPI: a warning when srun started several processes without PMIx; nothing otherwise. Such a start is right with some builds, so it is
/// no refusal.
std::optional<std::string> launcher_warning(const EnvironmentLookup& lookup);

class Environment {
  public:
    /// Initialises MPI (serialized threads), sets MPI_ERRORS_RETURN. Errors: UsageError for a singleton launched several times.
    Environment();
    /// Finalises, but not while an exception unwinds: other ranks may wait in a collective and finalising would hang.
    ~Environment();
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

    const Communicator& world() const { return *world_; }
    /// "Open MPI 4.1.4".
    static std::string library_version();

  private:
    int uncaught_;
    std::optional<Communicator> world_;
};

/// Runs `body` under MPI and returns the exit code, the same on every rank. An AgreedError is printed once; any other
/// exception is printed with rank, host and `program`, and ends the job by MPI_Abort.
int run(const std::string& program, const std::function<void(const Communicator& world)>& body);

}  // namespace pva::mpi
