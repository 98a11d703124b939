// Poll loop over the socket, the pipes of the boxes, the deaths of children and the clock.
#include "server.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "process_tree.h"

namespace pva::exec {

namespace {

using std::chrono::duration;
using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto look_interval = milliseconds(25);
constexpr auto box_start_limit = seconds(60);  // only ever reached by a broken system
constexpr auto box_end_limit = seconds(60);    // a process that not even SIGKILL ends hangs in a file system
constexpr auto leave_limit = milliseconds(250);
constexpr auto heartbeat_interval = seconds(2);
constexpr int most_attempts = 3;
constexpr std::uint64_t script_output_bytes = 1ull << 30;
constexpr std::uint64_t probe_id = 0;
constexpr std::size_t report_header = 20;  // token, length
constexpr std::uint32_t largest_report = 8192;
constexpr std::uint32_t largest_value = (8u << 20) + 64;  // see bootstrap.py
constexpr std::size_t shown_value = 120;                  // bytes of a value in a message
constexpr auto spare_after = milliseconds(100);           // a program that runs longer may need its box to be replaced

Clock::duration from_seconds(double value) {
    return duration_cast<Clock::duration>(duration<double>(value));
}
double to_seconds(Clock::duration value) {
    return duration<double>(value).count();
}
double to_seconds(const timeval& value) {
    return static_cast<double>(value.tv_sec) + 1e-6 * value.tv_usec;
}

// Reads what is there, keeps at most `keep` bytes. False at the end of the file.
bool drain(const Fd& fd, std::string& into, std::uint64_t keep, bool& overflow) {
    char piece[65536];
    for (;;) {
        const ssize_t count = ::read(fd.get(), piece, sizeof piece);
        if (count == 0) return false;
        if (count < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN;
        }
        const std::uint64_t room = keep - into.size();
        if (static_cast<std::uint64_t>(count) > room) overflow = true;
        into.append(piece, std::min<std::uint64_t>(room, static_cast<std::uint64_t>(count)));
        if (overflow) return true;  // an endless writer must not hold the loop
    }
}

bool drain(const Fd& fd, std::string& into) {
    bool overflow = false;
    return drain(fd, into, into.size() + (1u << 20), overflow);
}

// Place in the order of Verdict's comment; classes of exceptions all come last.
int precedence(Verdict verdict) {
    constexpr Verdict order[] = {Verdict::internal,    Verdict::output_limit, Verdict::memory, Verdict::nproc,
                                 Verdict::timeout_cpu, Verdict::timeout_wall, Verdict::signal, Verdict::early_exit};
    const auto* place = std::find(std::begin(order), std::end(order), verdict);
    return static_cast<int>(place - std::begin(order));
}

std::string limit_text(double seconds) {
    std::ostringstream text;
    text << "limit of " << seconds << " s";
    return text.str();
}

std::string step_name(const Job::Step& step) {
    if (step.kind == 'u') return "setup code";
    if (step.test >= 0) return "test " + std::to_string(step.test);
    return "program";
}

// Verdicts that the program's own process reports. All others are seen from outside.
bool sayable(Verdict verdict) {
    for (const Verdict said : {Verdict::passed, Verdict::wrong, Verdict::syntax, Verdict::name, Verdict::type,
                               Verdict::runtime, Verdict::early_exit, Verdict::memory}) {
        if (verdict == said) return true;
    }
    return false;
}

// Signals that a fault of the program itself raises; any other may have come from elsewhere.
bool raised_by_fault(int number) {
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ, SIGPIPE}) {
        if (number == fault) return true;
    }
    return false;
}

std::string first_line_of(const char* path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// What the kernel says about namespaces, for the message of a refusal.
std::string namespace_settings() {
    std::string text;
    for (const char* path : {"/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone",
                             "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"}) {
        const std::string value = first_line_of(path);
        if (!value.empty()) text += (text.empty() ? "" : ", ") + std::string(path) + " = " + value;
    }
    return text;
}

// Anything a program says, as UTF-8: other bytes as \xNN.
std::string readable(std::string_view text) {
    std::string result;
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i]);
        std::size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        bool valid = lead < 0x80 || (lead >= 0xc2 && lead < 0xf5 && i + length <= text.size());
        for (std::size_t k = 1; valid && k < length; ++k)
            valid = (static_cast<unsigned char>(text[i + k]) & 0xc0) == 0x80;
        if (valid && length > 2) {
            const auto second = static_cast<unsigned char>(text[i + 1]);
            valid = !(lead == 0xe0 && second < 0xa0) && !(lead == 0xed && second >= 0xa0) &&
                    !(lead == 0xf0 && second < 0x90) && !(lead == 0xf4 && second >= 0x90);
        }
        if (valid) {
            result.append(text.substr(i, length));
        } else {
            char code[8];
            std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned>(lead));
            result += code;
            length = 1;
        }
        i += length;
    }
    return result;
}

