// One exception type per kind of failure. A message says what happened, where (file, dataset, row, rank) and what to do.
#pragma once

#include <stdexcept>
#include <string>

#include "pva/core/exit_code.h"

namespace pva {

/// Base of every expected failure. `main` turns it into one message and the exit code.
class Error : public std::runtime_error {
  public:
    Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ExitCode exit_code() const { return code_; }

  private:
    ExitCode code_;
};

/// Unknown, repeated, missing or contradictory options. Exit code 64.
class UsageError : public Error {
  public:
    explicit UsageError(const std::string& message) : Error(ExitCode::usage, message) {}
};

/// An input file or a stored setting that cannot be used: damaged, of another kind, of another shape. Exit code 65.
class InputError : public Error {
  public:
    explicit InputError(const std::string& message) : Error(ExitCode::bad_input, message) {}
};

/// A fault of pva: an invariant that does not hold, an MPI call that failed. Exit code 70.
class InternalError : public Error {
  public:
    explicit InternalError(const std::string& message) : Error(ExitCode::internal, message) {}
};

/// Reading or writing failed: no space, no permission, a vanished file. Exit code 74.
class IoError : public Error {
  public:
    explicit IoError(const std::string& message) : Error(ExitCode::io, message) {}
};

/// Stopped by SIGUSR1 or --max-minutes with work left; everything finished is on disk. Exit code 75.
class StopRequested : public Error {
  public:
    explicit StopRequested(const std::string& message) : Error(ExitCode::stopped, message) {}
};

}  // namespace pva
