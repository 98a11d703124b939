// Executables without MPI, and the texts that every executable can print.
#include "pva/phases/tool.h"

#include <exception>
#include <iostream>

#include "pva/core/error.h"
#include "pva/core/option_texts.h"
#include "pva/core/provenance.h"
#include "pva/io/h5.h"
#include "pva/mpi/environment.h"

namespace pva::phases {

std::map<std::string, std::string> loaded_libraries() {
    return {{"MPI", mpi::Environment::library_version()}, {"HDF5", io::h5::library_version()}, {"libtorch", build_info().torch_version}};
}

namespace {

/// Text of --version: the banner's first line, then how and with what this was built.
std::string version_text(const std::string& program) {
    const BuildInfo build = build_info();
    std::string loaded;
    for (const auto& [name, version] : loaded_libraries()) loaded += (loaded.empty() ? "" : ", ") + name + " " + version;
    return version_line(program) + "\ncompiler    " + build.compiler + ", C++20, " + build.build_type + ", " + build.flags + "\nsystem      " + build.system +
           "\nlibraries   " + loaded + "\nbuilt with  " + build.other_libraries + "\n";
}

}  // namespace

bool answered_by_text(int argc, char** argv, OptionSet& set, bool speaks) {
    std::string text;
    switch (set.parse(argc, argv)) {
        case ParsedAs::help: text = set.help(); break;
        case ParsedAs::version: text = version_text(set.program()); break;
        case ParsedAs::man: text = man_page(set, "pva " + build_info().version); break;
        case ParsedAs::completion: text = bash_completion(set); break;
        case ParsedAs::run: return false;
    }
    if (speaks) std::cout << text;
    return true;
}

int run_tool(int argc, char** argv, OptionSet& set, const std::function<void(Log&)>& body) {
    const bool first = mpi::launcher_rank() == 0;
    std::string level = "info";
    set.add("log-level", level, "LEVEL", "how much is said").one_of({"error", "warning", "info", "debug"});
    try {
        if (answered_by_text(argc, argv, set, first) || !first) return 0;
        Log log(0, log_level_from_name(level));
        body(log);
        return 0;
    } catch (const Error& error) {
        if (first) std::cerr << set.program() << ": error: " << error.what() << std::endl;
        return static_cast<int>(error.exit_code());
    } catch (const std::exception& error) {
        std::cerr << set.program() << ": fault of pva: " << error.what() << std::endl;
        return static_cast<int>(ExitCode::internal);
    }
}

}  // namespace pva::phases
