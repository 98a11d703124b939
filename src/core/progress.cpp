// Progress bar and progress lines.
#include "pva/core/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "pva/core/log.h"

namespace pva {

bool stdout_is_terminal() {
    if (isatty(STDOUT_FILENO) != 1) return false;
    if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return true;
    // Open MPI's mpirun gives its ranks a pseudo-terminal even when its own output goes to a file: ask for the parent's.
    const std::string link = "/proc/" + std::to_string(getppid()) + "/fd/1";
    char target[256];
    const ssize_t size = readlink(link.c_str(), target, sizeof target - 1);
    if (size <= 0) return false;
    const std::string name(target, static_cast<std::size_t>(size));
    return name.starts_with("/dev/pts/") || name.starts_with("/dev/tty");
}

std::string duration_text(double seconds) {
    const auto whole = static_cast<std::int64_t>(std::llround(std::max(0.0, seconds)));
    char text[64];
    if (whole >= 3600) {
        std::snprintf(text, sizeof text, "%lld h %02lld min", static_cast<long long>(whole / 3600), static_cast<long long>(whole % 3600 / 60));
    } else if (whole >= 60) {
        std::snprintf(text, sizeof text, "%lld min %02lld s", static_cast<long long>(whole / 60), static_cast<long long>(whole % 60));
    } else {
        std::snprintf(text, sizeof text, "%lld s", static_cast<long long>(whole));
    }
    return text;
}

std::string Progress::line(const std::string& unit, std::int64_t done, std::int64_t total, std::int64_t already_done,
                           double seconds) {
    char text[160];
    const double share = total > 0 ? 100.0 * static_cast<double>(done) / static_cast<double>(total) : 100.0;
    std::snprintf(text, sizeof text, "%lld/%lld %s (%.1f %%)", static_cast<long long>(done), static_cast<long long>(total), unit.c_str(), share);
    std::string result = text;
    const std::int64_t fresh = done - already_done;
    if (fresh > 0 && seconds > 0) {
        const double rate = static_cast<double>(fresh) / seconds;
        std::snprintf(text, sizeof text, rate >= 0.1 ? ", %.1f %s/s" : ", %.3f %s/s", rate, unit.c_str());
        result += text;
        if (done < total) result += ", " + duration_text(static_cast<double>(total - done) / rate) + " left";
    }
    return result;
}

Progress::Progress(Log& log, std::string unit, std::int64_t total, std::int64_t already_done, Settings settings)
    : log_(log),
      unit_(std::move(unit)),
      total_(total),
      already_done_(already_done),
      done_(already_done),
      settings_(settings),
      start_(std::chrono::steady_clock::now()),
      last_shown_(start_) {}

Progress::~Progress() {
    // An exception is passing by: leave the terminal on a fresh line.
    if (!finished_ && settings_.visible && settings_.terminal) std::cout << std::endl;
}

void Progress::update(std::int64_t done, const std::string& note) {
    done_ = done;
    note_ = note;
    const double since = std::chrono::duration<double>(std::chrono::steady_clock::now() - last_shown_).count();
    if (since >= (settings_.terminal ? 0.2 : settings_.seconds_between_lines)) show(false);
}

void Progress::show(bool last) {
    if (!settings_.visible) return;
    last_shown_ = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(last_shown_ - start_).count();
    std::string text = line(unit_, done_, total_, already_done_, seconds);
    if (!note_.empty()) text += ", " + note_;
    if (settings_.terminal && !last) {
        constexpr std::int64_t width = 28;
        const std::int64_t filled = total_ > 0 ? std::min(width, width * done_ / total_) : width;
        std::cout << "\r[" << std::string(static_cast<std::size_t>(filled), '#')
                  << std::string(static_cast<std::size_t>(width - filled), '.') << "] " << text << "\033[K" << std::flush;
    } else {
        if (settings_.terminal) std::cout << "\r\033[K" << std::flush;
        log_.info(text + (last ? ", took " + duration_text(seconds) : ""));
    }
}

void Progress::finish() {
    if (finished_) return;
    show(true);
    finished_ = true;
}

}  // namespace pva
