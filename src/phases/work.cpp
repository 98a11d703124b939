// The loop over units that all phases share.
#include "pva/phases/work.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "pva/core/error.h"
#include "pva/core/progress.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/bulletin.h"
#include "pva/mpi/share.h"

namespace pva::phases {

std::vector<WorkBlock> cut_into_blocks(std::int64_t first, std::int64_t last, std::int64_t block_size) {
    std::vector<WorkBlock> blocks;
    for (std::int64_t at = first; at < last; at += block_size) {
        WorkBlock block;
        for (std::int64_t unit = at; unit < std::min(last, at + block_size); ++unit) block.units.push_back(unit);
        block.cost = static_cast<double>(block.units.size());
        blocks.push_back(std::move(block));
    }
    return blocks;
}

LoopOutcome process_own_items(Context& context, const std::string& unit_name, const std::string& good_name, std::int64_t total, const Processed& before,
                              std::span<const std::int64_t> own_items, const std::function<Processed(std::int64_t item)>& process) {
    mpi::Bulletin bulletin(context.comm, context.common.max_minutes);
    Progress progress(context.log, unit_name, total, before.done,
                      {context.first_rank() && context.log.level() >= LogLevel::info, stdout_is_terminal(), 15});
    const auto show = [&] {
        progress.update(before.done + bulletin.done(), good_name.empty() ? "" : std::to_string(before.good + bulletin.good()) + " " + good_name);
    };
    std::optional<mpi::Failure> failure;
    for (const std::int64_t item : own_items) {
        if (bulletin.stop_requested()) break;
        try {
            const auto begun = std::chrono::steady_clock::now();
            const Processed processed = process(item);
            context.log.debug(unit_name + ", item " + std::to_string(item) + ": " + std::to_string(processed.done) + " done in " +
                              fixed(std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(), 3) + " s");
            bulletin.add_done(processed.done, processed.good);
        } catch (const Error& error) {
            // The others finish what they have in hand and come to the agreement below.
            failure = mpi::Failure{error.exit_code(), error.what()};
            bulletin.request_stop();
            break;
        }
        if (context.first_rank()) show();
    }
    LoopOutcome outcome;
    outcome.stopped = bulletin.finish(context.first_rank() ? std::function<void()>(show) : std::function<void()>());
    if (context.first_rank()) {
        show();
        progress.finish();
    }
    outcome.done_now = context.comm.all_sum(context.first_rank() ? bulletin.done() : 0);
    mpi::agree(context.comm, failure);
    return outcome;
}

void work_through(Context& context, io::ResultFile& file, const std::string& unit_name, const std::string& good_name,
                  const std::vector<WorkBlock>& blocks, const std::function<std::int64_t(const WorkBlock&)>& process) {
    std::vector<std::size_t> open_blocks;
    std::vector<double> costs;
    std::int64_t total = 0;
    std::int64_t finished_before = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const auto open_units = std::count_if(blocks[i].units.begin(), blocks[i].units.end(), [&](std::int64_t unit) { return !file.is_done(unit); });
        total += static_cast<std::int64_t>(blocks[i].units.size());
        finished_before += static_cast<std::int64_t>(blocks[i].units.size()) - open_units;
        if (open_units > 0) {
            open_blocks.push_back(i);
            costs.push_back(blocks[i].cost);
        }
    }
    const auto shares = mpi::share_by_cost(costs, context.comm.size());

    const LoopOutcome outcome = process_own_items(context, unit_name, good_name, total, {finished_before, 0}, shares[static_cast<std::size_t>(context.comm.rank())],
                                                  [&](std::int64_t index) -> Processed {
                                                      const WorkBlock& block = blocks[open_blocks[static_cast<std::size_t>(index)]];
                                                      const auto open_units = std::count_if(block.units.begin(), block.units.end(),
                                                                                            [&](std::int64_t unit) { return !file.is_done(unit); });
                                                      return {open_units, process(block)};
                                                  });
    end_if_stopped(context, file, outcome.stopped, finished_before + outcome.done_now, total, unit_name);
}

void end_if_stopped(Context& context, io::ResultFile& file, bool stopped, std::int64_t done, std::int64_t total, const std::string& unit_name) {
    if (!stopped || done >= total) return;
    file.leave_unfinished();
    const std::string message = "stopped on request: " + std::to_string(done) + " of " + std::to_string(total) + " " + unit_name + " are done and stored. The same command goes on";
    mpi::agree(context.comm, mpi::Failure{ExitCode::stopped, message});
}

}  // namespace pva::phases
