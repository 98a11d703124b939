// The mpi room at any number of ranks: collectives, agreement, sharing, bulletin, singleton guard, GPU choice.
#include <boost/test/unit_test.hpp>

#include <numeric>
#include <set>

#include "mpi_test.h"
#include "pva/core/error.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/bulletin.h"
#include "pva/mpi/check.h"
#include "pva/mpi/device.h"
#include "pva/mpi/environment.h"
#include "pva/mpi/node_memory.h"
#include "pva/mpi/share.h"

using namespace pva;

BOOST_AUTO_TEST_CASE(collectives_with_ragged_content) {
    const mpi::Communicator& comm = test_world();
    // Rank r brings r letters, so that rank 0 brings nothing.
    const std::vector<std::string> all = comm.all_gather(std::string(static_cast<std::size_t>(comm.rank()), 'a'));
    BOOST_REQUIRE_EQUAL(all.size(), static_cast<std::size_t>(comm.size()));
    for (std::size_t i = 0; i < all.size(); ++i) BOOST_TEST(all[i].size() == i);
    BOOST_TEST(comm.broadcast(comm.rank() == comm.size() - 1 ? "last" : "", comm.size() - 1) == "last");
    std::vector<std::byte> mine(static_cast<std::size_t>(comm.rank()) * 1000, std::byte(comm.rank()));
    const auto gathered = comm.gather(mine);
    if (comm.rank() == 0) {
        BOOST_REQUIRE_EQUAL(gathered.size(), static_cast<std::size_t>(comm.size()));
        for (std::size_t i = 0; i < gathered.size(); ++i) {
            BOOST_TEST(gathered[i].size() == i * 1000);
            for (const std::byte b : gathered[i]) BOOST_REQUIRE(b == std::byte(i));
        }
    } else {
        BOOST_TEST(gathered.empty());
    }
    BOOST_TEST(comm.all_sum(comm.rank() + 1) == comm.size() * (comm.size() + 1) / 2);
    BOOST_TEST(comm.all_max(comm.rank()) == comm.size() - 1);
    BOOST_TEST(comm.all_min(comm.rank()) == 0);
}

BOOST_AUTO_TEST_CASE(a_failure_on_one_rank_is_everybodys) {
    const mpi::Communicator& comm = test_world();
    const int failing = comm.size() - 1;
    try {
        mpi::agreed(comm, [&] {
            if (comm.rank() == failing) throw InputError("weights.bin is missing");
        });
        BOOST_FAIL("no rank was told");
    } catch (const mpi::AgreedError& error) {
        BOOST_TEST((error.exit_code() == ExitCode::bad_input));
        const std::string text = error.what();
        BOOST_TEST(text.find("weights.bin is missing") != std::string::npos);
        // When all ranks fail alike there is no rank to name.
        BOOST_TEST((text.find("on rank " + std::to_string(failing)) != std::string::npos) == (comm.size() > 1));
    }
    // Different kinds: the lowest rank speaks, the largest code counts.
    if (comm.size() >= 2) {
        try {
            mpi::agreed(comm, [&]() -> int {
                if (comm.rank() == 0) throw InputError("first");
                if (comm.rank() == 1) throw IoError("second");
                return 5;
            });
            BOOST_FAIL("no failure");
        } catch (const mpi::AgreedError& error) {
            BOOST_TEST((error.exit_code() == ExitCode::io));
            BOOST_TEST(std::string(error.what()).find("first") != std::string::npos);
        }
    }
    BOOST_TEST(mpi::agreed(comm, [&] { return comm.rank() + 10; }) == comm.rank() + 10);
    BOOST_TEST(mpi::on_first_rank(comm, [] { return std::string("x"); }) == "x");
    BOOST_CHECK_THROW(mpi::on_first_rank(comm, []() -> std::string { throw IoError("full"); }), mpi::AgreedError);
}

BOOST_AUTO_TEST_CASE(mpi_errors_become_exceptions) {
    try {
        PVA_MPI(MPI_Send(nullptr, 1, MPI_INT, test_world().size() + 5, 0, test_world().handle()));
        BOOST_FAIL("sending to nobody was accepted");
    } catch (const InternalError& error) {
        BOOST_TEST(std::string(error.what()).find("MPI_Send failed") != std::string::npos);
    }
}

