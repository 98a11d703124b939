// pva_iocheck: is a folder good for results? Write and read rates of parallel HDF5 there, as a share of plain pwrite.
#pragma once

#include "pva/phases/context.h"

namespace pva::phases {

struct IoCheckOptions {
    std::string folder;
    double gib = 1;  ///< of each rank
    std::int64_t rounds = 2;
};
void register_options(OptionSet& set, IoCheckOptions& options);

/// Collective. Moves `gib` GiB a rank through the folder in three ways and verifies every byte; leaves no file there.
/// Errors: AgreedError as io::check_io.
Report run_iocheck(Context& context, const IoCheckOptions& options);

}  // namespace pva::phases