std::string trimmed(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
        text.pop_back();
    return text;
}

}  // namespace

Server::Server(Fd socket, const SupervisorOptions& options) : socket_(std::move(socket)), options_(options) {}

int Server::run() {
    try {
        sigset_t children;
        ::sigemptyset(&children);
        ::sigaddset(&children, SIGCHLD);
        ::sigprocmask(SIG_SETMASK, &children, nullptr);
        child_signals_ = Fd(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
        if (!child_signals_) throw IoError("cannot create a signalfd: " + last_error());
        Writer hello;
        try {
            prepare();
            hello.number<std::int32_t>(0);
            hello.text("");
        } catch (const Error& error) {
            hello.number<std::int32_t>(static_cast<std::int32_t>(error.exit_code()));
            hello.text(error.what());
        }
        hello.text(description_);
        hello.text(starter_ ? starter_->plan().interpreter.version : "");
        send(MessageKind::hello, hello.take());
        serve();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "pva supervisor process %d: %s\n", static_cast<int>(::getpid()), error.what());
        return 70;
    }
}

// Tries the strongest form of the asked isolation first. Weaker forms of `namespaces` are still namespaces.
void Server::prepare() {
    BoxPlan plan;
    plan.isolation = options_.isolation;
    plan.limits = options_.limits;
    plan.interpreter = find_interpreter(options_.python);
    const std::string python = "Python " + plan.interpreter.version + " (" + plan.interpreter.executable + ")";
    if (plan.isolation == Isolation::rlimits) {
        options_.workers = 1;
        const Outcome outcome = probe(plan);
        if (outcome.verdict != Verdict::passed) {
            throw IoError("cannot run a trivial program with resource limits: " + outcome.detail + " " +
                          trimmed(outcome.stderr_text));
        }
        description_ =
            "rlimits: resource limits and system call filter only, files and processes of this user exposed; " + python;
        return;
    }
    plan.bwrap = find_in_path(options_.bwrap);
    if (plan.bwrap.empty()) {
        throw IoError("bubblewrap (\"" + options_.bwrap +
                      "\") is not in PATH; install it (Debian: apt-get install bubblewrap), or accept weaker isolation "
                      "with --isolation rlimits");
    }
    plan.bwrap_version = bwrap_version(plan.bwrap);
    plan.devices = own_devices();
    struct Variant {
        bool user_namespace, proc, warm;
    };
    std::vector<Variant> variants = {{true, true, true}, {true, true, false}};
    if (::geteuid() == 0) variants.push_back({false, true, false});
    variants.push_back({true, false, false});
    if (::geteuid() == 0) variants.push_back({false, false, false});
    std::string reasons;
    for (const auto& [user_namespace, proc, warm] : variants) {
        plan.user_namespace = user_namespace;
        plan.proc = proc;
        plan.warm = warm;
        const Outcome outcome = probe(plan);
        if (outcome.verdict == Verdict::passed) {
            description_ = "namespaces: bubblewrap " + plan.bwrap_version + ", " + (user_namespace ? "user " : "") +
                           "pid mount net ipc uts" + (proc ? "" : ", no /proc") + ", system call filter, " +
                           (warm ? "warm boxes" : "a box per program") +
                           (::geteuid() == 0 ? ", processes limited by watching (root)" : "") + "; " + python;
            return;
        }
        const std::string reason = trimmed(outcome.stderr_text.empty() ? outcome.detail : outcome.stderr_text);
        if (reasons.find(reason) == std::string::npos) reasons += (reasons.empty() ? "" : "; ") + reason;
    }
    const std::string settings = namespace_settings();
    throw IoError(
        "this system does not let " + plan.bwrap + " (version " + plan.bwrap_version +
        ", 0.7 or newer is needed) run a program in namespaces of its own: " + reasons +
        (settings.empty() ? "" : " (" + settings + ")") +
        ". Ask the administrator to allow user namespaces, or accept weaker isolation with --isolation rlimits");
}

Outcome Server::probe(const BoxPlan& plan) {
    starter_.emplace(plan);
    Job job;
    job.id = probe_id;
    job.program = Program{"value = 6 * 7\n", "", {"assert value == 42"}};
    job.attempts = most_attempts - 1;  // a refusal does not become better by repetition
    queue_.push_back(std::move(job));
    probed_.reset();
    while (!probed_)
        step(seconds(1));
    return *probed_;
}

void Server::serve() {
    while (!rank_gone_)
        step(seconds(60));
    for (Job& job : running_)
        end_box(job);
    for (Box& box : waiting_)
        discard(std::move(box));
    waiting_.clear();
    const auto give_up = Clock::now() + seconds(5);
    while (Clock::now() < give_up &&
           std::any_of(running_.begin(), running_.end(), [&](Job& job) { return !gone(job); })) {
        ::poll(nullptr, 0, 2);
        reap();
    }
    sweep_strays();
    for (const Job& job : running_) {
        std::error_code ignored;  // a folder under the temporary folder; nobody is left to tell
        if (!job.now.box.folder.empty()) std::filesystem::remove_all(job.now.box.folder, ignored);
    }
}

