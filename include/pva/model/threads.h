// Number of threads of the tensor library, for rooms that do not include its headers.
#pragma once

namespace pva::model {

/// Threads inside one tensor operation, for this process; call it once, before the first forward pass. The last bits of
/// results may depend on it. Errors: UsageError below 1.
void set_threads(int threads);

/// The number in force.
int threads();

}  // namespace pva::model
