// Progress of a job whose size is known: a bar with rate and time left on a terminal, a line every so often in a log.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace pva {

class Log;

/// Shows `done of total`. Only the process that was told to show anything prints.
class Progress {
  public:
    struct Settings {
        bool visible = true;            ///< false on ranks that stay silent
        bool terminal = false;          ///< draw a bar instead of writing lines
        double seconds_between_lines = 15;
    };

    /// unit: plural name of what is counted ("problems"). already_done: finished before this run; counts for the bar,
    /// not for the rate.
    Progress(Log& log, std::string unit, std::int64_t total, std::int64_t already_done, Settings settings);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// done: all that is finished by now, already_done included. note: shown behind (for instance "211 solved").
    void update(std::int64_t done, const std::string& note = "");
    /// Ends the bar and writes the last line.
    void finish();

    /// "213/400 problems (53.2 %), 8.1 problems/s, 23 s left"; the rate counts this run's work only.
    static std::string line(const std::string& unit, std::int64_t done, std::int64_t total, std::int64_t already_done,
                            double seconds);

  private:
    void show(bool last);

    Log& log_;
    std::string unit_;
    std::int64_t total_;
    std::int64_t already_done_;
    std::int64_t done_;
    Settings settings_;
    std::string note_;
    std::chrono::steady_clock::time_point start_;
    std::chrono::steady_clock::time_point last_shown_;
    bool finished_ = false;
};

/// True when standard output is a terminal that somebody looks at; under mpirun, when mpirun's own output is one.
bool stdout_is_terminal();

/// "1 h 02 min", "3 min 20 s", "12 s".
std::string duration_text(double seconds);

}  // namespace pva
