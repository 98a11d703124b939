// Loading a model for a phase: the memory it needs is printed and checked first, and ranks of a node share one copy.
#pragma once

#include <cstdint>
#include <functional>

#include "pva/model/load.h"
#include "pva/model/memory.h"
#include "pva/phases/context.h"
#include "pva/phases/inputs.h"

namespace pva::phases {

/// Rows generated together when nothing else is asked for.
inline constexpr std::int64_t usual_batch_size = 16;

/// Collective. The batch size to work with: `asked`, or for 0 the usual one, or as many rows as the memory holds by the estimate (which is
/// then said) where rows do not depend on the batch. `pass_of`: the largest pass with that batch size. Errors (AgreedError): OutOfMemory
/// with the batch size that would fit, when it was asked for, where rows depend on the batch, and when not even one row fits.
std::int64_t fit_batch_size(Context& context, const model::ModelFiles& files, const model::Placement& placement, const PlacementOptions& options,
                            std::int64_t asked, const std::function<model::PassSize(std::int64_t batch_size)>& pass_of);

/// Collective. Prints what the run needs of a node's memory, or of a GPU's, refuses it (OutOfMemory) where there is not so much (or
/// --memory-gb allows less), loads the model and prints its warnings. `size` may differ from rank to rank.
///
/// The ranks of a node share one copy of the weights (--share-weights yes), or hold one each (no). auto: one each only
/// where all copies together take less than an eighth of the free memory, for a rank's own memory can have huge pages,
/// which makes reading it faster. The numbers do not depend on it.
///
/// The model computes with `threads` threads.
model::Model load_model(Context& context, const model::ModelFiles& files, const model::Placement& placement,
                        const PlacementOptions& options, const model::PassSize& size, int threads);

/// For capture::CaptureSettings: says that this rank reads fewer texts at a time from now on, and remembers how many in `batch_rows`.
std::function<void(int)> smaller_batches(Context& context, int& batch_rows);

}  // namespace pva::phases
