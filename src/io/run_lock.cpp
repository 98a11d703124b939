// flock, with care for runs that end at the same moment.
#include "pva/io/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "pva/core/error.h"
#include "pva/core/provenance.h"

namespace pva::io {

void RunLock::acquire_exclusive(const std::string& path) {
    constexpr int tries = 100;
    for (int i = 0; i < tries; ++i) {
        open_file(path);
        if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) {
            // A run that has just ended removes the file: a lock on a file without a name protects nothing.
            struct stat by_descriptor {};
            struct stat by_path {};
            if (fstat(descriptor_, &by_descriptor) == 0 && stat(path.c_str(), &by_path) == 0 && by_descriptor.st_ino == by_path.st_ino) {
                const std::string who = host_name() + " process " + std::to_string(getpid()) + "\n";
                if (ftruncate(descriptor_, 0) != 0 || pwrite(descriptor_, who.data(), who.size(), 0) < 0) { /* only a hint for people */ }
                return;
            }
        } else if (errno != EWOULDBLOCK && errno != EINTR) {
            throw IoError(path + ": flock failed (" + std::strerror(errno) + "); the file system must support flock");
        }
        release();
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    std::ifstream holder(path);
    std::string who;
    std::getline(holder, who);
    throw InputError("another run is working on this (" + (who.empty() ? "unknown process" : who) + " holds " + path +
                     "); wait for it, or start with other settings or another folder");
}

void RunLock::share(const std::string& path) {
    if (descriptor_ < 0) open_file(path);
    for (int i = 0; i < 100; ++i) {
        if (flock(descriptor_, LOCK_SH | LOCK_NB) == 0) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    throw InputError("another run took " + path + " at the same moment; start one of them again");
}

void RunLock::release() {
    if (descriptor_ >= 0) close(descriptor_);
    descriptor_ = -1;
}

void RunLock::open_file(const std::string& path) {
    descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw IoError(path + ": cannot be created (" + std::strerror(errno) + "); check the folder's permissions and free space");
}

bool is_locked(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return false;
    const bool locked = flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(descriptor);
    return locked;
}

}  // namespace pva::io
