// Recording by CUDA graphs: the one file that needs CUDA's headers. Built into libpva_cuda_graphs.so, which is loaded at run time after
// libtorch's CUDA library.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include "pva/model/recording.h"

namespace {

class CudaGraph : public pva::model::Recording {
  public:
    CudaGraph(const std::function<void()>& work, const c10::cuda::CUDAStream& stream, at::cuda::MempoolId_t pool) : gpu_(stream.device_index()) {
        const c10::cuda::CUDAGuard on_gpu(gpu_);
        // Recording is rare, so it waits for all that went before and after.
        c10::cuda::device_synchronize();
        {
            const c10::cuda::CUDAStreamGuard on_stream(stream);
            work();  // makes libraries choose their kernels and take their workspaces
            stream.synchronize();
            // Only this thread's calls are watched: others may take memory meanwhile.
            graph_.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
            try {
                work();
            } catch (...) {
                end_quietly();
                throw;
            }
            graph_.capture_end();
        }
        c10::cuda::device_synchronize();
    }

    void replay() override {
        const c10::cuda::CUDAGuard on_gpu(gpu_);
        graph_.replay();
    }

  private:
    void end_quietly() {
        try {
            graph_.capture_end();
        } catch (const std::exception&) {
            // What the work threw says more.
        }
    }

    c10::DeviceIndex gpu_;
    at::cuda::CUDAGraph graph_;
};

}  // namespace

/// Puts a recorder with a memory pool of its own into `recorder`.
extern "C" void pva_cuda_graph_recorder(int gpu, pva::model::Recorder* recorder) {
    const at::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();
    // The default stream cannot be captured. One stream for all, because libraries keep a workspace for each.
    const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, static_cast<c10::DeviceIndex>(gpu));
    *recorder = [stream, pool](const std::function<void()>& work) -> std::unique_ptr<pva::model::Recording> {
        return std::make_unique<CudaGraph>(work, stream, pool);
    };
}
