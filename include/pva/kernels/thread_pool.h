// Waiting threads that share the tasks of one call after another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace pva::kernels {

/// A fixed number of threads, the calling one among them. A call costs a few microseconds: waiting threads look for
/// work for a short while before they sleep, and a call never waits for a thread that has not taken a task of it, so
/// that more threads than cores slow things down without stopping them.
class ThreadPool {
  public:
    /// Starts `threads` - 1 threads. Throws UsageError unless 1 <= threads <= 4096.
    explicit ThreadPool(int threads);
    /// Ends and joins them.
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// Threads that work on a call, the caller included.
    int threads() const;

    /// Calls body(task) once for every task in 0..tasks-1 and returns when all have returned. Every thread begins with
    /// a share of neighbouring tasks, in ascending order, and then helps the others. After a task that throws only
    /// lower ones are begun, and the exception of the lowest that throws is thrown here. Which thread runs which
    /// task is left open, so tasks must not depend on it. Throws InternalError when called while this pool is running:
    /// from one of its own tasks or from another thread.
    void run(std::int64_t tasks, const std::function<void(std::int64_t task)>& body) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace pva::kernels
