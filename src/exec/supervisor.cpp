// The rank's side: forks the supervisor process and talks to it.
#include "pva/exec/supervisor.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <set>

#include "fd.h"
#include "message.h"
#include "server.h"

namespace pva::exec {

namespace {

constexpr int silence_poll_ms = 2000;
constexpr int silence_polls = 30;  // a minute, counted in waits so that a suspended job is not mistaken for a dead one
constexpr int start_polls = 150;   // five minutes: an interpreter on a busy network file system is slow the first time

int count_threads() {
    DIR* folder = ::opendir("/proc/self/task");
    if (!folder) return 1;
    int count = 0;
    while (const dirent* entry = ::readdir(folder))
        count += entry->d_name[0] != '.';
    ::closedir(folder);
    return count;
}

void check(const SupervisorOptions& options) {
    const Limits& limits = options.limits;
    const auto refuse = [](const std::string& what) { throw InputError("limits of generated programs: " + what); };
    if (!(limits.wall_seconds > 0) || !(limits.cpu_seconds > 0)) refuse("seconds must be positive");
    if (limits.open_files < 16 || limits.open_files > 1024) refuse("open files must be 16 to 1024");
    if (limits.address_space_bytes < 64ull << 20) refuse("address space must be at least 64 MiB");
    if (limits.processes < 3) refuse("processes must be at least 3, two are the box's own");
    if (options.workers < 1) refuse("workers must be at least 1");
}

// The processors that the launcher may use, when these include ours: mpirun binds a rank to one core, and programs that
// shared this core with the rank's own threads would run into their time limits.
bool launcher_processors(cpu_set_t& mask) {
    cpu_set_t own;
    if (::sched_getaffinity(0, sizeof own, &own) != 0) return false;
    if (::sched_getaffinity(::getppid(), sizeof mask, &mask) != 0) return false;
    cpu_set_t both;
    CPU_AND(&both, &own, &mask);
    return CPU_EQUAL(&both, &own);
}

void close_from(int first) {
#ifdef SYS_close_range
    if (::syscall(SYS_close_range, static_cast<unsigned>(first), ~0u, 0u) == 0) return;
#endif
    const long limit = std::min(::sysconf(_SC_OPEN_MAX), 1l << 20);
    for (int fd = first; fd < limit; ++fd)
        ::close(fd);
}

// Becomes the supervisor process. Everything blocked, so no signal can strike before it is ignored.
[[noreturn]] void become_supervisor(int socket, pid_t rank, const SupervisorOptions& options,
                                    const cpu_set_t* processors) {
    ::setsid();
    for (int number = 1; number < NSIG; ++number)
        ::signal(number, SIG_DFL);
    for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE})
        ::signal(number, SIG_IGN);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != rank) ::_exit(70);
    // Orphans of a box become our children, and we can wait for them.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::prctl(PR_SET_NAME, "pva-supervisor");
    constexpr int socket_place = 3;
    if (socket != socket_place) ::dup2(socket, socket_place);
    ::fcntl(socket_place, F_SETFD, FD_CLOEXEC);
    close_from(socket_place + 1);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(null, STDIN_FILENO);
    ::dup2(null, STDOUT_FILENO);
    ::close(null);
    if (processors) ::sched_setaffinity(0, sizeof *processors, processors);
    int status = 70;
    {
        Server server(Fd(socket_place), options);
        status = server.run();
    }
    ::_exit(status);
}

}  // namespace

std::string_view to_string(Isolation isolation) {
    return isolation == Isolation::namespaces ? "namespaces" : "rlimits";
}

Isolation isolation_from_string(std::string_view name) {
    if (name == "namespaces") return Isolation::namespaces;
    if (name == "rlimits") return Isolation::rlimits;
    throw InputError("unknown isolation \"" + std::string(name) + "\" (known: namespaces, rlimits)");
}

