// Boxes: finding the interpreter, the command line of a box, starting one.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "fd.h"
#include "pva/exec/supervisor.h"

namespace pva::exec {

/// The real interpreter behind a name such as `python3`, which is often a script of a version manager.
struct Interpreter {
    std::string executable;
    std::string version;  ///< "3.11.2"
    int major = 0;
    int minor = 0;
    std::vector<std::string> trees;            ///< folders outside /usr and /lib* that it needs
    std::vector<std::string> library_folders;  ///< those of them that hold shared libraries found by LD_LIBRARY_PATH
};

/// Asks the interpreter once, outside any box. IoError when there is none, it does not answer, or is older than 3.8.
Interpreter find_interpreter(const std::string& name);

/// What a box is made of. Some systems refuse single parts (see `start_variants` in server.cpp).
struct BoxPlan {
    Isolation isolation = Isolation::namespaces;
    bool user_namespace = true;
    bool proc = true;           ///< mount a proc file system of the box
    std::string bwrap;          ///< path of bubblewrap
    std::string bwrap_version;  ///< "0.8.0"
    Interpreter interpreter;
    Limits limits;
    std::string filter;  ///< system call filter, BPF bytes
};

/// Full path of an executable in PATH, or empty.
std::string find_in_path(const std::string& name);

/// Version printed by `bwrap --version`, or empty.
std::string bwrap_version(const std::string& path);

/// Ends of the pipes of a running box. All but `input` are non-blocking.
struct Box {
    pid_t pid = 0;  ///< bubblewrap, or the launcher itself without namespaces
    Fd output, errors, results, status, info, commands, input;
    std::string folder;  ///< temporary working directory to remove, without namespaces
};

/// Starts boxes of one plan: everything that does not change from box to box is prepared once.
class BoxStarter {
  public:
    explicit BoxStarter(BoxPlan plan);

    /// Starts a box with the plan's limits, or with wide ones for a trusted script (`script_seconds` > 0), which also
    /// gets a pipe as standard input. IoError when the process cannot be made.
    Box start(double script_seconds) const;

    const BoxPlan& plan() const { return plan_; }

  private:
    BoxPlan plan_;
    std::vector<std::string> arguments_;
    std::vector<std::string> environment_;
};

}  // namespace pva::exec
