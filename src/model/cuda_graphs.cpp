// Opens the optional library that records CUDA graphs.
#include <filesystem>
#include <string>
#include <system_error>

#include <dlfcn.h>

#include "pva/core/error.h"
#include "pva/model/recording.h"

namespace pva::model {

namespace fs = std::filesystem;

RecorderFactory cuda_graph_recorders(int gpu) {
    std::error_code ignored;
    const fs::path library = fs::read_symlink("/proc/self/exe", ignored).parent_path() / "libpva_cuda_graphs.so";
    if (!fs::exists(library)) {
        throw InputError("--cuda-graphs on: " + library.string() + " is not there. It is built where CMake finds a libtorch with CUDA and CUDA's headers " +
                         "(docs/gpu.md). Or run with --cuda-graphs off.");
    }
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* symbol = handle != nullptr ? dlsym(handle, "pva_cuda_graph_recorder") : nullptr;
    if (symbol == nullptr) {
        const char* reason = dlerror();
        throw InputError("--cuda-graphs on: " + library.string() + " cannot be used: " + (reason != nullptr ? reason : "no reason given") +
                         ". Build again, or run with --cuda-graphs off.");
    }
    const auto make = reinterpret_cast<void (*)(int, Recorder*)>(symbol);
    return [make, gpu] {
        Recorder recorder;
        make(gpu, &recorder);
        return recorder;
    };
}

}  // namespace pva::model