// One turn: start what may start, wait for something to happen, deal with all of it.
void Server::step(Clock::duration at_most) {
    while (!queue_.empty() && running_.size() < static_cast<std::size_t>(options_.workers)) {
        running_.push_back(std::move(queue_.front()));
        queue_.pop_front();
        begin(running_.back());
    }

    const auto before = Clock::now();
    auto wake = before + at_most;
    if (!running_.empty()) wake = std::min(wake, next_heartbeat_);
    std::vector<pollfd> wanted = {{socket_.get(), static_cast<short>(POLLIN | (outbox_.empty() ? 0 : POLLOUT)), 0},
                                  {child_signals_.get(), POLLIN, 0}};
    for (const Job& job : running_) {
        const Job::Attempt& now = job.now;
        wake = std::min(wake, now.next_look);
        for (const Fd* fd : {&now.box.output, &now.box.errors, &now.box.results, &now.box.status, &now.box.info,
                             &now.box.control, &now.box.own_errors}) {
            if (*fd) wanted.push_back({fd->get(), POLLIN, 0});
        }
        if (now.box.commands && !now.to_write.empty()) wanted.push_back({now.box.commands.get(), POLLOUT, 0});
        if (now.box.input) wanted.push_back({now.box.input.get(), POLLOUT, 0});
    }
    const auto timeout = std::max<Clock::duration>(wake - before, Clock::duration::zero());
    const timespec wait{
        duration_cast<seconds>(timeout).count(),
        static_cast<long>(
            (duration_cast<std::chrono::nanoseconds>(timeout) % std::chrono::nanoseconds(seconds(1))).count())};
    if (::ppoll(wanted.data(), wanted.size(), &wait, nullptr) < 0 && errno != EINTR) {
        throw InternalError("poll failed: " + last_error());
    }
    // Much later than asked: the job was suspended and its programs with it. That time is nobody's.
    const auto gap = Clock::now() - before - timeout;
    if (gap > seconds(2)) {
        for (Job& job : running_) {
            job.now.begun += gap;
            job.now.ready += gap;
        }
    }

    signalfd_siginfo ignored[8];
    while (::read(child_signals_.get(), ignored, sizeof ignored) > 0) {
    }
    reap();
    take_messages();
    for (auto place = running_.begin(); place != running_.end();) {
        Job& job = *place;
        const auto next = std::next(place);
        read_box(job);
        if (!job.now.killing && Clock::now() >= job.now.next_look) look(job);
        if (job.now.box_status) end_box(job);
        if (job.now.killing) {
            job.now.next_look = Clock::now() + milliseconds(100);  // the deaths of its processes wake us
            if (gone(job)) finish(job);
        } else if (job.now.end) {
            settle(job);
        }
        place = next;
    }
    if (!running_.empty() && Clock::now() >= next_heartbeat_) {
        send(MessageKind::heartbeat, "");
        next_heartbeat_ = Clock::now() + heartbeat_interval;
    }
    flush_socket();
}

void Server::take_messages() {
    char piece[65536];
    for (;;) {
        const ssize_t count = ::recv(socket_.get(), piece, sizeof piece, MSG_DONTWAIT);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) break;
        if (count <= 0) {
            rank_gone_ = true;
            return;
        }
        inbox_.append(piece, static_cast<std::size_t>(count));
        if (inbox_.size() > (1u << 20)) break;  // deal with these first
    }
    while (const std::optional<Message> message = take_message(inbox_)) {
        Reader reader(message->payload);
        Job job;
        job.id = reader.number<std::uint64_t>();
        if (message->kind == MessageKind::program) {
            job.program = take_program(reader);
        } else if (message->kind == MessageKind::script) {
            job.script = true;
            job.program.source = reader.text();
            job.input = reader.text();
        } else {
            throw InternalError("the rank sent a message of an unknown kind");
        }
        queue_.push_back(std::move(job));
    }
}

void Server::send(MessageKind kind, std::string_view payload) {
    outbox_ += encode(kind, payload);
    flush_socket();
}

void Server::flush_socket() {
    while (!outbox_.empty() && !rank_gone_) {
        const ssize_t count = ::send(socket_.get(), outbox_.data() + outbox_sent_, outbox_.size() - outbox_sent_,
                                     MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) return;
        if (count < 0) {
            rank_gone_ = true;
            return;
        }
        outbox_sent_ += static_cast<std::size_t>(count);
        if (outbox_sent_ == outbox_.size()) {
            outbox_.clear();
            outbox_sent_ = 0;
        }
    }
}

