// Working through units on many ranks: sharing, progress of the whole job, stopping, failing together.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "pva/io/result_file.h"
#include "pva/phases/context.h"

namespace pva::phases {

/// Units that are computed together. Rows may depend in their last bits on the block they are computed in, so blocks are
/// cut by index, never by what is left to do.
struct WorkBlock {
    std::vector<std::int64_t> units;
    double cost = 1;
};

/// [first, last) cut into blocks of at most block_size consecutive units.
std::vector<WorkBlock> cut_into_blocks(std::int64_t first, std::int64_t last, std::int64_t block_size);

/// Collective. Gives every block with an unfinished unit to a rank, which calls `process`; `process` writes the block's
/// unfinished units to the file and returns how many of them are good (shown as `good_name`, unless that is empty).
/// Between blocks it looks for a stop request. Errors (AgreedError): a failure of any rank; StopRequested (75) when
/// stopped with units left, the file being left for the next run.
void work_through(Context& context, io::ResultFile& file, const std::string& unit_name, const std::string& good_name,
                  const std::vector<WorkBlock>& blocks, const std::function<std::int64_t(const WorkBlock&)>& process);

/// What one item was: units that are done now, and a second count such as solved ones.
struct Processed {
    std::int64_t done = 0;
    std::int64_t good = 0;
};
struct LoopOutcome {
    bool stopped = false;       ///< a stop was asked for by any rank
    std::int64_t done_now = 0;  ///< units done by all ranks in this loop
};

/// Collective. The loop without a result file: this rank's items in order, progress of all ranks shown, stop requests heeded
/// after every item. `before` counts what earlier runs finished. A failure on any rank is thrown on all (AgreedError).
LoopOutcome process_own_items(Context& context, const std::string& unit_name, const std::string& good_name, std::int64_t total, const Processed& before,
                              std::span<const std::int64_t> own_items, const std::function<Processed(std::int64_t item)>& process);

/// Collective. After a loop that was stopped with units left: leaves the file for the next run and throws AgreedError with
/// exit code 75, saying how much is done. Otherwise does nothing.
void end_if_stopped(Context& context, io::ResultFile& file, bool stopped, std::int64_t done, std::int64_t total, const std::string& unit_name);

}  // namespace pva::phases
