// Work on a device that is recorded once and done again by one call: what takes away the cost of launching many small operations.
// For the sources of this room.
#pragma once

#include <functional>
#include <memory>

namespace pva::model {

/// Recorded operations, on the memory they were recorded with.
class Recording {
  public:
    virtual ~Recording() = default;
    /// Does them again, in the order of the device's current stream; does not wait for them.
    virtual void replay() = 0;
};

/// Does the work once to warm up, then records it, which does not do it. Its operations must depend on nothing but the contents of
/// device memory, must give the same when done twice, and the result must stand in memory that it took while it was recorded.
using Recorder = std::function<std::unique_ptr<Recording>(const std::function<void()>& work)>;

/// Makes recorders; the recordings of one recorder share their temporary memory, so that what one leaves there the next may
/// overwrite. One a cache.
using RecorderFactory = std::function<Recorder()>;

/// Recorders of CUDA graphs on GPU number `gpu` of this process, from the optional library libpva_cuda_graphs.so beside the executable.
/// Errors: InputError when there is no such library or it cannot be loaded.
RecorderFactory cuda_graph_recorders(int gpu);

}  // namespace pva::model
