// Collective agreement on failures.
#include "pva/mpi/agree.h"

#include "pva/core/provenance.h"

namespace pva::mpi {

void agree(const Communicator& comm, const std::optional<Failure>& failure) {
    const std::int64_t none = comm.size();
    const std::int64_t first = comm.all_min(failure ? comm.rank() : none);
    if (first == none) return;
    const std::int64_t code = comm.all_max(failure ? static_cast<std::int64_t>(failure->code) : 0);
    const std::int64_t failing = comm.all_sum(failure ? 1 : 0);
    const int root = static_cast<int>(first);
    const std::string message = comm.broadcast(comm.rank() == root ? failure->message : "", root);
    const std::string host = comm.broadcast(host_name(), root);
    const bool everywhere = failing == comm.size();
    const std::string where = everywhere ? "" : "on rank " + std::to_string(root) + ", host " + host + ": ";
    throw AgreedError(static_cast<ExitCode>(code), where + message);
}

std::string on_first_rank(const Communicator& comm, const std::function<std::string()>& step) {
    std::string text;
    std::optional<Failure> failure;
    if (comm.rank() == 0) {
        try {
            text = step();
        } catch (const AgreedError&) {
            throw;
        } catch (const Error& error) {
            failure = Failure{error.exit_code(), error.what()};
        }
    }
    // Where only the first rank works its failure is everybody's: no "on rank 0" in the message.
    const std::int64_t failed = comm.all_max(failure ? static_cast<std::int64_t>(failure->code) : 0);
    if (failed != 0) {
        const std::string message = comm.broadcast(failure ? failure->message : "");
        throw AgreedError(static_cast<ExitCode>(failed), message);
    }
    return comm.broadcast(text);
}

}  // namespace pva::mpi