struct Supervisor::Connection {
    Fd socket;
    pid_t pid = 0;
    std::string inbox;
    std::string description, version;
    std::uint64_t next_id = 1;
    std::set<std::uint64_t> open;  ///< submitted, no answer yet
    std::deque<std::pair<std::uint64_t, Outcome>> finished;
    struct ScriptEnd {
        bool success;
        std::string output, detail;
    };
    std::map<std::uint64_t, ScriptEnd> script_ends;

    ~Connection() {
        ::shutdown(socket.get(), SHUT_RDWR);
        socket.reset();
        if (pid == 0) return;
        for (int turn = 0; turn < 10'000; ++turn) {
            const pid_t ended = ::waitpid(pid, nullptr, WNOHANG);
            if (ended == pid || (ended < 0 && errno != EINTR)) return;
            ::poll(nullptr, 0, 1);
        }
        ::kill(pid, SIGKILL);
        while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
        }
    }

    [[noreturn]] void lost(const std::string& what) {
        int status = 0;
        std::string end;
        for (int turn = 0; pid != 0 && turn < 100; ++turn) {
            if (::waitpid(pid, &status, WNOHANG) == pid) {
                end = WIFSIGNALED(status) ? " (it was ended by signal " + std::to_string(WTERMSIG(status)) + ")"
                                          : " (it ended with status " + std::to_string(WEXITSTATUS(status)) + ")";
                pid = 0;
                break;
            }
            ::poll(nullptr, 0, 1);
        }
        throw InternalError("the supervisor process that runs generated programs " + what + end +
                            "; run the same command again, finished work is kept. If it happens again, look for an "
                            "out-of-memory kill in the system log of this node");
    }

    void send(MessageKind kind, std::string_view payload) {
        const std::string frame = encode(kind, payload);
        for (std::size_t sent = 0; sent < frame.size();) {
            const ssize_t count = ::send(socket.get(), frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL);
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) lost("has gone away");
            sent += static_cast<std::size_t>(count);
        }
    }

    // Takes what has arrived. With `block` waits for something; silence of too many waits is an error.
    void receive(bool block, int most_polls = silence_polls) {
        for (int silent = 0; block;) {
            pollfd wanted{socket.get(), POLLIN, 0};
            const int ready = ::poll(&wanted, 1, silence_poll_ms);
            if (ready > 0) break;
            if (ready == 0 && ++silent == most_polls) {
                lost("has been silent for " + std::to_string(most_polls * silence_poll_ms / 1000) + " s");
            }
        }
        char piece[65536];
        for (;;) {
            const ssize_t count = ::recv(socket.get(), piece, sizeof piece, MSG_DONTWAIT);
            if (count < 0 && errno == EINTR) continue;
            if (count < 0 && errno == EAGAIN) break;
            if (count <= 0) lost("has ended unexpectedly");
            inbox.append(piece, static_cast<std::size_t>(count));
        }
    }

    std::optional<Message> next_message() { return take_message(inbox); }

    void sort_messages() {
        while (const std::optional<Message> message = next_message()) {
            if (message->kind == MessageKind::heartbeat) continue;
            Reader reader(message->payload);
            const auto id = reader.number<std::uint64_t>();
            if (open.erase(id) == 0) lost("answered a question that was not asked");
            if (message->kind == MessageKind::outcome) {
                finished.emplace_back(id, take_outcome(reader));
            } else if (message->kind == MessageKind::script_end) {
                ScriptEnd end;
                end.success = reader.number<std::uint8_t>() != 0;
                end.output = reader.text();
                end.detail = reader.text();
                script_ends.emplace(id, std::move(end));
            } else {
                lost("sent a message of an unknown kind");
            }
        }
    }
};

