// Waiting threads that share the tasks of one call after another.
#include "pva/kernels/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "pva/core/error.h"

namespace pva::kernels {

namespace {

constexpr std::uint32_t open_bit = 1U << 31;
constexpr std::chrono::microseconds spinning_time{30};

void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Looks for a while whether `ready` holds; false if it does not come to hold. Bounded in time, for on a busy machine
// the thread that is waited for may need this core.
template <typename Condition>
bool spin_until(const Condition& ready) {
    const auto end = std::chrono::steady_clock::now() + spinning_time;
    do {
        for (int i = 0; i < 32; ++i) {
            if (ready()) return true;
            pause();
        }
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

}  // namespace

// Tasks first..end-1 are one thread's own, taken in ascending order; a thread that has none left takes those of others.
// So a thread's tasks mostly follow each other, and what one fetches ahead in memory serves the next.
struct alignas(64) Share {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
};

// A call opens the gate; a thread that comes while it is open enters by counting itself in. The caller takes tasks too,
// closes the gate when none is left, and waits for those inside. So body, shares and the failure are changed only while
// nobody is inside.
struct ThreadPool::State {
    const std::function<void(std::int64_t)>* body = nullptr;
    std::exception_ptr failure;
    std::atomic<std::int64_t> failed_task{0};  // the lowest so far; past the last task while there is none
    std::mutex failure_mutex;
    std::atomic<bool> running{false};
    std::atomic<bool> ending{false};
    alignas(64) std::atomic<std::uint32_t> call{0};  // counts calls; waiting threads sleep on it
    alignas(64) std::atomic<std::uint32_t> gate{0};  // open_bit + number of threads inside
    std::vector<Share> shares;  // of the caller, then of each worker
    std::vector<std::thread> workers;

    explicit State(std::size_t threads) : shares(threads) {}
    ~State();
    void deal(std::int64_t tasks);
    void take_tasks(std::size_t thread);
    void work(std::size_t thread);
};

ThreadPool::State::~State() {
    ending.store(true, std::memory_order_release);
    call.fetch_add(1, std::memory_order_release);
    call.notify_all();
    for (std::thread& worker : workers)
        worker.join();
}

void ThreadPool::State::deal(std::int64_t tasks) {
    const auto threads = static_cast<std::int64_t>(shares.size());
    for (std::int64_t thread = 0; thread < threads; ++thread) {
        Share& share = shares[static_cast<std::size_t>(thread)];
        share.next.store(tasks * thread / threads, std::memory_order_relaxed);
        share.end = tasks * (thread + 1) / threads;
    }
}

void ThreadPool::State::take_tasks(std::size_t thread) {
    for (std::size_t i = 0; i < shares.size(); ++i) {
        Share& share = shares[(thread + i) % shares.size()];
        while (share.next.load(std::memory_order_relaxed) < share.end) {
            const std::int64_t task = share.next.fetch_add(1, std::memory_order_relaxed);
            // Lower tasks than a failed one are still run: so what is reported does not depend on which thread was first.
            if (task >= share.end || task > failed_task.load(std::memory_order_relaxed)) break;
            try {
                (*body)(task);
            } catch (...) {
                const std::lock_guard lock(failure_mutex);
                if (task < failed_task.load(std::memory_order_relaxed)) {
                    failure = std::current_exception();
                    failed_task.store(task, std::memory_order_relaxed);
                }
            }
        }
    }
}

void ThreadPool::State::work(std::size_t thread) {
    std::uint32_t seen = 0;
    while (true) {
        const auto called = [&] { return call.load(std::memory_order_acquire) != seen; };
        if (!spin_until(called)) {
            while (!called())
                call.wait(seen, std::memory_order_acquire);
        }
        seen = call.load(std::memory_order_acquire);
        if (ending.load(std::memory_order_acquire)) return;
        std::uint32_t at_gate = gate.load(std::memory_order_acquire);
        while ((at_gate & open_bit) != 0) {
            if (!gate.compare_exchange_weak(at_gate, at_gate + 1, std::memory_order_acq_rel)) continue;
            take_tasks(thread);
            if (gate.fetch_sub(1, std::memory_order_acq_rel) == 1) gate.notify_one();
            break;
        }
    }
}

ThreadPool::ThreadPool(int threads) {
    if (threads < 1 || threads > 4096)
        throw UsageError("a thread pool of " + std::to_string(threads) + " threads; 1 to 4096 are possible");
    state_ = std::make_unique<State>(static_cast<std::size_t>(threads));
    state_->workers.reserve(static_cast<std::size_t>(threads - 1));
    for (int i = 1; i < threads; ++i)
        state_->workers.emplace_back([state = state_.get(), i] { state->work(static_cast<std::size_t>(i)); });
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::threads() const {
    return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::run(std::int64_t tasks, const std::function<void(std::int64_t task)>& body) const {
    State& state = *state_;
    if (state.running.exchange(true, std::memory_order_acquire)) {
        throw InternalError(
            "a thread pool was called while it was running, from one of its own tasks or from another thread");
    }
    state.body = &body;
    state.failure = nullptr;
    state.failed_task.store(std::numeric_limits<std::int64_t>::max(), std::memory_order_relaxed);
    state.deal(std::max<std::int64_t>(tasks, 0));
    if (tasks > 1 && !state.workers.empty()) {
        state.gate.store(open_bit, std::memory_order_release);
        state.call.fetch_add(1, std::memory_order_release);
        state.call.notify_all();
        state.take_tasks(0);
        state.gate.fetch_and(~open_bit, std::memory_order_acq_rel);
        const auto left = [&] { return state.gate.load(std::memory_order_acquire) == 0; };
        if (!spin_until(left)) {
            while (const std::uint32_t inside = state.gate.load(std::memory_order_acquire))
                state.gate.wait(inside, std::memory_order_acquire);
        }
    } else {
        state.take_tasks(0);
    }
    const std::exception_ptr failure = state.failure;
    state.failure = nullptr;
    state.running.store(false, std::memory_order_release);
    if (failure) std::rethrow_exception(failure);
}

}  // namespace pva::kernels
