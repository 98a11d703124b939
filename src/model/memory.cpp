// Memory of weights, cache and activations, from shapes alone.
#include "pva/model/memory.h"

#include <algorithm>

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "pva/io/safetensors.h"
#include "pva/model/architecture.h"
#include "pva/model/device_forward.h"
#include "pva/model/fast_forward.h"
#include "pva/model/weights.h"

namespace pva::model {

MemoryNeed estimate_memory(const ModelFiles& files, const Placement& placement, const PassSize& size) {
    const ParsedArchitecture parsed = load_architecture(files.config);
    const ModelConfig& config = parsed.config;
    const io::SafetensorsSet tensors(files.weights);
    WeightReader weights(tensors, placement, Reading::shapes);
    MemoryNeed need;
    // Widths of what is held of a token at once: the stream, its normed and added forms, q, k, v, z, and the MLP's two.
    const std::int64_t qkv = (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim;
    const std::int64_t z = config.num_attention_heads * config.head_dim;
    const std::int64_t widths = 4 * config.hidden_size + qkv + z + 2 * config.intermediate_size;
    const std::int64_t logits = size.rows * config.vocab_size;
    if (placement.engine == Engine::fast) {
        need.weights = FastForward::weight_bytes(config, parsed.decoder, weights);
        if (size.max_length > 0) need.cache = size.rows * FastForward::cache_bytes(config, size.max_length);
        need.pass = (size.prefill_tokens * widths + logits) * static_cast<std::int64_t>(sizeof(float));
    } else {
        parsed.decoder.final_norm(weights);
        parsed.decoder.embedding(weights);
        parsed.decoder.unembedding(weights);
        for (std::int64_t i = 0; i < config.num_hidden_layers; ++i)
            parsed.decoder.layer(weights, i);
        weights.check_all_taken();
        need.weights = weights.bytes();
        const std::int64_t positions = placement.engine == Engine::device && size.max_length > 0 ? DeviceForward::room(size.max_length) : size.max_length;
        need.cache = size.rows * positions * cache_bytes_per_token(config, dtype_bytes(placement.dtype));
        // Padded rows; scores and weights of all heads at once, of a prefill or of a decoding step; ATen keeps about twice what stands in the formulas.
        const std::int64_t longest = std::max<std::int64_t>(1, size.prefill_tokens / std::max<std::int64_t>(size.rows, 1));
        const std::int64_t scores = 3 * config.num_attention_heads * std::max(size.prefill_tokens * longest, size.rows * positions);
        need.pass = 2 * (size.prefill_tokens * widths + logits) * dtype_bytes(placement.dtype) +
                    scores * static_cast<std::int64_t>(sizeof(float));
    }
    need.parameters = weights.parameters();
    return need;
}

std::optional<std::int64_t> free_gpu_memory(const Placement& placement) {
    if (placement.device == Device::cpu) return std::nullopt;
    at::globalContext().lazyInitDevice(at::kCUDA);
    auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(at::kCUDA));
    if (allocator == nullptr) return std::nullopt;
    return static_cast<std::int64_t>(allocator->getMemoryInfo(static_cast<c10::DeviceIndex>(std::max(0, placement.gpu))).first);
}

}  // namespace pva::model
