// The common frame of all executables.
#include "pva/phases/context.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "pva/core/error.h"
#include "pva/core/progress.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/bulletin.h"
#include "pva/mpi/environment.h"
#include "pva/phases/tool.h"

namespace pva::phases {

void register_options(OptionSet& set, PythonOptions& options) {
    set.add("isolation", options.isolation, "KIND", "how programs are kept apart from the machine").one_of({"namespaces", "rlimits"}).changes_results();
    set.add("test-seconds", options.test_seconds, "S", "wall and processor seconds for one program with all its tests").at_least(0.1).changes_results();
    set.add("test-memory-mb", options.test_memory_mb, "MB", "address space of one program, MiB").at_least(64).changes_results();
    set.add("test-workers", options.test_workers, "N", "programs tested at the same time by each rank").at_least(1);
}

namespace {

exec::SupervisorOptions supervisor_options(const PythonOptions& options) {
    exec::SupervisorOptions result;
    result.isolation = exec::isolation_from_string(options.isolation);
    result.workers = static_cast<int>(options.test_workers);
    result.limits.wall_seconds = options.test_seconds;
    result.limits.cpu_seconds = options.test_seconds;
    result.limits.address_space_bytes = static_cast<std::uint64_t>(options.test_memory_mb) << 20;
    return result;
}

void print_banner(Context& context, const OptionSet& set) {
    const std::vector<std::string> places = mpi::binding_lines(context.comm, context.binding);
    std::string libraries;
    for (const auto& [name, version] : context.provenance.libraries) libraries += (libraries.empty() ? "" : ", ") + name + " " + version;
    context.log.info(version_line(set.program()));
    context.log.info("libraries: " + libraries);
    context.log.info(std::to_string(context.comm.size()) + (context.comm.size() == 1 ? " rank" : " ranks"));
    for (const std::string& line : places) context.log.info("  " + line);
    if (context.python != nullptr) {
        context.log.info("programs run under Python " + context.python->interpreter_version() + ", " + context.python->isolation_description());
    }
    std::string options;
    for (const auto& [name, value] : context.provenance.options.items()) {
        if (value.is_null() || (value.is_string() && value.get<std::string>().empty())) continue;
        options += " --" + name + " " + (value.is_string() ? value.get<std::string>() : value.dump());
    }
    context.log.info("options:" + options);
}

}  // namespace

int run_executable(int argc, char** argv, OptionSet& set, const CommonOptions& common, const PythonOptions* python,
                   const std::function<Report(Context&)>& body) {
    const bool speaks = mpi::launcher_rank() == 0;
    // From the first moment on SIGUSR1 asks for a stop instead of ending the process.
    mpi::watch_stop_signal();
    std::optional<exec::Supervisor> supervisor;
    try {
        if (answered_by_text(argc, argv, set, speaks)) return 0;
        // Before MPI_Init and before any thread: nothing may be forked later.
        if (python != nullptr) supervisor.emplace(exec::Supervisor::start(supervisor_options(*python)));
    } catch (const Error& error) {
        if (speaks) std::cerr << set.program() << ": error: " << error.what() << std::endl;
        return static_cast<int>(error.exit_code());
    }

    return mpi::run(set.program(), [&](const mpi::Communicator& comm) {
        Log log(comm.rank(), log_level_from_name(common.log_level));
        // No phase uses a GPU yet, so sharing one is no fault.
        Context context{comm, log, common, {}, set.identity_values(), mpi::bind_devices(comm, true), supervisor ? &*supervisor : nullptr};
        context.provenance.program = set.program();
        context.provenance.build = build_info();
        context.provenance.options = set.values();
        context.provenance.libraries = loaded_libraries();
        mpi::on_first_rank(comm, [&] {
            std::error_code error;
            std::filesystem::create_directories(common.data + "/logs", error);
            if (error) throw IoError(common.data + "/logs: the folder cannot be made (" + error.message() + "); choose another --data");
            log.open_file(common.data + "/logs/" + set.program() + "_" + timestamp_now() + ".log");
            return std::string();
        });
        print_banner(context, set);
        const Report report = body(context);
        for (const std::string& line : report.lines) log.info(line);
        const double seconds = context.seconds();
        if (!report.result_path.empty()) log.info("wrote " + report.result_path);
        log.info(set.program() + " done in " + duration_text(seconds));
        if (!common.json.empty()) {
            mpi::on_first_rank(comm, [&] {
                nlohmann::ordered_json json;
                json["program"] = set.program();
                json["result"] = report.result_path;
                json["seconds"] = seconds;
                json["summary"] = report.summary;
                std::ofstream file(common.json, std::ios::trunc);
                file << json.dump(2) << "\n";
                file.close();
                if (!file) throw IoError("--json " + common.json + ": cannot be written");
                return std::string();
            });
        }
    });
}

std::string fixed(double value, int decimals) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", decimals, value);
    return text;
}

std::vector<std::string> table_lines(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()), 0);
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    const auto is_number = [](const std::string& text) {
        return !text.empty() && text.find_first_not_of("0123456789.+-eE%/[], ") == std::string::npos;
    };
    std::vector<std::string> lines;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        std::string line;
        for (std::size_t i = 0; i < rows[r].size(); ++i) {
            const std::string& cell = rows[r][i];
            const std::string pad(widths[i] - cell.size(), ' ');
            line += (i == 0 ? "" : "  ") + (is_number(cell) ? pad + cell : cell + pad);
        }
        lines.push_back(line.substr(0, line.find_last_not_of(' ') + 1));
        if (r == 0) {
            std::string rule;
            for (std::size_t i = 0; i < widths.size(); ++i) rule += (i == 0 ? "" : "  ") + std::string(widths[i], '-');
            lines.push_back(rule);
        }
    }
    return lines;
}

}  // namespace pva::phases
