// Batched forward passes that hand on rows of the residual stream.
#include "pva/capture/capture.h"

#include <algorithm>
#include <map>
#include <string>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "pva/core/error.h"

namespace pva::capture {

void capture_rows(const model::Gemma2& model, std::span<const std::vector<std::int32_t>> sequences,
                  const model::CaptureRequest& request, const CaptureSettings& settings, const RowsCallback& callback) {
    const c10::InferenceMode no_gradients;
    const model::Gemma2Config& config = model.config();
    model::check_capture_request(request, config.num_hidden_layers);
    if (settings.batch_rows < 1)
        throw UsageError("batch_rows is " + std::to_string(settings.batch_rows) + "; at least 1 is needed.");
    if (request.layers.empty()) throw UsageError("no layer was asked for; name at least one.");
    const int deepest = *std::max_element(request.layers.begin(), request.layers.end());
    const auto d_model = static_cast<std::size_t>(config.hidden_size);

    for (std::size_t begin = 0; begin < sequences.size(); begin += static_cast<std::size_t>(settings.batch_rows)) {
        const std::size_t count = std::min(sequences.size() - begin, static_cast<std::size_t>(settings.batch_rows));
        const auto batch = sequences.subspan(begin, count);
        std::map<int, at::Tensor> streams;  // layer -> [count, T, d_model]
        model.run_blocks(batch, deepest, [&](const model::SiteContext& context, at::Tensor& stream) {
            if (context.site != request.site) return;
            if (std::find(request.layers.begin(), request.layers.end(), context.layer) == request.layers.end()) return;
            streams[context.layer] = stream.contiguous();
        });
        for (std::size_t slot = 0; slot < count; ++slot) {
            const auto& tokens = batch[slot];
            const bool begins_with_bos = config.bos_token_id && tokens.front() == *config.bos_token_id;
            const std::size_t first = settings.skip_bos && begins_with_bos ? 1 : 0;
            for (const int layer : request.layers) {
                const at::Tensor& stream = streams.at(layer);
                const auto padded = static_cast<std::size_t>(stream.size(1));
                const float* data = stream.const_data_ptr<float>() + (slot * padded + first) * d_model;
                callback({begin + slot, layer, first, {data, (tokens.size() - first) * d_model}});
            }
        }
    }
}

}  // namespace pva::capture
