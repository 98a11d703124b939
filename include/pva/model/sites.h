// Sites of the residual stream, and the one mechanism by which a caller sees or changes it during a forward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace at {
class Tensor;
}

namespace pva::model {

/// resid_pre L is the input of block L (blocks count from 0), resid_post L its output. resid_post L is the same tensor
/// as resid_pre L + 1. resid_post of the last block is the raw output of the block, before the final norm (Hugging
/// Face's last hidden_states entry is after it).
enum class Site : std::uint8_t { resid_pre, resid_post };

/// "resid_pre" or "resid_post".
std::string_view site_name(Site site);
/// The site of that name. Errors: UsageError listing the names.
Site site_from_name(std::string_view name);

/// Which rows of the residual stream are wanted.
struct CaptureRequest {
    Site site = Site::resid_post;
    std::vector<int> layers;  ///< block indices from 0, in the order the rows are wanted
};

/// Errors: UsageError for a layer below 0 or not below num_layers, or one named twice.
void check_capture_request(const CaptureRequest& request, std::int64_t num_layers);

/// Where a forward pass stands when it calls a SiteHook. Slot b of the stream [slots, T, d_model] belongs to the row
/// rows[b] of the batch; its first valid_tokens[b] entries are tokens at positions first_position[b], first_position[b]
/// + 1, ... of that row, the others are padding.
struct SiteContext {
    Site site;
    int layer;
    std::span<const std::int64_t> rows;
    std::span<const std::int64_t> first_position;
    std::span<const std::int64_t> valid_tokens;
};

/// Called at both sites of every block with the residual stream (float32). It may copy rows out of it and may replace
/// it by another tensor of the same shape, which the pass then continues with. It must not write into the tensor it is
/// given.
using SiteHook = std::function<void(const SiteContext& context, at::Tensor& stream)>;

/// A hook that copies the stream at the last valid token of every slot into rows[context row], each sized
/// [layers, d_model] in the order of the request. Both arguments are referred to, so they must outlive the hook.
SiteHook capture_last_token(const CaptureRequest& request, std::vector<std::vector<float>>& rows);

}  // namespace pva::model
