// Initialising, guarding and ending MPI.
#include "pva/mpi/environment.h"

#include <array>
#include <cstdlib>
#include <exception>
#include <iostream>

#include "pva/core/error.h"
#include "pva/core/provenance.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/check.h"

namespace pva::mpi {
namespace {

std::optional<std::string> process_environment(const std::string& name) {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
}

[[noreturn]] void abort_job(const std::string& program, int rank, const std::string& message, int code) {
    std::cerr << "[rank " << rank << " host " << host_name() << " phase " << program << "] " << message << std::endl;
    MPI_Abort(MPI_COMM_WORLD, code);
    std::_Exit(code);
}

}  // namespace

int launcher_rank() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
        if (const auto value = process_environment(name)) return std::atoi(value->c_str());
    }
    return 0;
}

std::optional<std::string> singleton_refusal(const EnvironmentLookup& lookup, int world_size) {
    if (world_size != 1 || lookup("OMPI_COMM_WORLD_SIZE")) return std::nullopt;
    for (const char* name : {"SLURM_STEP_NUM_TASKS", "PMI_SIZE"}) {
        const auto value = lookup(name);
        if (value && std::atoi(value->c_str()) > 1) {
            return "the launcher started " + *value + " processes (" + name + "=" + *value +
                   ") but MPI sees each of them alone: all would write the same file. Start with mpirun, or with "
                   "`srun --mpi=pmix` where this MPI library was built with PMIx";
        }
    }
    return std::nullopt;
}

std::optional<std::string> launcher_warning(const EnvironmentLookup& lookup) {
    const auto tasks = lookup("SLURM_STEP_NUM_TASKS");
    if (!tasks || std::atoi(tasks->c_str()) < 2 || lookup("OMPI_COMM_WORLD_SIZE") || lookup("PMIX_RANK")) return std::nullopt;
    return "started by srun without PMIx (" + *tasks + " processes). If MPI fails to start now, that is why: use `srun --mpi=pmix` where Open MPI was built "
           "with PMIx, else mpirun";
}

Environment::Environment() : uncaught_(std::uncaught_exceptions()) {
    std::array<std::optional<std::string>, 3> before = {process_environment("OMPI_COMM_WORLD_SIZE"),
                                                        process_environment("SLURM_STEP_NUM_TASKS"),
                                                        process_environment("PMI_SIZE")};
#ifdef OPEN_MPI
    // Without a launcher that it knows Open MPI ends the process inside MPI_Init, with a message that blames its own build.
    if (const auto warning = launcher_warning(process_environment); warning && launcher_rank() == 0) std::cerr << "pva: warning: " << *warning << std::endl;
#endif
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread", __FILE__, __LINE__);
    PVA_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    world_.emplace(MPI_COMM_WORLD);
    const auto lookup = [&before](const std::string& name) -> std::optional<std::string> {
        if (name == "OMPI_COMM_WORLD_SIZE") return before[0];
        if (name == "SLURM_STEP_NUM_TASKS") return before[1];
        return before[2];
    };
    if (const auto refusal = singleton_refusal(lookup, world_->size())) {
        world_.reset();
        PVA_MPI(MPI_Finalize());
        throw UsageError(*refusal);
    }
}

Environment::~Environment() {
    if (std::uncaught_exceptions() > uncaught_) return;
    world_.reset();
    int finalized = 0;
    if (MPI_Finalized(&finalized) == MPI_SUCCESS && finalized == 0) MPI_Finalize();
}

std::string Environment::library_version() {
    std::array<char, MPI_MAX_LIBRARY_VERSION_STRING + 1> text{};
    int length = 0;
    PVA_MPI(MPI_Get_library_version(text.data(), &length));
    std::string version(text.data(), static_cast<std::size_t>(length));
    return version.substr(0, version.find(','));
}

int run(const std::string& program, const std::function<void(const Communicator& world)>& body) {
    int rank = launcher_rank();
    try {
        Environment environment;
        rank = environment.world().rank();
        try {
            body(environment.world());
            environment.world().barrier();
            return static_cast<int>(ExitCode::done);
        } catch (const AgreedError& error) {
            if (rank == 0) {
                const bool stopped = error.exit_code() == ExitCode::stopped;
                std::cout << std::flush;
                std::cerr << program << ": " << (stopped ? "" : "error: ") << error.what() << std::endl;
            }
            // All ranks are here; leave together so that mpirun does not kill a rank that still prints.
            environment.world().barrier();
            return static_cast<int>(error.exit_code());
        } catch (const Error& error) {
            abort_job(program, rank, error.what(), static_cast<int>(error.exit_code()));
        } catch (const std::exception& error) {
            abort_job(program, rank, std::string("unexpected: ") + error.what(), static_cast<int>(ExitCode::internal));
        }
    } catch (const Error& error) {
        if (rank == 0) std::cerr << program << ": error: " << error.what() << std::endl;
        return static_cast<int>(error.exit_code());
    } catch (const std::exception& error) {
        std::cerr << "[rank " << rank << " host " << host_name() << " phase " << program << "] unexpected: " << error.what() << std::endl;
        return static_cast<int>(ExitCode::internal);
    }
}

}  // namespace pva::mpi
