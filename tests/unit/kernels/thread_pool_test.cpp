// The thread pool: every task once, exceptions, reuse, misuse.
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "pva/core/error.h"
#include "pva/kernels/thread_pool.h"

using pva::kernels::ThreadPool;

BOOST_AUTO_TEST_SUITE(thread_pool)

BOOST_AUTO_TEST_CASE(every_task_runs_once) {
    for (const int threads : {1, 2, 3, 4, 16}) {
        const ThreadPool pool(threads);
        BOOST_TEST(pool.threads() == threads);
        for (const std::int64_t tasks : {0, 1, 2, 3, 5, 100, 5000}) {
            std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
            pool.run(tasks, [&](std::int64_t task) { ++runs[static_cast<std::size_t>(task)]; });
            std::int64_t once = 0;
            for (const auto& count : runs)
                once += count == 1 ? 1 : 0;
            BOOST_TEST(once == tasks);
        }
    }
}

BOOST_AUTO_TEST_CASE(what_tasks_wrote_is_seen_after_the_call) {
    const ThreadPool pool(4);
    std::vector<std::int64_t> written(64);
    std::int64_t wrong = 0;
    for (std::int64_t call = 1; call <= 5000; ++call) {
        pool.run(64, [&](std::int64_t task) { written[static_cast<std::size_t>(task)] = call * 1000 + task; });
        for (std::int64_t task = 0; task < 64; ++task)
            wrong += written[static_cast<std::size_t>(task)] != call * 1000 + task ? 1 : 0;
    }
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(calls_after_sleep) {
    const ThreadPool pool(3);
    std::atomic<int> sum{0};
    for (int call = 0; call < 5; ++call) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        pool.run(10, [&](std::int64_t task) {
            std::this_thread::sleep_for(std::chrono::microseconds(200));
            sum += static_cast<int>(task);
        });
    }
    BOOST_TEST(sum == 5 * 45);
}

BOOST_AUTO_TEST_CASE(several_threads_take_part) {
    const ThreadPool pool(2);
    std::atomic<int> waiting{0};
    // Each task waits for the other: one thread alone would never end.
    pool.run(2, [&](std::int64_t) {
        ++waiting;
        while (waiting < 2)
            std::this_thread::yield();
    });
    BOOST_TEST(waiting == 2);
}

BOOST_AUTO_TEST_CASE(the_lowest_failing_task_is_reported) {
    for (const int threads : {1, 4}) {
        const ThreadPool pool(threads);
        for (int repeat = 0; repeat < 200; ++repeat) {
            std::string message;
            try {
                pool.run(50, [](std::int64_t task) {
                    if (task >= 7) throw std::runtime_error("task " + std::to_string(task));
                });
            } catch (const std::runtime_error& error) {
                message = error.what();
            }
            BOOST_REQUIRE_EQUAL(message, "task 7");
        }
        std::atomic<int> runs{0};
        pool.run(9, [&](std::int64_t) { ++runs; });
        BOOST_TEST(runs == 9);
    }
}

BOOST_AUTO_TEST_CASE(nested_and_simultaneous_calls_are_refused) {
    for (const int threads : {1, 2}) {
        const ThreadPool pool(threads);
        BOOST_CHECK_THROW(pool.run(2, [&](std::int64_t) { pool.run(1, [](std::int64_t) {}); }), pva::InternalError);
        std::atomic<bool> refused{false};
        pool.run(1, [&](std::int64_t) {
            std::thread other([&] {
                try {
                    pool.run(1, [](std::int64_t) {});
                } catch (const pva::InternalError&) {
                    refused = true;
                }
            });
            other.join();
        });
        BOOST_TEST(refused);
        int runs = 0;
        pool.run(1, [&](std::int64_t) { ++runs; });
        BOOST_TEST(runs == 1);
    }
}

BOOST_AUTO_TEST_CASE(impossible_numbers_of_threads_are_refused) {
    for (const int threads : {-1, 0, 4097})
        BOOST_CHECK_THROW(ThreadPool pool(threads), pva::UsageError);
}

BOOST_AUTO_TEST_CASE(many_pools_come_and_go) {
    std::atomic<int> runs{0};
    for (int i = 0; i < 200; ++i) {
        const ThreadPool pool(1 + i % 5);
        if (i % 3 != 0) pool.run(4, [&](std::int64_t) { ++runs; });
    }
    BOOST_TEST(runs == 133 * 4);
}

BOOST_AUTO_TEST_SUITE_END()