void Server::begin(Job& job) {
    if (job.script) {
        job.steps.push_back({'s', &job.program.source, -1});
    } else {
        const std::vector<std::string>& tests = job.program.tests;
        std::string names;
        for (const std::string& test : tests) {
            job.forms.push_back(form_of(test));
            // Brackets, so that a call may run over several lines.
            job.calls.push_back(job.forms.back() ? "(" + job.forms.back()->call + "\n)" : std::string());
            names += test + "\n";
        }
        job.prelude = entry_point(tests);
        for (const std::string& text : {names, job.program.setup_code}) {
            for (const std::string& name : names_in(text))
                job.prelude += "\n" + name;
        }
        job.steps.push_back({'p', &job.program.source, -1});
        if (!job.program.setup_code.empty()) job.steps.push_back({'u', &job.program.setup_code, -1});
        for (std::size_t i = 0; i < tests.size(); ++i) {
            if (job.forms[i])
                job.steps.push_back({'v', &job.calls[i], static_cast<int>(i)});
            else
                job.steps.push_back({'t', &tests[i], static_cast<int>(i)});
        }
    }
    restart_attempt(job);
}

void Server::restart_attempt(Job& job) {
    job.now = Job::Attempt{};
    ++job.attempts;
    job.now.begun = Clock::now();
    job.now.next_look = job.now.begun + look_interval;
    take_box(job);
    send_first(job);
}

// A fresh box, or a warm one that waits.
void Server::take_box(Job& job) {
    if (job.script || !starter_->plan().warm) {
        job.now.box = starter_->start(job.script ? options_.script_seconds : 0);
        if (starter_->plan().isolation == Isolation::rlimits) job.now.box.info.reset();
        return;
    }
    while (!waiting_.empty()) {
        job.now.box = std::move(waiting_.back());
        waiting_.pop_back();
        if (attach(job.now.box)) return;
        discard(std::move(job.now.box));
    }
    job.now.box = starter_->start_warm();
    attach(job.now.box);  // if it is dead already, its end says so
}

// Ends a box in which no program runs. Its processes are children of ours or become so, and are waited for in reap().
void Server::discard(Box box) {
    if (box.init != 0) ::kill(box.init, SIGKILL);
    ::kill(box.pid, SIGKILL);
}

// The program in a warm box has ended and no process of it is left: takes what it has written and frees the box.
void Server::settle(Job& job) {
    Job::Attempt& now = job.now;
    leave_box(job);
    read_box(job);
    if (now.killing) return;  // what was left in the pipes was too much
    now.box.reaped_seconds += now.end->cpu_seconds;
    const std::size_t most = static_cast<std::size_t>(options_.workers) + 1;
    // A program that never reported leaves the launcher's message for it unread, perhaps.
    if (now.is_ready && waiting_.size() < most && clean(now.box)) {
        waiting_.push_back(std::move(now.box));
        now.box = Box{};
        finish(job);
    } else {
        end_box(job);
    }
}

// The first command, which only asks whether the box stands, and with it the program, to save a turn.
void Server::send_first(Job& job) {
    Job::Attempt& now = job.now;
    append_command(job, now.token, 'r', job.prelude);
    append_command(job, now.next_token, job.steps.front().kind, *job.steps.front().text);
    now.awaiting = true;
}

void Server::send_step(Job& job) {
    Job::Attempt& now = job.now;
    const Job::Step& step = job.steps.at(now.step++);
    now.whole_test = false;
    send_text(job, step.kind, *step.text);
}

void Server::send_text(Job& job, char kind, const std::string& text) {
    append_command(job, job.now.token, kind, text);
    job.now.awaiting = true;
}

// Each command has a fresh token, which its report must repeat.
void Server::append_command(Job& job, std::array<char, 16>& token, char kind, const std::string& text) {
    Job::Attempt& now = job.now;
    if (::getrandom(token.data(), token.size(), 0) != static_cast<ssize_t>(token.size())) {
        throw InternalError("the system gives no random bytes: " + last_error());
    }
    const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(text.size(), UINT32_MAX));
    now.to_write.append(token.data(), token.size());
    now.to_write.push_back(kind);
    for (int shift = 0; shift < 32; shift += 8)
        now.to_write.push_back(static_cast<char>(length >> shift & 0xff));
    now.to_write.append(text, 0, length);
}

