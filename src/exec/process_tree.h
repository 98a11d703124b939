// A look at the processes of one box from outside.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "fd.h"

namespace pva::exec {

struct BoxUse {
    std::uint64_t tasks = 0;       ///< processes and threads
    double cpu_seconds = 0;        ///< of all living processes and the children they have waited for
    std::uint64_t rss_bytes = 0;   ///< sum over processes; pages shared between them count more than once
    std::uint64_t peak_bytes = 0;  ///< largest resident set that one of them has had
    double waiting_seconds = 0;    ///< longest time one process was ready to run without getting a processor
};

/// Sums over the processes of a proc file system: all of it when `root` is 0 (a box with its own PID namespace), else
/// over `root` and its descendants.
BoxUse look_at_box(int proc, pid_t root);

/// Living and dead children of this process, from /proc.
std::vector<pid_t> own_children();

}  // namespace pva::exec
