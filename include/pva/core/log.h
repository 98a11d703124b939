// Lines for people: to the console from the first rank (warnings and errors from any), and to a log file.
#pragma once

#include <memory>
#include <string>

namespace pva {

enum class LogLevel { error = 0, warning = 1, info = 2, debug = 3 };

/// Errors: UsageError for another word than error, warning, info, debug.
LogLevel log_level_from_name(const std::string& name);

/// One log per process. Lines of ranks other than the first go to the console only when they are warnings or errors,
/// and then say which rank speaks. The file gets every line of its level with the time before it.
class Log {
  public:
    /// rank: this process; level: the most detailed level that is written.
    Log(int rank, LogLevel level);
    ~Log();
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    /// Starts writing to `path` too; earlier lines are added. Errors: IoError.
    void open_file(const std::string& path);

    void error(const std::string& text);
    void warning(const std::string& text);
    void info(const std::string& text);
    void debug(const std::string& text);

    LogLevel level() const;

  private:
    void write(LogLevel level, const std::string& text);
    struct State;
    std::unique_ptr<State> state_;
};

/// Local time as YYYY-MM-DD_HH-MM-SS, the form in file names.
std::string timestamp_now();

}  // namespace pva
