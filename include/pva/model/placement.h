// Data type and device of a model's weights and arithmetic.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pva::model {

/// Of weights, residual stream and cache. float64 is there to tell rounding from errors: no island of it is float32.
enum class Dtype : std::uint8_t { float32, bfloat16, float16, float64 };

/// "float32" and so on.
std::string_view dtype_name(Dtype dtype);
/// Names in the order of the enumeration.
std::vector<std::string> dtype_names();
/// Errors: UsageError listing the names.
Dtype dtype_from_name(std::string_view name);
/// Bytes of one value.
std::int64_t dtype_bytes(Dtype dtype);

enum class Device : std::uint8_t { cpu, cuda };
std::string_view device_name(Device device);

/// Which program computes the forward pass. `reference` is the readable one, differentiable, for every data type and device.
/// `fast` runs on CPU with float32 or bfloat16 weights and float32 activations; a token's bits depend on the tokens before
/// it in its row alone. `device` is made for GPUs, and runs on CPU too: tensor operations with fused projections, and decoding steps whose
/// shapes depend on a batch size and a rounded cache length only. Not differentiable.
enum class Engine : std::uint8_t { reference, fast, device };
std::string_view engine_name(Engine engine);

/// Where and in what precision a model runs.
struct Placement {
    Dtype dtype = Dtype::float32;
    Device device = Device::cpu;
    int gpu = -1;  ///< index among the GPUs this process sees; -1 on CPU
    Engine engine = Engine::reference;
    bool cuda_graphs = false;  ///< decoding steps of Engine::device are recorded once and replayed
};

/// `device` is "auto" (CUDA when this process has a GPU and libtorch its CUDA part, else CPU), "cpu" or "cuda"; `gpu` the
/// index of the rank's GPU, -1 for none. Makes CUDA ready when it is chosen: loads libtorch's CUDA library, switches
/// TensorFloat-32 and reduced-precision sums off. Errors: UsageError for an unknown device; InputError for "cuda" without
/// a GPU, or without libtorch's CUDA library, saying which.
Placement choose_placement(std::string_view device, Dtype dtype, int gpu);

/// Sets the engine. `name` is "auto" (fast where it can run, else reference), "fast", "reference" or "device". Errors: UsageError for
/// another name, for "fast" with a data type or device that it does not have, and for `cuda_graphs` with anything but "device" on a GPU.
void choose_engine(Placement& placement, std::string_view name, bool cuda_graphs = false);

}  // namespace pva::model
