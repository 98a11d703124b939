// Allocation of the key-value cache.
#include "pva/model/kv_cache.h"

namespace pva::model {

KvCache make_kv_cache(const Gemma2Config& config, std::int64_t rows, std::int64_t max_length) {
    KvCache cache;
    // Zeros and not uninitialised memory: a masked entry counts 0 times its value, and 0 times NaN would be NaN.
    cache.slots = at::zeros(
        {config.num_hidden_layers, 2, rows, config.num_key_value_heads, max_length, config.head_dim}, at::kFloat);
    cache.lengths.assign(static_cast<std::size_t>(rows), 0);
    return cache;
}

}  // namespace pva::model
