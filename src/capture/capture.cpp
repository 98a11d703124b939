// Batched forward passes that hand on rows at sites.
#include "pva/capture/capture.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "pva/core/error.h"
#include "pva/model/out_of_memory.h"
#include "pva/model/placement.h"

namespace pva::capture {

namespace {

using Place = std::pair<model::Site, int>;

std::vector<std::int64_t> wanted_positions(const CaptureSettings& settings, const model::ModelConfig& config,
                                           std::span<const std::int32_t> tokens, std::size_t sequence) {
    std::vector<std::int64_t> positions;
    if (settings.positions) {
        positions = settings.positions(sequence, tokens.size());
    } else {
        for (std::size_t i = 0; i < tokens.size(); ++i)
            positions.push_back(static_cast<std::int64_t>(i));
    }
    std::int64_t before = -1;
    for (const std::int64_t position : positions) {
        if (position <= before || position >= static_cast<std::int64_t>(tokens.size())) {
            throw InternalError("the positions chosen of sequence " + std::to_string(sequence) +
                                " are not ascending or beyond its " + std::to_string(tokens.size()) + " tokens");
        }
        before = position;
    }
    const bool begins_with_bos = config.bos_token_id && tokens.front() == *config.bos_token_id;
    if (settings.skip_bos && begins_with_bos && !positions.empty() && positions.front() == 0)
        positions.erase(positions.begin());
    return positions;
}

}  // namespace

void capture_rows(const model::Model& model, std::span<const std::vector<std::int32_t>> sequences,
                  std::span<const model::CaptureRequest> requests, const CaptureSettings& settings,
                  const RowsCallback& callback) {
    const c10::InferenceMode no_gradients;
    const model::ModelConfig& config = model.config();
    bool any = false;
    for (const model::CaptureRequest& request : requests) {
        model::check_capture_request(request, config);
        any = any || !request.layers.empty();
    }
    if (settings.batch_rows < 1)
        throw UsageError("batch_rows is " + std::to_string(settings.batch_rows) + "; at least 1 is needed.");
    if (!any) throw UsageError("no layer was asked for; name at least one.");
    for (std::size_t sequence = 0; sequence < sequences.size(); ++sequence)
        model::check_tokens(sequences[sequence], config, "sequence " + std::to_string(sequence));
    const model::Depth depth = model::depth_of(requests);
    const auto wanted = [&](const model::SiteContext& context) {
        return std::any_of(requests.begin(), requests.end(), [&](const model::CaptureRequest& request) {
            return request.site == context.site &&
                   std::find(request.layers.begin(), request.layers.end(), context.layer) != request.layers.end();
        });
    };

    auto at_once = static_cast<std::size_t>(settings.batch_rows);
    for (std::size_t begin = 0, count = 0; begin < sequences.size(); begin += count) {
        count = std::min(sequences.size() - begin, at_once);
        const auto batch = sequences.subspan(begin, count);
        std::vector<std::vector<std::int64_t>> positions;
        for (std::size_t slot = 0; slot < count; ++slot) positions.push_back(wanted_positions(settings, config, batch[slot], begin + slot));
        // Only wanted rows are kept: [positions, width] of each sequence, one behind the other.
        std::map<Place, std::vector<float>> kept;
        const model::SiteHook keep = [&](const model::SiteContext& context, at::Tensor& values) {
            if (!wanted(context)) return;
            const at::Tensor here = values.to(at::TensorOptions().dtype(at::kFloat).device(at::kCPU)).contiguous();
            const auto padded = static_cast<std::size_t>(here.size(1));
            const auto width = static_cast<std::size_t>(here.size(2));
            std::vector<float>& rows = kept[{context.site, context.layer}];
            for (std::size_t slot = 0; slot < count; ++slot) {
                const float* data = here.const_data_ptr<float>() + slot * padded * width;
                for (const std::int64_t position : positions[slot]) {
                    const float* row = data + static_cast<std::size_t>(position) * width;
                    rows.insert(rows.end(), row, row + width);
                }
            }
        };
        try {
            model.run(batch, depth, keep);
        } catch (const model::OutOfMemory&) {
            // Only where a row's bits do not depend on the rows beside it.
            if (model.placement().engine != model::Engine::fast || count == 1) throw;
            at_once = count / 2;
            count = 0;
            if (settings.on_smaller_batch) settings.on_smaller_batch(static_cast<int>(at_once));
            continue;
        }
        std::size_t rows_before = 0;
        std::size_t rows_of_batch = 0;
        for (const auto& chosen : positions) rows_of_batch += chosen.size();
        for (std::size_t slot = 0; slot < count; ++slot) {
            for (const model::CaptureRequest& request : requests) {
                for (const int layer : request.layers) {
                    const std::vector<float>& rows = kept.at({request.site, layer});
                    const std::size_t width = rows_of_batch == 0 ? 0 : rows.size() / rows_of_batch;
                    callback({begin + slot, request.site, layer, positions[slot], std::span(rows).subspan(rows_before * width, positions[slot].size() * width)});
                }
            }
            rows_before += positions[slot].size();
        }
    }
}

}  // namespace pva::capture
