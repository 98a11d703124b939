// One sequence, one pass, everything kept.
#include "pva/capture/trace.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "pva/core/error.h"

namespace pva::capture {

namespace {

std::vector<float> to_floats(const at::Tensor& values) {
    const at::Tensor plain = values.to(at::TensorOptions().dtype(at::kFloat).device(at::kCPU)).contiguous();
    return {plain.const_data_ptr<float>(), plain.const_data_ptr<float>() + plain.numel()};
}

}  // namespace

Trace trace_sequence(const model::Model& model, std::span<const std::int32_t> tokens,
                     std::span<const model::CaptureRequest> requests) {
    const c10::InferenceMode no_gradients;
    Trace trace;
    trace.sites.resize(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
        model::check_capture_request(requests[i], model.config());
        const auto width = static_cast<std::size_t>(model::site_width(model.config(), requests[i].site));
        trace.sites[i].resize(requests[i].layers.size() * tokens.size() * width);
    }
    model::SiteHook keep;
    if (!requests.empty()) {
        keep = [&](const model::SiteContext& context, at::Tensor& values) {
            for (std::size_t i = 0; i < requests.size(); ++i) {
                if (requests[i].site != context.site) continue;
                const auto& layers = requests[i].layers;
                const auto layer = std::find(layers.begin(), layers.end(), context.layer);
                if (layer == layers.end()) continue;
                const std::vector<float> rows = to_floats(values);
                std::copy(rows.begin(), rows.end(),
                          trace.sites[i].begin() + (layer - layers.begin()) * static_cast<std::ptrdiff_t>(rows.size()));
            }
        };
    }
    const std::vector<std::vector<std::int32_t>> row = {{tokens.begin(), tokens.end()}};
    trace.logits = to_floats(model.forward(row, keep));
    return trace;
}

double summed_loss(std::span<const float> logits, std::span<const std::int32_t> tokens) {
    if (tokens.empty() || logits.size() % tokens.size() != 0)
        throw InternalError("summed_loss: the logits do not fit the tokens");
    const std::size_t vocab = logits.size() / tokens.size();
    double loss = 0;
    for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
        if (tokens[t + 1] < 0 || static_cast<std::size_t>(tokens[t + 1]) >= vocab)
            throw InternalError("summed_loss: token id " + std::to_string(tokens[t + 1]) + " has no logit");
        const std::span<const float> row = logits.subspan(t * vocab, vocab);
        const double largest = *std::max_element(row.begin(), row.end());
        double sum = 0;
        for (const float logit : row)
            sum += std::exp(logit - largest);
        loss += largest + std::log(sum) - row[static_cast<std::size_t>(tokens[t + 1])];
    }
    return loss;
}

}  // namespace pva::capture