void Server::read_box(Job& job) {
    Job::Attempt& now = job.now;
    Box& box = now.box;
    const std::uint64_t keep = job.script ? script_output_bytes : options_.limits.output_bytes;
    bool overflow = false;
    if (box.output && !drain(box.output, now.out, keep, overflow)) box.output.reset();
    if (box.errors && !drain(box.errors, now.err, keep, overflow)) box.errors.reset();
    if (overflow && !now.killing) {
        fail(job, Verdict::output_limit, "more than " + std::to_string(keep) + " bytes of output");
    }
    if (box.info && !drain(box.info, box.info_text)) {
        box.info.reset();
        const std::size_t place = box.info_text.find("\"child-pid\":");
        if (place != std::string::npos) {
            box.init = std::atoi(box.info_text.c_str() + place + 12);
        }
    }
    if (box.own_errors && !now.is_ready && !drain(box.own_errors, now.err, keep, overflow)) box.own_errors.reset();
    if (box.results) {
        if (!drain(box.results, now.results)) box.results.reset();
        read_results(job);
    }
    if (box.status && !drain(box.status, now.status)) box.status.reset();
    while (box.control && !now.end) {
        try {
            const std::optional<LauncherMessage> message = next_message(box);
            if (!message) break;
            if (message->kind == LauncherMessage::Kind::ready) continue;
            now.end = message;
            now.status.assign(reinterpret_cast<const char*>(&message->wait_status), sizeof message->wait_status);
        } catch (const InternalError&) {
            box.control.reset();  // the end of the box follows, or is brought about
            end_box(job);
        }
    }
    if (now.status.size() >= 4) leave_box(job);  // the program's process has ended by itself

    while (box.commands && !now.to_write.empty() && !now.killing) {
        const ssize_t count = ::write(box.commands.get(), now.to_write.data(), now.to_write.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) break;
        if (count < 0) {
            box.commands.reset();  // the other end is closed: its exit or the clock decides
            break;
        }
        now.to_write.erase(0, static_cast<std::size_t>(count));
    }
    while (box.input && !now.killing) {
        if (now.input_written == job.input.size()) {
            box.input.reset();
            break;
        }
        const ssize_t count =
            ::write(box.input.get(), job.input.data() + now.input_written, job.input.size() - now.input_written);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) break;
        if (count < 0) {
            box.input.reset();
            break;
        }
        now.input_written += static_cast<std::size_t>(count);
    }
}

void Server::read_results(Job& job) {
    Job::Attempt& now = job.now;
    while (!now.results.empty() && !now.proven) {
        const std::size_t shown = std::min(now.results.size(), now.token.size());
        bool valid = now.awaiting &&
                     std::equal(now.results.begin(), now.results.begin() + static_cast<long>(shown), now.token.begin());
        std::uint32_t length = 0;
        if (valid && now.results.size() >= report_header) {
            std::memcpy(&length, now.results.data() + now.token.size(), sizeof length);
            valid = length <= (now.step > 0 && job.steps[now.step - 1].kind == 'v' ? largest_value : largest_report);
        }
        if (!valid) {
            now.suspicious = true;
            now.results.clear();
            now.awaiting = false;
            fail(job, Verdict::runtime, "bytes on the result channel that are no report");
            return;
        }
        if (now.results.size() < report_header || now.results.size() < report_header + length) return;
        const std::string payload = now.results.substr(report_header, length);
        now.results.erase(0, report_header + length);
        now.awaiting = false;
        take_report(job, payload);
    }
}

void Server::take_report(Job& job, std::string_view payload) {
    Job::Attempt& now = job.now;
    if (!now.is_ready) {
        now.is_ready = true;
        now.ready = Clock::now();
        now.token = now.next_token;
        now.step = 1;
        now.awaiting = !job.script;
        return;
    }
    const Job::Step& step = job.steps[now.step - 1];
    const std::size_t end = std::min(payload.find('\0'), payload.size());
    std::string_view word = payload.substr(0, end);
    std::string words(payload.substr(std::min(end + 1, payload.size())));
    const bool evaluated = step.kind == 'v' && !now.whole_test;
    Verdict verdict = Verdict::runtime;
    try {
        if (evaluated) {
            if (word == "passed") throw InputError("only values are expected");
            if ((word == "value" || word == "object") && !judge_value(job, word, words)) return;
        } else if (step.test >= 0) {
            ++now.inside;
        }
        verdict = verdict_from_string(word);
        if (!sayable(verdict)) throw InputError("not for the program to say");
    } catch (const InputError&) {
        now.suspicious = true;
        fail(job, Verdict::runtime, "a report that is none");
        return;
    }
    if (verdict == Verdict::passed) {
        if (step.test >= 0) ++now.passed;
    } else {
        if (step.test >= 0 && now.first_failed < 0) now.first_failed = step.test;
        now.failures.emplace_back(verdict, step_name(step) + ": " + readable(words));
    }
    if (now.killing || now.leaving) return;                            // read after the box was ended
    const bool useless = verdict != Verdict::passed && step.test < 0;  // without it no test says anything
    if (useless || now.step == job.steps.size()) {
        now.proven = !useless;
        now.stopped_by_us = true;
        leave_box(job);
    } else {
        send_step(job);
    }
}

