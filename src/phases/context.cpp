// The common frame of all executables.
#include "pva/phases/context.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/core/progress.h"
#include "pva/io/leftovers.h"
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

/// In quotes where a shell needs them.
std::string shell_word(const std::string& word) {
    static constexpr std::string_view plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=.,:/@%";
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

void list_checkpoints(const std::string& data) {
    const std::vector<io::UnfinishedRun> runs = io::unfinished_runs(data);
    if (runs.empty()) std::cout << "no unfinished runs below " << data << "\n";
    for (const io::UnfinishedRun& run : runs) {
        std::cout << run.path << "\n  " << run.filetype << ": " << run.done << " of " << run.total << " units done";
        if (run.alive) {
            std::cout << "; a process is working on it\n";
            continue;
        }
        std::string command = run.program;
        for (const std::string& word : run.arguments) command += " " + shell_word(word);
        std::cout << "; go on with any number of ranks:\n  " << (run.ranks > 1 ? "mpirun -n " + std::to_string(run.ranks) + " " : "") << command << "\n";
    }
}

void clean_up(const std::string& data, double log_days) {
    const std::vector<io::Leftover> files = io::leftovers(data, log_days);
    std::uintmax_t bytes = 0;
    for (const io::Leftover& file : files) {
        std::cout << file.path << ": " << file.why << "\n";
        bytes += file.bytes;
    }
    io::remove_leftovers(files);
    std::cout << (files.empty() ? "nothing to remove below " + data : "removed " + std::to_string(files.size()) + " files, " + fixed(static_cast<double>(bytes) / 1e6, 1) + " MB") << std::endl;
}

/// Leaves only the named ones of the GPUs that CUDA may show this process. Before anything asks for them.
void choose_visible_gpus(const std::string& list) {
    if (list.empty()) return;
    const char* already = std::getenv("CUDA_VISIBLE_DEVICES");
    const std::vector<std::string> visible = already != nullptr ? split_at_commas(already) : std::vector<std::string>{};
    if (visible == std::vector<std::string>{""}) throw UsageError("--gpus " + list + ": CUDA_VISIBLE_DEVICES is empty, which hides every GPU");
    std::string chosen;
    for (const std::string& number : split_at_commas(list)) {
        if (number.empty() || number.size() > 4 || number.find_first_not_of("0123456789") != std::string::npos) {
            throw UsageError("--gpus " + list + ": '" + number + "' is no number of a GPU; give a list such as 0,2");
        }
        const auto index = static_cast<std::size_t>(std::stoul(number));
        if (!visible.empty() && index >= visible.size()) {
            throw UsageError("--gpus " + list + ": there is no GPU " + number + "; CUDA_VISIBLE_DEVICES shows " + std::to_string(visible.size()) + ", counted from 0");
        }
        const std::string name = visible.empty() ? number : visible[index];
        if (("," + chosen + ",").find("," + name + ",") != std::string::npos) throw UsageError("--gpus " + list + ": " + number + " is named twice");
        chosen += (chosen.empty() ? "" : ",") + name;
    }
    setenv("CUDA_VISIBLE_DEVICES", chosen.c_str(), 1);
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
        if (common.list_checkpoints || common.cleanup) {
            if (speaks && common.list_checkpoints) list_checkpoints(common.data);
            if (speaks && common.cleanup) clean_up(common.data, common.log_days);
            return 0;
        }
        choose_visible_gpus(common.gpus);
        // Before MPI_Init and before any thread: nothing may be forked later.
        if (python != nullptr) supervisor.emplace(exec::Supervisor::start(supervisor_options(*python)));
    } catch (const Error& error) {
        if (speaks) std::cerr << set.program() << ": error: " << error.what() << std::endl;
        return static_cast<int>(error.exit_code());
    }

    return mpi::run(set.program(), [&](const mpi::Communicator& comm) {
        Log log(comm.rank(), common.verbose ? LogLevel::debug : log_level_from_name(common.log_level));
        // No phase uses a GPU yet, so sharing one is no fault.
        Context context{comm, log, common, {}, set.identity_values(), mpi::bind_devices(comm, true), supervisor ? &*supervisor : nullptr};
        context.provenance.program = set.program();
        context.provenance.build = build_info();
        context.provenance.options = set.values();
        context.provenance.given = set.given_values();
        context.provenance.ranks = comm.size();
        context.provenance.libraries = loaded_libraries();
        const std::string log_path = mpi::on_first_rank(comm, [&] {
            std::error_code error;
            std::filesystem::create_directories(common.data + "/logs", error);
            if (error) throw IoError(common.data + "/logs: the folder cannot be made (" + error.message() + "); choose another --data");
            return common.data + "/logs/" + set.program() + "_" + timestamp_now();
        });
        mpi::agreed(comm, [&] { log.open_file(log_path + (comm.rank() == 0 ? "" : "_rank" + std::to_string(comm.rank())) + ".log"); });
        if (!common.gpus.empty() && context.binding.gpu < 0) log.warning("--gpus " + common.gpus + ": this rank sees no GPU");
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