Supervisor::Supervisor(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
Supervisor::Supervisor(Supervisor&&) noexcept = default;
Supervisor& Supervisor::operator=(Supervisor&&) noexcept = default;
Supervisor::~Supervisor() = default;

Supervisor Supervisor::start(const SupervisorOptions& options) {
    check(options);
    const int threads = count_threads();
    if (threads != 1) {
        throw InternalError("the supervisor process must be started before any thread, but there are " +
                            std::to_string(threads) + "; start it first thing in main, before MPI_Init");
    }
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        throw IoError("cannot create a socket pair for the supervisor process: " + last_error());
    }
    auto connection = std::make_unique<Connection>();
    connection->socket = Fd(ends[0]);
    Fd other(ends[1]);
    cpu_set_t processors;
    const bool widen = launcher_processors(processors);
    const pid_t rank = ::getpid();
    sigset_t all, before;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, &before);
    connection->pid = ::fork();
    if (connection->pid == 0) become_supervisor(other.get(), rank, options, widen ? &processors : nullptr);
    const std::string fork_error = last_error();
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (connection->pid < 0) {
        connection->pid = 0;
        throw IoError("cannot fork the supervisor process: " + fork_error);
    }
    other.reset();

    std::optional<Message> message;
    while (!message || message->kind == MessageKind::heartbeat) {
        message = connection->next_message();
        if (!message) connection->receive(true, start_polls);
    }
    Reader reader(message->payload);
    const auto code = static_cast<ExitCode>(reader.number<std::int32_t>());
    const std::string text = reader.text();
    connection->description = reader.text();
    connection->version = reader.text();
    if (code == ExitCode::io) throw IoError(text);
    if (code == ExitCode::bad_input) throw InputError(text);
    if (static_cast<int>(code) != 0) throw InternalError(text);
    return Supervisor(std::move(connection));
}

std::uint64_t Supervisor::submit(const Program& program) {
    if (program.tests.empty()) throw InputError("a program without tests cannot be judged");
    Writer writer;
    writer.number(connection_->next_id);
    put(writer, program);
    connection_->send(MessageKind::program, writer.take());
    connection_->open.insert(connection_->next_id);
    return connection_->next_id++;
}

std::optional<std::pair<std::uint64_t, Outcome>> Supervisor::try_collect() {
    if (!connection_->open.empty()) {
        connection_->receive(false);
        connection_->sort_messages();
    }
    if (connection_->finished.empty()) return std::nullopt;
    std::pair<std::uint64_t, Outcome> first = std::move(connection_->finished.front());
    connection_->finished.pop_front();
    return first;
}

Outcome Supervisor::wait(std::uint64_t id) {
    for (;;) {
        for (auto place = connection_->finished.begin(); place != connection_->finished.end(); ++place) {
            if (place->first != id) continue;
            Outcome outcome = std::move(place->second);
            connection_->finished.erase(place);
            return outcome;
        }
        if (!connection_->open.count(id)) {
            throw InternalError("program " + std::to_string(id) + " was never submitted or is already collected");
        }
        connection_->receive(true);
        connection_->sort_messages();
    }
}

std::size_t Supervisor::pending() const {
    return connection_->open.size() + connection_->finished.size();
}

std::string Supervisor::run_script(std::string_view script, std::string_view input) {
    const std::uint64_t id = connection_->next_id++;
    Writer writer;
    writer.number(id);
    writer.text(script);
    writer.text(input);
    connection_->send(MessageKind::script, writer.take());
    connection_->open.insert(id);
    while (!connection_->script_ends.count(id)) {
        connection_->receive(true);
        connection_->sort_messages();
    }
    auto node = connection_->script_ends.extract(id);
    if (!node.mapped().success) throw InternalError("a Python script of pva failed: " + node.mapped().detail);
    return std::move(node.mapped().output);
}

const std::string& Supervisor::isolation_description() const {
    return connection_->description;
}
const std::string& Supervisor::interpreter_version() const {
    return connection_->version;
}
int Supervisor::process_id() const {
    return connection_->pid;
}

}  // namespace pva::exec