// Compares a value with what its test expects. False when the test is sent once more, to run inside as a whole.
bool Server::judge_value(Job& job, std::string_view& word, std::string& words) {
    Job::Attempt& now = job.now;
    const Job::Step& step = job.steps[now.step - 1];
    const TestForm& form = *job.forms[static_cast<std::size_t>(step.test)];
    using Relation = TestForm::Relation;
    Judgement judgement = Judgement::unknown;
    std::string shown;
    if (word == "value") {
        PythonValue value;
        if (!decode(words, value)) throw InputError("not an encoded value");
        judgement = exec::judge(form, value);
        shown = to_text(value, shown_value);
    } else {
        // Truth, whether the class has an equality written in Python, what it is.
        if (words.size() < 2) throw InputError("not a description of an object");
        shown = words.substr(2);
        if (form.relation == Relation::truth) {
            judgement = (words[0] == 'T') != form.negated ? Judgement::holds : Judgement::fails;
            ++now.inside;
        } else if (form.relation == Relation::equal || form.relation == Relation::identical) {
            // No object but plain data is equal to a literal, as far as we believe it: an equality that the program
            // wrote itself could say anything.
            judgement = form.negated ? Judgement::holds : Judgement::fails;
            now.suspicious |= form.relation == Relation::equal && words[1] == '1';
            if (form.negated) ++now.inside;
        }
    }
    if (judgement == Judgement::unknown) {
        now.whole_test = true;
        send_text(job, 't', job.program.tests[static_cast<std::size_t>(step.test)]);
        return false;
    }
    word = judgement == Judgement::holds ? "passed" : "wrong";
    words = judgement == Judgement::holds ? "" : "AssertionError: " + shown;
    if (judgement == Judgement::fails && form.relation == Relation::equal) {
        words += (form.negated ? " equals " : " is not ") + to_text(form.expected, shown_value);
    }
    return true;
}