BOOST_AUTO_TEST_CASE(sharing_covers_every_unit_once) {
    for (const std::size_t n : {0u, 1u, 3u, 100u}) {
        std::vector<double> costs(n);
        for (std::size_t i = 0; i < n; ++i) costs[i] = static_cast<double>((i * 7919) % 13 + 1);
        for (const int ranks : {1, 2, 3, 4, 150}) {
            const auto shares = mpi::share_by_cost(costs, ranks);
            BOOST_REQUIRE_EQUAL(shares.size(), static_cast<std::size_t>(ranks));
            std::set<std::int64_t> seen;
            double most = 0;
            double total = 0;
            for (const auto& share : shares) {
                double load = 0;
                for (const std::int64_t unit : share) {
                    BOOST_TEST(seen.insert(unit).second);
                    load += costs[static_cast<std::size_t>(unit)];
                }
                most = std::max(most, load);
                total += load;
            }
            BOOST_TEST(seen.size() == n);
            // Longest first is never worse than the mean plus one largest unit.
            if (n > 0) BOOST_TEST(most <= total / ranks + 13);
            std::int64_t next = 0;
            for (int r = 0; r < ranks; ++r) {
                const mpi::Block block = mpi::contiguous_block(static_cast<std::int64_t>(n), ranks, r);
                BOOST_TEST(block.first == next);
                next = block.last;
            }
            BOOST_TEST(next == static_cast<std::int64_t>(n));
        }
    }
}

BOOST_AUTO_TEST_CASE(bulletin_counts_and_stops) {
    const mpi::Communicator& comm = test_world();
    {
        mpi::Bulletin bulletin(comm, 0);
        for (int i = 0; i < 200; ++i) {
            bulletin.add_done(1, i % 2);
            bulletin.tell_work(3, i);
        }
        int calls = 0;
        BOOST_TEST(!bulletin.finish([&] { ++calls; }));
        if (comm.rank() == 0) {
            BOOST_TEST(bulletin.done() == 200 * comm.size());
            BOOST_TEST(bulletin.good() == 100 * comm.size());
            BOOST_TEST(bulletin.work() == 600 * comm.size());
            BOOST_TEST(bulletin.running() == 199 * comm.size());  // what each rank said last
        }
    }
    {
        // The last rank asks; everybody hears of it without any collective call in between.
        mpi::Bulletin bulletin(comm, 0);
        if (comm.rank() == comm.size() - 1) bulletin.request_stop();
        while (!bulletin.stop_requested()) {
        }
        BOOST_TEST(bulletin.finish({}));
    }
    {
        mpi::Bulletin bulletin(comm, 1e-9);
        while (!bulletin.stop_requested()) {
        }
        BOOST_TEST(bulletin.finish({}));
    }
}

