// What every phase is given, and the common frame of all executables: parse, start Python's supervisor, start MPI, banner,
// run, summary, exit code.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "pva/core/log.h"
#include "pva/core/options.h"
#include "pva/core/provenance.h"
#include "pva/exec/supervisor.h"
#include "pva/mpi/communicator.h"
#include "pva/mpi/device.h"

namespace pva::phases {

/// Where and how the run stands.
struct Context {
    const mpi::Communicator& comm;
    Log& log;
    const CommonOptions& common;
    Provenance provenance;      ///< program, build, libraries, options; a phase adds its inputs
    nlohmann::ordered_json result_options;  ///< the options that change results, with their values
    mpi::Binding binding;
    exec::Supervisor* python = nullptr;  ///< null for executables that run no Python
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

    bool first_rank() const { return comm.rank() == 0; }
    /// Folder of a phase's results: <data>/<name>.
    std::string folder(const std::string& name) const { return common.data + "/" + name; }
    /// Since the executable has its ranks together.
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }
};

/// What a phase leaves for people and scripts.
struct Report {
    std::string result_path;              ///< empty for a dry run
    nlohmann::ordered_json summary;
    std::vector<std::string> lines;       ///< the final table, ready to print
};

/// How programs and scripts are run; part of phases that need Python.
struct PythonOptions {
    std::string isolation = "namespaces";
    double test_seconds = 10;
    std::int64_t test_memory_mb = 1024;
    std::int64_t test_workers = 1;
};
void register_options(OptionSet& set, PythonOptions& options);

/// Runs an executable from its arguments to its exit code. `python`: null when it runs no Python.
int run_executable(int argc, char** argv, OptionSet& set, const CommonOptions& common, const PythonOptions* python,
                   const std::function<Report(Context&)>& body);

/// Text table: the first row is the head; numbers are right-aligned.
std::vector<std::string> table_lines(const std::vector<std::vector<std::string>>& rows);

/// "0.731" with the given number of decimals.
std::string fixed(double value, int decimals);

}  // namespace pva::phases
