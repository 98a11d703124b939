// Data types by name, and the choice of a device.
#include "pva/model/placement.h"

#include <array>
#include <filesystem>

#include <dlfcn.h>

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include "pva/core/error.h"
#include "pva/core/join.h"
#include "pva/model/weights.h"

namespace pva::model {

namespace {

constexpr std::array dtype_table = {"float32", "bfloat16", "float16", "float64"};
constexpr std::array engine_table = {"reference", "fast", "device"};

// libtorch's CUDA backend registers itself when its library is loaded; pva links the CPU library only, so that one build
// serves machines with and without a GPU. Returns why it cannot be had, or nothing.
std::string load_cuda_library() {
    Dl_info where{};
    if (dladdr(reinterpret_cast<const void*>(&at::globalContext), &where) == 0 || where.dli_fname == nullptr)
        return "the folder of libtorch_cpu.so cannot be found out";
    const auto library = std::filesystem::path(where.dli_fname).parent_path() / "libtorch_cuda.so";
    if (!std::filesystem::exists(library))
        return library.string() + " is not there: this is a libtorch without CUDA. Install one with it (jobs/local/setup.sh on a machine with a GPU)";
    if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
        const char* reason = dlerror();
        return library.string() + " cannot be loaded: " + (reason != nullptr ? reason : "no reason given");
    }
    if (!at::globalContext().hasCUDA()) return "libtorch sees no CUDA device";
    return "";
}

}  // namespace

std::string_view dtype_name(Dtype dtype) {
    return dtype_table.at(static_cast<std::size_t>(dtype));
}

std::vector<std::string> dtype_names() {
    return {dtype_table.begin(), dtype_table.end()};
}

Dtype dtype_from_name(std::string_view name) {
    for (std::size_t i = 0; i < dtype_table.size(); ++i) {
        if (name == dtype_table[i]) return static_cast<Dtype>(i);
    }
    throw UsageError("unknown data type '" + std::string(name) + "'; known: " + join(dtype_names(), ", ") + ".");
}

std::int64_t dtype_bytes(Dtype dtype) {
    return static_cast<std::int64_t>(c10::elementSize(scalar_type(dtype)));
}

std::string_view device_name(Device device) {
    return device == Device::cpu ? "cpu" : "cuda";
}

Placement choose_placement(std::string_view device, Dtype dtype, int gpu) {
    if (device != "auto" && device != "cpu" && device != "cuda")
        throw UsageError("unknown device '" + std::string(device) + "'; known: auto, cpu, cuda.");
    Placement placement{dtype, Device::cpu, -1};
    if (device == "cpu" || (device == "auto" && gpu < 0)) return placement;
    if (gpu < 0) {
        throw InputError("--device cuda: this process sees no GPU (no NVIDIA driver, or CUDA_VISIBLE_DEVICES hides them). "
                         "Ask the scheduler for one, or run with --device cpu.");
    }
    const std::string reason = load_cuda_library();
    if (!reason.empty()) {
        throw InputError("there is a GPU, but " + reason + ". Or run with --device cpu.");
    }
    // Float32 means float32: no TensorFloat-32 in products, no half-precision partial sums.
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setAllowBF16ReductionCuBLAS(false, /*allow_splitk=*/false);
    at::globalContext().setAllowFP16ReductionCuBLAS(false, /*allow_splitk=*/false);
    placement.device = Device::cuda;
    placement.gpu = gpu;
    return placement;
}

std::string_view engine_name(Engine engine) {
    return engine_table.at(static_cast<std::size_t>(engine));
}

void choose_engine(Placement& placement, std::string_view name, bool cuda_graphs) {
    const bool can_be_fast = placement.device == Device::cpu &&
                             (placement.dtype == Dtype::float32 || placement.dtype == Dtype::bfloat16);
    if (name == "auto") {
        placement.engine = can_be_fast ? Engine::fast : Engine::reference;
    } else if (name == "reference") {
        placement.engine = Engine::reference;
    } else if (name == "device") {
        placement.engine = Engine::device;
    } else if (name != "fast") {
        throw UsageError("unknown forward pass '" + std::string(name) + "'; known: auto, fast, reference, device.");
    } else if (!can_be_fast) {
        throw UsageError("the fast forward pass runs on CPU in float32 and bfloat16, not on " +
                         std::string(device_name(placement.device)) + " in " +
                         std::string(dtype_name(placement.dtype)) + "; take --forward reference.");
    } else {
        placement.engine = Engine::fast;
    }
    if (cuda_graphs && (placement.engine != Engine::device || placement.device != Device::cuda))
        throw UsageError("--cuda-graphs on is for --forward device on a GPU; leave it away, or say --device cuda --forward device.");
    placement.cuda_graphs = cuda_graphs;
}

at::ScalarType scalar_type(Dtype dtype) {
    switch (dtype) {
        case Dtype::float32:
            return at::kFloat;
        case Dtype::bfloat16:
            return at::kBFloat16;
        case Dtype::float16:
            return at::kHalf;
        case Dtype::float64:
            return at::kDouble;
    }
    throw InternalError("unknown data type number " + std::to_string(static_cast<int>(dtype)));
}

at::TensorOptions tensor_options(const Placement& placement) {
    const at::Device device = placement.device == Device::cpu
                                  ? at::Device(at::kCPU)
                                  : at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(placement.gpu));
    return at::TensorOptions().dtype(scalar_type(placement.dtype)).device(device);
}

}  // namespace pva::model
