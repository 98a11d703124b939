// Expected failures are agreed on by all ranks: everybody leaves together, the lowest failing rank speaks.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "pva/core/error.h"
#include "pva/mpi/communicator.h"

namespace pva::mpi {

/// A failure that every rank knows of. what() is the lowest failing rank's message ("on rank 3, host x: ..." when there
/// are several ranks and not all failed alike); the exit code is the largest of all ranks'.
class AgreedError : public Error {
  public:
    AgreedError(ExitCode code, const std::string& message) : Error(code, message) {}
};

/// What a rank brings to an agreement.
struct Failure {
    ExitCode code;
    std::string message;
};

/// Collective. Throws AgreedError on every rank when any rank brings a failure.
void agree(const Communicator& comm, const std::optional<Failure>& failure);

/// Collective. Runs `step` on every rank, then agrees. Exceptions other than pva::Error pass through (and end the job).
/// AgreedError passes through too: all ranks have it already.
template <class Step>
auto agreed(const Communicator& comm, Step&& step) -> decltype(step()) {
    using Result = decltype(step());
    std::optional<Failure> failure;
    if constexpr (std::is_void_v<Result>) {
        try {
            step();
        } catch (const AgreedError&) {
            throw;
        } catch (const Error& error) {
            failure = Failure{error.exit_code(), error.what()};
        }
        agree(comm, failure);
    } else {
        std::optional<Result> result;
        try {
            result.emplace(step());
        } catch (const AgreedError&) {
            throw;
        } catch (const Error& error) {
            failure = Failure{error.exit_code(), error.what()};
        }
        agree(comm, failure);
        return std::move(*result);
    }
}

/// Collective. Runs `step` on rank 0 only and gives every rank its text; a failure there is a failure of all.
std::string on_first_rank(const Communicator& comm, const std::function<std::string()>& step);

}  // namespace pva::mpi