// What the processes of the box use now.
BoxUse Server::measure(Job& job) {
    Job::Attempt& now = job.now;
    Box& box = now.box;
    const bool warm = static_cast<bool>(box.control);
    if (!box.proc && now.is_ready && box.init != 0 && starter_->plan().proc) {
        // Not before the box stands: until then this path leads to the machine's own.
        const std::string path = "/proc/" + std::to_string(box.init) + "/root/proc";
        box.proc = Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    const Fd machine(box.proc ? -1 : ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // A fresh box holds two processes of its own, a warm one none that counts: the same limit means the same in both.
    const std::uint64_t own = warm ? 2 : 0;
    BoxView view{box.proc ? box.proc.get() : machine.get()};
    if (!box.proc) view.root = box.pid;
    view.launcher = warm;
    view.reaped_seconds = box.reaped_seconds;
    if (!job.script) view.most_tasks = options_.limits.processes - own;
    BoxUse use = look_at_box(view);
    use.tasks += own;
    now.seen.cpu_seconds = std::max(now.seen.cpu_seconds, use.cpu_seconds);
    now.seen.waiting_seconds = std::max(now.seen.waiting_seconds, use.waiting_seconds);
    now.seen.peak_bytes = std::max(now.seen.peak_bytes, use.peak_bytes);
    return use;
}

// Clock, processor time, memory and number of processes, seen from outside.
void Server::look(Job& job) {
    Job::Attempt& now = job.now;
    const auto time = Clock::now();
    if (now.leaving) {
        now.next_look = now.leave_until;
        if (time >= now.leave_until) end_box(job);
        return;
    }
    if (!now.is_ready) {
        now.next_look = time + look_interval;
        if (time - now.begun > box_start_limit) fail(job, Verdict::internal, "the box did not start in a minute");
        return;
    }
    if (starter_->plan().warm && waiting_.empty() && !rank_gone_ && time - now.ready > spare_after) {
        waiting_.push_back(starter_->start_warm());
    }
    const Limits& limits = options_.limits;
    const double wall_limit = job.script ? options_.script_seconds : limits.wall_seconds;
    const double cpu_limit = job.script ? options_.script_seconds : limits.cpu_seconds;
    const BoxUse use = measure(job);
    if (!job.script && use.tasks > limits.processes) {
        return fail(job, Verdict::nproc, std::to_string(use.tasks) + " processes and threads");
    }
    if (!job.script && use.rss_bytes > 2 * limits.address_space_bytes) {
        return fail(job, Verdict::memory, std::to_string(use.rss_bytes >> 20) + " MiB resident in all processes");
    }
    if (use.cpu_seconds >= cpu_limit) return fail(job, Verdict::timeout_cpu, limit_text(cpu_limit));
    const auto deadline = now.ready + from_seconds(wall_limit + std::min(now.seen.waiting_seconds, 2 * wall_limit));
    if (time >= deadline) {
        // A busy program reaches both limits together when they are equal, and on a loaded machine the wall limit first:
        // the same verdict every time. Busy is who nearly always ran or waited for a processor.
        const double elapsed = std::chrono::duration<double>(time - now.ready).count();
        const bool busy = use.cpu_seconds >= 0.9 * cpu_limit || use.cpu_seconds + now.seen.waiting_seconds >= 0.9 * elapsed;
        return fail(job, busy ? Verdict::timeout_cpu : Verdict::timeout_wall, limit_text(wall_limit));
    }
    // Looking must stay cheap where there are many processes to look at.
    const auto cost = Clock::now() - time;
    now.next_look = std::min(deadline, std::max(time + look_interval, time + 20 * cost));
}

void Server::fail(Job& job, Verdict verdict, const std::string& detail) {
    Job::Attempt& now = job.now;
    std::string where = now.is_ready && now.step > 0 ? step_name(job.steps[now.step - 1]) : "box";
    if (now.is_ready && now.step > 0 && job.steps[now.step - 1].test >= 0 && now.first_failed < 0) {
        now.first_failed = job.steps[now.step - 1].test;
    }
    now.failures.emplace_back(verdict, where + ": " + std::string(to_string(verdict)) + ": " + detail);
    if (!now.killing) now.stopped_by_us = true;
    end_box(job);
}

// Lets the box end by itself, for a moment: only then does the kernel add up what its processes have used. The child
// leaves when no more commands can come.
void Server::leave_box(Job& job) {
    Job::Attempt& now = job.now;
    if (now.killing || now.leaving) return;
    now.leaving = true;
    now.ended = Clock::now();
    now.leave_until = now.ended + leave_limit;
    now.next_look = now.leave_until;
    now.box.commands.reset();
}

// The end of bubblewrap is the end of its namespace's first process, and that the end of all others.
void Server::end_box(Job& job) {
    Job::Attempt& now = job.now;
    if (now.killing) return;
    now.killing = true;
    now.kill_begun = Clock::now();
    now.next_look = now.kill_begun;
    if (!now.leaving) now.ended = now.kill_begun;
    if (now.box_status) return;
    if (now.is_ready) measure(job);
    if (starter_->plan().isolation == Isolation::rlimits) ::kill(-now.box.pid, SIGKILL);
    ::kill(now.box.pid, SIGKILL);
}

void Server::reap() {
    for (;;) {
        int status = 0;
        rusage usage{};
        const pid_t pid = ::wait4(-1, &status, WNOHANG, &usage);
        if (pid < 0 && errno == EINTR) continue;
        if (pid <= 0) return;
        std::erase_if(waiting_, [pid](const Box& box) { return box.pid == pid; });
        for (Job& job : running_) {
            if (pid == job.now.box.pid) {
                job.now.box_status = status;
                job.now.box_usage = usage;
            } else if (pid == job.now.box.init) {
                job.now.init_reaped = true;
                job.now.init_usage = usage;
            }
        }
    }
}

// Whether nothing of the box is alive. Its first process becomes our child when bubblewrap dies before it.
bool Server::gone(Job& job) {
    Job::Attempt& now = job.now;
    if (Clock::now() - now.kill_begun > box_end_limit) return true;
    if (!now.box_status) return false;
    if (now.box.info) read_box(job);
    if (now.box.init == 0) {
        sweep_strays();
        return true;
    }
    if (now.init_reaped) return true;
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(now.box.init), &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return true;  // no child
    ::kill(now.box.init, SIGKILL);
    return false;
}

// A child that belongs to no running box is an orphan of one that has ended.
void Server::sweep_strays() {
    for (bool found = true; found;) {
        found = false;
        for (const pid_t pid : own_children()) {
            const auto of_box = [pid](const Box& box) { return pid == box.pid || pid == box.init; };
            const bool known = std::any_of(waiting_.begin(), waiting_.end(), of_box) ||
                               std::any_of(running_.begin(), running_.end(), [&](const Job& job) {
                                   return of_box(job.now.box) && !(pid == job.now.box.pid && job.now.box_status);
                               });
            if (known) continue;
            found = true;
            ::kill(pid, SIGKILL);
            while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
            }
        }
    }
}

void Server::finish(Job& job) {
    Job::Attempt& now = job.now;
    read_box(job);
    if (!now.box.folder.empty()) {
        std::error_code error;
        std::filesystem::remove_all(now.box.folder, error);
        if (error)
            std::fprintf(stderr, "pva supervisor process: cannot remove %s: %s\n", now.box.folder.c_str(),
                         error.message().c_str());
    }
    bool outside_signal = false;
    Outcome outcome = judge(job, outside_signal);
    if ((outcome.verdict == Verdict::internal || outside_signal) && job.attempts < most_attempts && !rank_gone_) {
        restart_attempt(job);
        return;
    }
    Writer writer;
    writer.number(job.id);
    if (job.id == probe_id) {
        probed_ = outcome;
    } else if (job.script) {
        const bool success =
            now.failures.empty() && now.status.size() >= 4 && now.status.compare(0, 4, std::string(4, '\0')) == 0;
        writer.number<std::uint8_t>(success ? 1 : 0);
        writer.text(now.out);
        writer.text(success ? "" : outcome.detail + "\n" + trimmed(now.err));
        send(MessageKind::script_end, writer.take());
    } else {
        put(writer, outcome);
        send(MessageKind::outcome, writer.take());
    }
    running_.remove_if([&job](const Job& other) { return &other == &job; });
}

Outcome Server::judge(const Job& job, bool& outside_signal) const {
    const Job::Attempt& now = job.now;
    Outcome outcome;
    outcome.asserts_passed = now.passed;
    outcome.asserts_total = static_cast<int>(job.program.tests.size());
    outcome.first_failed = now.first_failed;
    outcome.wall_seconds = now.is_ready ? to_seconds(now.ended - now.ready) : 0;
    // The kernel's sums lack what was killed with its namespace, the last look from outside lacks what came after it.
    outcome.cpu_seconds = now.seen.cpu_seconds;
    outcome.peak_rss_bytes = now.seen.peak_bytes;
    if (now.end) {
        outcome.cpu_seconds = std::max(outcome.cpu_seconds, now.end->cpu_seconds);
        outcome.peak_rss_bytes = std::max(outcome.peak_rss_bytes, now.end->peak_bytes);
    } else if (!starter_->plan().warm || job.script) {  // in a warm box these are of all programs that ran in it
        outcome.cpu_seconds = std::max(outcome.cpu_seconds,
                                       to_seconds(now.box_usage.ru_utime) + to_seconds(now.box_usage.ru_stime) +
                                           to_seconds(now.init_usage.ru_utime) + to_seconds(now.init_usage.ru_stime));
        const auto peak_kib = std::max(now.box_usage.ru_maxrss, now.init_usage.ru_maxrss);
        outcome.peak_rss_bytes = std::max(outcome.peak_rss_bytes, static_cast<std::uint64_t>(peak_kib) << 10);
    }
    outcome.compared_inside = now.inside;
    outcome.stdout_text = now.out;
    outcome.stderr_text = now.err;
    outcome.suspicious = now.suspicious;

    std::vector<std::pair<Verdict, std::string>> failures = now.failures;
    if (!now.stopped_by_us) {
        std::string where = now.step > 0 ? step_name(job.steps[now.step - 1]) + ": " : "";
        if (now.step > 0 && outcome.first_failed < 0) outcome.first_failed = job.steps[now.step - 1].test;
        if (!now.is_ready) {
            failures.emplace_back(Verdict::internal, "the box ended before the program began");
        } else if (now.status.size() >= 4) {
            int status = 0;
            std::memcpy(&status, now.status.data(), sizeof status);
            if (WIFSIGNALED(status)) {
                outcome.signal = WTERMSIG(status);
                const bool limit = outcome.signal == SIGXCPU ||
                                   (outcome.signal == SIGKILL && outcome.cpu_seconds >= options_.limits.cpu_seconds);
                outside_signal = !limit && !raised_by_fault(outcome.signal);
                failures.emplace_back(limit ? Verdict::timeout_cpu : Verdict::signal,
                                      where + "ended by signal " + std::to_string(outcome.signal) + " (" +
                                          ::strsignal(outcome.signal) + ")");
            } else {
                outcome.exit_status = WEXITSTATUS(status);
                const bool memory = outcome.exit_status == 98;  // see bootstrap.py
                failures.emplace_back(memory ? Verdict::memory : Verdict::early_exit,
                                      where + (memory ? "no memory left to report"
                                                      : "exit with status " + std::to_string(outcome.exit_status) +
                                                            (job.script ? "" : " before the last test was reported")));
            }
        } else if (now.box_status && WIFSIGNALED(*now.box_status)) {
            failures.emplace_back(Verdict::internal, where + "the box was ended from outside by signal " +
                                                         std::to_string(WTERMSIG(*now.box_status)));
        } else {
            // The launcher, the only other process a program can reach, is gone without a word.
            outcome.suspicious = true;
            outside_signal = true;
            failures.emplace_back(Verdict::signal, where + "the process that watches the program was ended");
        }
    }
    if (job.script) outcome.asserts_total = 0;
    if (failures.empty()) {
        outcome.verdict = now.proven ? Verdict::passed : Verdict::internal;
        if (!now.proven) outcome.detail = "the run ended without proof and without failure";
        return outcome;
    }
    const auto worst = std::min_element(failures.begin(), failures.end(), [](const auto& a, const auto& b) {
        return precedence(a.first) < precedence(b.first);
    });
    outcome.verdict = worst->first;
    outcome.detail = worst->second;
    return outcome;
}

}  // namespace pva::exec