BOOST_AUTO_TEST_CASE(singletons_are_recognised) {
    using Pairs = std::map<std::string, std::string>;
    const auto refused = [](const Pairs& environment, int size) {
        return mpi::singleton_refusal(
                   [&](const std::string& name) -> std::optional<std::string> {
                       const auto found = environment.find(name);
                       if (found == environment.end()) return std::nullopt;
                       return found->second;
                   },
                   size)
            .has_value();
    };
    BOOST_TEST(!refused({}, 1));
    BOOST_TEST(refused({{"SLURM_STEP_NUM_TASKS", "4"}}, 1));
    BOOST_TEST(refused({{"PMI_SIZE", "2"}}, 1));
    BOOST_TEST(!refused({{"SLURM_STEP_NUM_TASKS", "4"}}, 4));
    BOOST_TEST(!refused({{"SLURM_STEP_NUM_TASKS", "1"}}, 1));
    // mpirun -n 1 inside a larger allocation is rightful.
    BOOST_TEST(!refused({{"SLURM_STEP_NUM_TASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "1"}}, 1));
    BOOST_TEST(!refused({{"SLURM_NTASKS", "4"}}, 1));

    const auto warned = [](const Pairs& environment) {
        const auto warning = mpi::launcher_warning([&](const std::string& name) -> std::optional<std::string> {
            const auto found = environment.find(name);
            if (found == environment.end()) return std::nullopt;
            return found->second;
        });
        return warning.value_or("").find("srun --mpi=pmix") != std::string::npos;
    };
    BOOST_TEST(!warned({}));
    BOOST_TEST(warned({{"SLURM_STEP_NUM_TASKS", "2"}}));
    BOOST_TEST(!warned({{"SLURM_STEP_NUM_TASKS", "1"}}));
    BOOST_TEST(!warned({{"SLURM_STEP_NUM_TASKS", "2"}, {"PMIX_RANK", "0"}}));
    BOOST_TEST(!warned({{"SLURM_STEP_NUM_TASKS", "2"}, {"OMPI_COMM_WORLD_SIZE", "2"}}));
}

BOOST_AUTO_TEST_CASE(one_rank_one_gpu) {
    using Ranks = std::vector<mpi::RankDevices>;
    BOOST_TEST(mpi::choose_gpus(Ranks{{"a", 0, {}}, {"a", 1, {}}}, false) == (std::vector<int>{-1, -1}), boost::test_tools::per_element());
    BOOST_TEST(mpi::choose_gpus(Ranks{{"a", 0, {"u", "v"}}, {"a", 1, {"u", "v"}}}, false) == (std::vector<int>{0, 1}), boost::test_tools::per_element());
    // --gpus-per-task: each task sees its own GPU as device 0.
    BOOST_TEST(mpi::choose_gpus(Ranks{{"a", 0, {"u"}}, {"a", 1, {"v"}}}, false) == (std::vector<int>{0, 0}), boost::test_tools::per_element());
    BOOST_CHECK_THROW(mpi::choose_gpus(Ranks{{"a", 0, {"u"}}, {"a", 1, {"u"}}}, false), InputError);
    BOOST_TEST(mpi::choose_gpus(Ranks{{"a", 0, {"u"}}, {"a", 1, {"u"}}}, true) == (std::vector<int>{0, 0}), boost::test_tools::per_element());
    BOOST_TEST(mpi::choose_gpus(Ranks{{"a", 0, {"u"}}, {"b", 0, {"u"}}}, false) == (std::vector<int>{0, 0}), boost::test_tools::per_element());
    const mpi::Binding binding = mpi::bind_devices(test_world(), true);
    BOOST_TEST(binding.threads >= 1);
    BOOST_TEST(!binding.cpus.empty());
    BOOST_TEST(!mpi::binding_lines(test_world(), binding).empty());
    BOOST_TEST(mpi::cpu_list_text({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8");
}

BOOST_AUTO_TEST_CASE(ranks_of_a_node_see_one_block) {
    const mpi::Communicator& comm = test_world();
    const mpi::NodeMemory node(comm);
    const mpi::LocalPlace place = mpi::local_place(comm);
    BOOST_TEST(node.rank() == place.rank);
    BOOST_TEST(node.ranks() == place.size);
    const std::size_t bytes = 3 * 4096 + 5;
    {
        const std::shared_ptr<void> memory = node.allocate(bytes);
        BOOST_REQUIRE(memory != nullptr);
        auto* text = static_cast<unsigned char*>(memory.get());
        BOOST_TEST(reinterpret_cast<std::uintptr_t>(text) % 64 == 0);
        for (std::size_t i = 0; i < bytes; ++i) BOOST_REQUIRE(text[i] == 0);
        comm.barrier();
        for (std::size_t i = static_cast<std::size_t>(node.rank()); i < bytes; i += static_cast<std::size_t>(node.ranks()))
            text[i] = static_cast<unsigned char>(i % 251 + 1);
        comm.barrier();
        for (std::size_t i = 0; i < bytes; ++i) BOOST_REQUIRE(text[i] == i % 251 + 1);
        comm.barrier();
    }
    BOOST_TEST(node.allocate(0) != nullptr);
}

BOOST_AUTO_TEST_CASE(more_memory_than_there_is_is_refused) {
    const mpi::Communicator& comm = test_world();
    const mpi::NodeMemory node(comm);
    BOOST_CHECK_THROW(node.allocate(std::size_t{1} << 60), InputError);
    BOOST_TEST(mpi::available_memory() > (std::size_t{16} << 20));
    BOOST_TEST(mpi::available_memory() < (std::size_t{1} << 50));
}
