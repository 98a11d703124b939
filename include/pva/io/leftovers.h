// What interrupted runs left in a data folder: runs that can go on, and files that nothing needs any more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pva::io {

/// A working file (`*.h5.part`) with units left to do.
struct UnfinishedRun {
    std::string path;
    std::string filetype;     ///< "pva dataset", ...
    std::int64_t done = 0;    ///< units marked done
    std::int64_t total = 0;
    bool alive = false;       ///< a process holds its lock
    std::string program;      ///< "pva_phase1"
    int ranks = 1;            ///< it was started with
    std::vector<std::string> arguments;  ///< the options it was given, one word each
};

/// All of them below <data>, by path. A file that cannot be read is left out and named by `leftovers`. On file systems
/// whose locks other nodes do not see, a run there looks as if it were not alive.
std::vector<UnfinishedRun> unfinished_runs(const std::string& data);

/// A file that no run needs.
struct Leftover {
    std::string path;
    std::string why;
    std::uintmax_t bytes = 0;
};

/// Below <data>: files of runs that died while they made or replaced a file, segment files and locks without a working
/// file, working files whose result is complete, and logs older than `log_days`. Nothing that a living run holds, nothing
/// complete, and no working file that can be taken up.
std::vector<Leftover> leftovers(const std::string& data, double log_days);

/// Removes them. Errors: IoError naming the first that cannot be removed.
void remove_leftovers(const std::vector<Leftover>& files);

}  // namespace pva::io
