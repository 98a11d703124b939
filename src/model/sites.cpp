// Sites by name, and the hook that copies rows out of the residual stream.
#include "pva/model/sites.h"

#include <algorithm>
#include <string>

#include <ATen/ATen.h>

#include "pva/core/error.h"

namespace pva::model {

std::string_view site_name(Site site) {
    return site == Site::resid_pre ? "resid_pre" : "resid_post";
}

Site site_from_name(std::string_view name) {
    for (const Site site : {Site::resid_pre, Site::resid_post}) {
        if (name == site_name(site)) return site;
    }
    throw UsageError("unknown site '" + std::string(name) + "'; resid_pre and resid_post are known.");
}

void check_capture_request(const CaptureRequest& request, std::int64_t num_layers) {
    for (std::size_t i = 0; i < request.layers.size(); ++i) {
        const int layer = request.layers[i];
        if (layer < 0 || layer >= num_layers) {
            throw UsageError("layer " + std::to_string(layer) + " does not exist; the model has layers 0 to " +
                             std::to_string(num_layers - 1) + ".");
        }
        if (std::find(request.layers.begin(), request.layers.begin() + static_cast<std::ptrdiff_t>(i), layer) !=
            request.layers.begin() + static_cast<std::ptrdiff_t>(i)) {
            throw UsageError("layer " + std::to_string(layer) + " is wanted twice; name each layer once.");
        }
    }
}

SiteHook capture_last_token(const CaptureRequest& request, std::vector<std::vector<float>>& rows) {
    return [&request, &rows](const SiteContext& context, at::Tensor& stream) {
        if (context.site != request.site) return;
        const auto wanted = std::find(request.layers.begin(), request.layers.end(), context.layer);
        if (wanted == request.layers.end()) return;
        const auto index = static_cast<std::size_t>(wanted - request.layers.begin());
        const auto d_model = static_cast<std::size_t>(stream.size(2));
        const at::Tensor contiguous = stream.contiguous();
        const float* data = contiguous.const_data_ptr<float>();
        const auto tokens = static_cast<std::size_t>(stream.size(1));
        for (std::size_t slot = 0; slot < context.rows.size(); ++slot) {
            auto& out = rows[static_cast<std::size_t>(context.rows[slot])];
            out.resize(request.layers.size() * d_model);
            const auto last = static_cast<std::size_t>(context.valid_tokens[slot]) - 1;
            std::copy_n(data + (slot * tokens + last) * d_model, d_model, out.data() + index * d_model);
        }
    };
}

}  // namespace pva::model
