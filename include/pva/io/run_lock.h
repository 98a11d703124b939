// The lock by which a living run holds its working file: flock on a file beside it.
#pragma once

#include <string>

namespace pva::io {

/// Held by all ranks of a run. Rank 0 takes it exclusively (which proves that no rank of another run lives), then all
/// ranks hold it shared: ranks can outlive a killed mpirun for a moment. The kernel drops it with the process.
class RunLock {
  public:
    RunLock() = default;
    RunLock(const RunLock&) = delete;
    RunLock& operator=(const RunLock&) = delete;
    ~RunLock() { release(); }

    /// Waits up to ten seconds. Errors: InputError when another run holds it; IoError.
    void acquire_exclusive(const std::string& path);
    /// Errors: InputError when another run holds it exclusively; IoError.
    void share(const std::string& path);
    void release();

  private:
    void open_file(const std::string& path);
    int descriptor_ = -1;
};

/// Whether some process holds the lock of that name; false when there is no such file.
bool is_locked(const std::string& path);

}  // namespace pva::io
