// Console and file log.
#include "pva/core/log.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <mutex>
#include <vector>

#include "pva/core/error.h"

namespace pva {

LogLevel log_level_from_name(const std::string& name) {
    if (name == "error") return LogLevel::error;
    if (name == "warning") return LogLevel::warning;
    if (name == "info") return LogLevel::info;
    if (name == "debug") return LogLevel::debug;
    throw UsageError("--log-level is one of error, warning, info, debug, not '" + name + "'");
}

namespace {
std::string local_time(const char* format) {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    localtime_r(&now, &parts);
    char text[64];
    const std::size_t size = std::strftime(text, sizeof text, format, &parts);
    return std::string(text, size);
}
}  // namespace

std::string timestamp_now() { return local_time("%Y-%m-%d_%H-%M-%S"); }

struct Log::State {
    int rank = 0;
    LogLevel level = LogLevel::info;
    std::mutex mutex;  // progress lines may come from another thread than messages
    std::ofstream file;
    std::string path;
    std::vector<std::string> early;  // lines written before the file is known
};

Log::Log(int rank, LogLevel level) : state_(std::make_unique<State>()) {
    state_->rank = rank;
    state_->level = level;
}
Log::~Log() = default;

LogLevel Log::level() const { return state_->level; }

void Log::open_file(const std::string& path) {
    const std::lock_guard lock(state_->mutex);
    state_->file.open(path, std::ios::app);
    if (!state_->file) {
        throw IoError(path + ": the log file cannot be written (" + std::strerror(errno) + "); choose another --data folder");
    }
    state_->path = path;
    for (const std::string& line : state_->early) state_->file << line << "\n";
    state_->file.flush();
    state_->early.clear();
}

void Log::write(LogLevel level, const std::string& text) {
    if (level > state_->level) return;
    const std::lock_guard lock(state_->mutex);
    const std::string mark = level == LogLevel::error ? "error: " : level == LogLevel::warning ? "warning: " : "";
    const std::string who = state_->rank == 0 ? "" : "[rank " + std::to_string(state_->rank) + "] ";
    if (state_->rank == 0 || level <= LogLevel::warning) {
        std::ostream& out = level <= LogLevel::warning ? std::cerr : std::cout;
        out << who << mark << text << std::endl;
    }
    const std::string line = local_time("%Y-%m-%d %H:%M:%S ") + who + mark + text;
    if (state_->file.is_open()) {
        state_->file << line << std::endl;
    } else if (state_->early.size() < 1000) {
        state_->early.push_back(line);
    }
}

void Log::error(const std::string& text) { write(LogLevel::error, text); }
void Log::warning(const std::string& text) { write(LogLevel::warning, text); }
void Log::info(const std::string& text) { write(LogLevel::info, text); }
void Log::debug(const std::string& text) { write(LogLevel::debug, text); }

}  // namespace pva
