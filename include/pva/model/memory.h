// What a model needs in memory, from its files' headers, before anything is read.
#pragma once

#include <cstdint>
#include <optional>

#include "pva/model/load.h"

namespace pva::model {

/// The largest pass a run will make.
struct PassSize {
    std::int64_t rows = 1;           ///< rows decoded together
    std::int64_t prefill_tokens = 1; ///< tokens of the largest prefill, all rows together
    std::int64_t max_length = 1;     ///< positions a row's cache has room for; 0: no cache
};

/// Bytes, of one process.
struct MemoryNeed {
    std::int64_t weights = 0;  ///< shared where processes share them
    std::int64_t cache = 0;    ///< keys and values of all rows
    std::int64_t pass = 0;     ///< activations and logits of the largest pass, an estimate from above
    std::int64_t parameters = 0;
};

/// Reads the headers of the weights' files and checks every tensor's name, shape and type. Errors: InputError as
/// load_model has it.
MemoryNeed estimate_memory(const ModelFiles& files, const Placement& placement, const PassSize& size);

/// Bytes that the GPU of the placement has free now, by the tensor library; nothing on CPU.
std::optional<std::int64_t> free_gpu_memory(const Placement& placement);

}  // namespace pva::model
