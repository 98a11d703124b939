// Starts one box: fork, limits, file descriptors, then bubblewrap (containers/bubblewrap, bwrap(1)) or the interpreter.
#include "sandbox.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "bootstrap.h"
#include "system_call_filter.h"

namespace pva::exec {

namespace {

namespace fs = std::filesystem;

// Descriptors of the box, below its limit of open files and above what a program opens first.
struct BoxDescriptors {
    int commands, results, status, info, filter;
    explicit BoxDescriptors(int limit)
        : commands(limit - 1), results(limit - 2), status(limit - 3), info(limit - 4), filter(limit - 5) {}
};

constexpr std::uint64_t stack_bytes = 16ull << 20;  // also the size of each thread's stack, out of the address space

struct Device {
    const char* name;
    unsigned minor;
};
constexpr Device devices[] = {{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};
constexpr unsigned nobody = 65534;

std::vector<char*> pointers(const std::vector<std::string>& words) {
    std::vector<char*> result;
    for (const std::string& word : words)
        result.push_back(const_cast<char*>(word.c_str()));
    result.push_back(nullptr);
    return result;
}

// Standard output of a trusted command, for questions asked once at start. Empty when it fails or takes over a minute.
std::string ask(const std::vector<std::string>& command) {
    Pipe output = make_pipe();
    const std::vector<char*> argv = pointers(command);
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) throw IoError("cannot fork to ask " + command[0] + ": " + last_error());
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(127);
        ::dup2(output.write.get(), STDOUT_FILENO);
        ::execv(argv[0], argv.data());
        ::_exit(127);
    }
    output.write.reset();
    std::string answer;
    for (;;) {
        pollfd wanted{output.read.get(), POLLIN, 0};
        const int ready = ::poll(&wanted, 1, 60'000);
        if (ready < 0 && errno == EINTR) continue;
        char piece[4096];
        const ssize_t count = ready > 0 ? ::read(output.read.get(), piece, sizeof piece) : 0;
        if (count <= 0) {
            if (ready <= 0) ::kill(child, SIGKILL);
            break;
        }
        answer.append(piece, static_cast<std::size_t>(count));
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? answer : std::string();
}

bool inside(const fs::path& path, const fs::path& folder) {
    const auto [end, rest] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
    (void)rest;
    return end == folder.end();
}

bool in_system(const fs::path& path) {
    for (const char* folder : {"/usr", "/lib", "/lib32", "/lib64", "/bin"}) {
        if (inside(path, folder)) return true;
    }
    return false;
}

// Prints one fact a line: kind, blank, value. Modules with libraries of their own are loaded so that these show.
constexpr const char* question = R"python(
import sys, os, sysconfig
for name in ("ctypes", "decimal", "hashlib", "lzma", "bz2", "zlib", "sqlite3", "ssl", "uuid"):
    try:
        __import__(name)
    except ImportError:
        pass
print("version", ".".join(map(str, sys.version_info[:3])))
print("executable", os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
for path in (sys.base_prefix, sys.base_exec_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")):
    print("tree", os.path.realpath(path))
try:
    with open("/proc/self/maps") as maps:
        for path in sorted({line.split(None, 5)[5].strip() for line in maps if ".so" in line}):
            print("library", os.path.dirname(os.path.realpath(path)))
except OSError:
    pass
)python";

void set_limit(__rlimit_resource resource, std::uint64_t value) {
    rlimit limit{};
    ::getrlimit(resource, &limit);
    const auto wanted = static_cast<rlim_t>(value);
    limit.rlim_cur = limit.rlim_max = limit.rlim_max == RLIM_INFINITY ? wanted : std::min(wanted, limit.rlim_max);
    ::setrlimit(resource, &limit);
}

[[noreturn]] void fail_in_child(const char* what) {
    ::dprintf(STDERR_FILENO, "%s: %s\n", what, std::strerror(errno));
    ::_exit(127);
}

// The kernel's own limit, behind the looks from outside. It counts clock ticks, which on a loaded machine are ten per cent and
// more beyond the time that a process really had: close to the limit it would kill what has not reached it, as a signal.
std::uint64_t cpu_limit_seconds(double seconds) {
    return 2 * static_cast<std::uint64_t>(std::ceil(seconds)) + 5;
}

// Processes of the box under RLIMIT_NPROC, or 0 where the kernel would count (or spare) the wrong ones: root is never
// limited, and before 5.14 all processes of the user on the machine count.
std::uint32_t process_limit(const BoxPlan& plan) {
    if (plan.isolation != Isolation::namespaces || !plan.user_namespace || ::geteuid() == 0) return 0;
    utsname system{};
    int major = 0, minor = 0;
    if (::uname(&system) != 0 || std::sscanf(system.release, "%d.%d", &major, &minor) != 2) return 0;
    // Above the number at which the supervisor ends the box, so that the verdict is the same with and without.
    return major > 5 || (major == 5 && minor >= 14) ? plan.limits.processes + 16 : 0;
}

}  // namespace

std::string find_in_path(const std::string& name) {
    if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0 ? name : std::string();
    const char* path = std::getenv("PATH");
    std::istringstream folders(path ? path : "/usr/local/bin:/usr/bin:/bin");
    for (std::string folder; std::getline(folders, folder, ':');) {
        const std::string candidate = (folder.empty() ? "." : folder) + "/" + name;
        if (::access(candidate.c_str(), X_OK) == 0 && fs::is_regular_file(candidate)) return candidate;
    }
    return std::string();
}

std::string bwrap_version(const std::string& path) {
    std::istringstream answer(ask({path, "--version"}));  // "bubblewrap 0.8.0"
    std::string name, version;
    answer >> name >> version;
    return version;
}

std::string own_devices() {
    const std::string folder = "/dev/shm/";  // nothing else of it is needed here
    if (::geteuid() != 0 || ::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0 ||
        ::mount("pva-devices", folder.c_str(), "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,mode=755") != 0) {
        return "";
    }
    for (const Device& device : devices) {
        const std::string path = folder + device.name;
        if (::mknod(path.c_str(), S_IFCHR | 0666, makedev(1, device.minor)) != 0 || ::chmod(path.c_str(), 0666) != 0 ||
            ::chown(path.c_str(), nobody, nobody) != 0) {
            return "";
        }
        const Fd opened(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        if (!opened) return "";  // a user namespace may make nodes that nobody can open
    }
    return folder;
}

Interpreter find_interpreter(const std::string& name) {
    const std::string path = find_in_path(name);
    if (path.empty()) {
        throw IoError("no Python interpreter \"" + name +
                      "\" in PATH; install Python 3.8 or newer, or load its module");
    }
    Interpreter interpreter;
    std::vector<fs::path> trees;
    std::istringstream answer(ask({path, "-c", question}));
    for (std::string line; std::getline(answer, line);) {
        const std::size_t blank = line.find(' ');
        if (blank == std::string::npos) continue;
        const std::string kind = line.substr(0, blank), value = line.substr(blank + 1);
        if (kind == "version") interpreter.version = value;
        if (kind == "executable") {
            interpreter.executable = value;
            trees.push_back(fs::path(value).parent_path());
        }
        if (kind == "tree") trees.push_back(value);
        if (kind == "library" && !in_system(value)) {
            // Inside the interpreter's own tree its run path finds them.
            const bool own =
                std::any_of(trees.begin(), trees.end(), [&](const fs::path& t) { return inside(value, t); });
            if (!own) {
                trees.push_back(value);
                interpreter.library_folders.push_back(value);
            }
        }
    }
    if (std::sscanf(interpreter.version.c_str(), "%d.%d", &interpreter.major, &interpreter.minor) != 2 ||
        interpreter.executable.empty()) {
        throw IoError("the Python interpreter " + path + " does not answer; try: " + path + " -c 'print(1)'");
    }
    if (interpreter.major != 3 || interpreter.minor < 8) {
        throw IoError("the Python interpreter " + path + " is version " + interpreter.version +
                      "; 3.8 or newer is needed");
    }
    // A folder inside another one is there with it.
    std::sort(trees.begin(), trees.end());
    for (const fs::path& tree : trees) {
        const bool covered = in_system(tree) || std::any_of(interpreter.trees.begin(), interpreter.trees.end(),
                                                            [&](const std::string& t) { return inside(tree, t); });
        if (!covered) interpreter.trees.push_back(tree.string());
    }
    return interpreter;
}

BoxStarter::BoxStarter(BoxPlan plan) : plan_(std::move(plan)) {
    plan_.filter = seccomp_filter(plan_.isolation == Isolation::rlimits);
    const Interpreter& python = plan_.interpreter;
    const BoxDescriptors descriptors(static_cast<int>(plan_.limits.open_files));
    for (const bool warm : {false, true}) {
        std::vector<std::string>& arguments = warm ? warm_arguments_ : arguments_;
        if (plan_.isolation == Isolation::namespaces) arguments = bubblewrap_arguments(warm);
        arguments.insert(arguments.end(), {python.executable, "-s", "-S"});
        if (python.minor >= 11) arguments.push_back("-P");
        arguments.insert(arguments.end(), {"-X", "utf8", "-c", bootstrap_text, warm ? "warm" : "once",
                                           std::to_string(descriptors.commands), std::to_string(descriptors.results),
                                           std::to_string(descriptors.status), std::to_string(process_limit(plan_)),
                                           std::to_string(cpu_limit_seconds(plan_.limits.cpu_seconds))});
    }
    environment_ = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC", "PYTHONHASHSEED=0",
                    "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1",
                    // One allocation arena reserves 64 MiB of the limited address space.
                    "MALLOC_ARENA_MAX=2"};
    std::string libraries;
    for (const std::string& folder : python.library_folders)
        libraries += (libraries.empty() ? "" : ":") + folder;
    if (!libraries.empty()) environment_.push_back("LD_LIBRARY_PATH=" + libraries);
}

std::vector<std::string> BoxStarter::bubblewrap_arguments(bool warm) const {
    const BoxDescriptors descriptors(static_cast<int>(plan_.limits.open_files));
    std::vector<std::string> a;
    const auto add = [&a](std::initializer_list<std::string> words) { a.insert(a.end(), words); };
    add({plan_.bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"});
    // No signal from inside reaches the first process of a PID namespace. The launcher reaps what bubblewrap would.
    if (warm) add({"--as-pid-1"});
    if (plan_.user_namespace) {
        add({"--unshare-user", "--uid", "65534", "--gid", "65534"});
        int major = 0, minor = 0;
        std::sscanf(plan_.bwrap_version.c_str(), "%d.%d", &major, &minor);
        if (major > 0 || minor >= 8) add({"--disable-userns"});
    }
    add({"--hostname", "pva", "--ro-bind", "/usr", "/usr"});
    for (const char* folder : {"/bin", "/lib", "/lib32", "/lib64"}) {
        std::error_code error;
        const fs::file_status status = fs::symlink_status(folder, error);
        if (fs::is_symlink(status)) add({"--symlink", fs::read_symlink(folder).string(), folder});
        if (fs::is_directory(status)) add({"--ro-bind", folder, folder});
    }
    add({"--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"});
    for (const std::string& tree : plan_.interpreter.trees)
        add({"--ro-bind", tree, tree});
    // Started by root, a program is still root to file permissions: without capabilities it could yet write kernel
    // settings in /proc/sys and change the mode of the machine's device files. So all of that is read-only.
    if (plan_.proc) add({"--proc", "/proc", "--remount-ro", "/proc"});
    // Everything writable has a size: otherwise a program fills the machine's memory through a tmpfs.
    add({"--dev", "/dev", "--size", "1048576", "--tmpfs", "/dev/shm"});
    for (const Device& device : devices) {
        if (!plan_.devices.empty())
            add({"--dev-bind", plan_.devices + device.name, std::string("/dev/") + device.name});
    }
    add({"--remount-ro", "/dev"});
    if (::geteuid() == 0) {
        for (const Device& device : devices) {
            if (plan_.devices.empty()) add({"--remount-ro", std::string("/dev/") + device.name});
        }
        add({"--remount-ro", "/dev/tty"});
    }
    add({"--size", std::to_string(plan_.limits.tmpfs_bytes), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir",
         "/tmp"});
    add({"--seccomp", std::to_string(descriptors.filter), "--info-fd", std::to_string(descriptors.info), "--"});
    return a;
}

Box BoxStarter::start(double script_seconds) const {
    return launch(false, script_seconds);
}

Box BoxStarter::start_warm() const {
    return launch(true, 0);
}

Box BoxStarter::launch(bool warm, double script_seconds) const {
    const bool script = script_seconds > 0;
    const bool namespaces = plan_.isolation == Isolation::namespaces;
    Box box;
    std::vector<std::string> environment = environment_;
    std::string home = "/tmp";
    if (!namespaces) {
        box.folder = (fs::temp_directory_path() / "pva-program-XXXXXX").string();
        if (!::mkdtemp(box.folder.data())) throw IoError("cannot create " + box.folder + ": " + last_error());
        home = box.folder;
    }
    environment.push_back("HOME=" + home);
    environment.push_back("TMPDIR=" + home);
    const std::vector<char*> argv = pointers(warm ? warm_arguments_ : arguments_);
    const std::vector<char*> envp = pointers(environment);

    Pipe output = make_pipe(), errors = make_pipe(), results = make_pipe(), status = make_pipe(), info = make_pipe(),
         commands = make_pipe(), filter = make_pipe(), input = make_pipe();
    if (warm) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
            throw IoError("cannot create a socket pair for a box: " + last_error());
        }
        box.control = Fd(ends[0]);
        status.write = Fd(ends[1]);
    }
    if (!script) input.write.reset();  // at its end; not /dev/null, which is a file of the machine
    // A pipe holds 64 KiB; the filter has a few.
    if (namespaces && ::write(filter.write.get(), plan_.filter.data(), plan_.filter.size()) !=
                          static_cast<ssize_t>(plan_.filter.size())) {
        throw IoError("cannot hand over the system call filter: " + last_error());
    }

    const int open_files = static_cast<int>(plan_.limits.open_files);
    const BoxDescriptors target(open_files);
    const pid_t parent = ::getpid();
    box.pid = ::fork();
    if (box.pid < 0) throw IoError("cannot fork a process for a program: " + last_error());
    if (box.pid == 0) {
        // No allocation from here on: address space is limited below.
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(127);
        ::setsid();
        for (int number = 1; number < NSIG; ++number)
            ::signal(number, SIG_DFL);
        for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2})
            ::signal(number, SIG_IGN);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        const int wanted[][2] = {{input.read.get(), STDIN_FILENO},      {output.write.get(), STDOUT_FILENO},
                                 {errors.write.get(), STDERR_FILENO},   {commands.read.get(), target.commands},
                                 {results.write.get(), target.results}, {status.write.get(), target.status},
                                 {info.write.get(), target.info},       {filter.read.get(), target.filter}};
        int moved[std::size(wanted)];
        // First out of the way of each other's targets, then into place.
        for (std::size_t i = 0; i < std::size(wanted); ++i) {
            moved[i] = ::fcntl(wanted[i][0], F_DUPFD_CLOEXEC, open_files);
            if (moved[i] < 0) fail_in_child("cannot duplicate a file descriptor");
        }
        const std::size_t count = namespaces ? std::size(wanted) : std::size(wanted) - 2;
        for (std::size_t i = 0; i < count; ++i)
            ::dup2(moved[i], wanted[i][1]);

        ::umask(022);
        // Same addresses every time, so that what depends on them (order in a set of objects) repeats. Where a
        // container forbids it the program runs all the same.
        ::personality(ADDR_NO_RANDOMIZE);
        const double cpu_seconds = script ? script_seconds : plan_.limits.cpu_seconds;
        // The supervisor ends the box at the limit; this is the second net.
        if (!warm) set_limit(RLIMIT_CPU, cpu_limit_seconds(cpu_seconds));  // else each program gets its own
        set_limit(RLIMIT_FSIZE, script ? 1ull << 30 : plan_.limits.file_size_bytes);
        set_limit(RLIMIT_CORE, 0);
        set_limit(RLIMIT_MEMLOCK, 0);
        set_limit(RLIMIT_STACK, stack_bytes);
        set_limit(RLIMIT_NOFILE, plan_.limits.open_files);
        set_limit(RLIMIT_AS, script ? 8ull << 30 : plan_.limits.address_space_bytes);
        if (!namespaces) {
            if (::chdir(box.folder.c_str()) != 0) fail_in_child("cannot enter the working directory");
            sock_fprog program{static_cast<unsigned short>(plan_.filter.size() / sizeof(sock_filter)),
                               reinterpret_cast<sock_filter*>(const_cast<char*>(plan_.filter.data()))};
            if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
                ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
                fail_in_child("cannot install the system call filter");
            }
        }
        ::execve(argv[0], argv.data(), envp.data());
        fail_in_child(argv[0]);
    }
    box.info = std::move(info.read);
    if (warm) {
        box.own_errors = std::move(errors.read);
        for (const Fd* fd : {&box.info, &box.own_errors, &box.control})
            set_nonblocking(*fd);
        return box;
    }
    box.output = std::move(output.read);
    box.errors = std::move(errors.read);
    box.results = std::move(results.read);
    box.status = std::move(status.read);
    box.commands = std::move(commands.write);
    box.input = std::move(input.write);
    for (const Fd* fd : {&box.output, &box.errors, &box.results, &box.status, &box.info, &box.commands})
        set_nonblocking(*fd);
    if (script) set_nonblocking(box.input);
    return box;
}

}  // namespace pva::exec
