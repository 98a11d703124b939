// The exit codes of every pva executable (sysexits.h numbers where one fits).
#pragma once

namespace pva {

enum class ExitCode : int {
    done = 0,        ///< finished, or found finished already
    usage = 64,      ///< wrong command line or configuration file
    bad_input = 65,  ///< a file or setting that cannot be used
    internal = 70,   ///< a fault of pva itself
    io = 74,         ///< reading or writing failed (disk full, no permission, ...)
    stopped = 75,    ///< stopped on request; everything finished is stored; run the same command again
};

}  // namespace pva
