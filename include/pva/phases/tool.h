// The frame of executables that only read files and write text: one process, no MPI, no log file, nothing on standard output but what is asked for.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "pva/core/log.h"
#include "pva/core/options.h"

namespace pva::phases {

/// Runs such an executable from its arguments to its exit code. MPI is never initialised, so child processes may be started. Adds
/// --log-level. Started by mpirun on several ranks, the first one works and the others end with 0.
int run_tool(int argc, char** argv, OptionSet& set, const std::function<void(Log&)>& body);

/// What every executable does first: parses, and prints help, version, manual page or completion if one was asked for (when `speaks`).
/// True when that was all. Errors: UsageError.
bool answered_by_text(int argc, char** argv, OptionSet& set, bool speaks);

/// Libraries that a run depends on most, with their versions as loaded. MPI need not be initialised.
std::map<std::string, std::string> loaded_libraries();

}  // namespace pva::phases
