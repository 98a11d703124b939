// The same gradients by automatic differentiation, dense and in float64.
#include <ATen/ATen.h>

#include <algorithm>

#include "pva/core/error.h"
#include "pva/train/gradients.h"

namespace pva::train {

namespace {

at::Tensor tensor_of(std::span<const float> values, std::vector<std::int64_t> shape) {
    return at::from_blob(const_cast<float*>(values.data()), shape, at::kFloat).to(at::kDouble).contiguous();
}

void add_to(std::span<float> sum, const at::Tensor& gradient) {
    if (!gradient.defined()) return;
    const at::Tensor plain = gradient.contiguous();
    const double* values = plain.const_data_ptr<double>();
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<float>(values[i]);
}

/// f where it is among the k largest of all of `among`'s last dimension, else 0.
at::Tensor keep_topk(const at::Tensor& f, std::int64_t k) {
    const auto [values, places] = at::topk(f, k, -1);
    return at::zeros_like(f).scatter(-1, places, values);
}

}  // namespace

void add_gradients_reference(const Settings& settings, const Parameters& parameters, const StepState& state, std::span<const float> rows, Gradients& sum) {
    const auto d = static_cast<std::int64_t>(settings.d);
    const auto m = static_cast<std::int64_t>(settings.latents);
    const auto n = static_cast<std::int64_t>(rows.size()) / d;
    if (n * settings.micro_batches != settings.batch) throw InternalError("a micro-batch of another size");
    const at::Tensor x = tensor_of(rows, {n, d});
    at::Tensor encoder = tensor_of(parameters.encoder, {m, d}).requires_grad_(true);
    at::Tensor decoder = tensor_of(parameters.decoder, {m, d}).requires_grad_(true);
    at::Tensor b_enc = tensor_of(parameters.b_enc, {m}).requires_grad_(true);
    at::Tensor threshold = tensor_of(parameters.threshold, {m}).requires_grad_(true);
    at::Tensor b_dec = tensor_of(parameters.b_dec, {d}).requires_grad_(true);
    const double share = 1.0 / static_cast<double>(settings.micro_batches);

    const at::Tensor h = at::matmul(x - b_dec, encoder.t()) + b_enc;
    at::Tensor f;
    at::Tensor loss = at::zeros({}, at::kDouble);
    if (settings.kind == Kind::jumprelu) {
        // Values as they are; the straight-through estimators hang on (threshold - threshold.detach()), which is 0.
        const at::Tensor passed = threshold - threshold.detach();
        const at::Tensor active = (h > threshold).detach().to(at::kDouble);
        const at::Tensor rectangle = ((h - threshold).abs() < settings.bandwidth / 2).detach().to(at::kDouble) / settings.bandwidth;
        f = h * active - passed * threshold.detach() * rectangle;
        const at::Tensor l0 = (active - passed * rectangle).sum() / static_cast<double>(n);
        const at::Tensor excess = l0 / static_cast<double>(settings.l0) - 1;
        const at::Tensor sparsity = share * state.sparsity * excess * excess;
        sum.sums.sparsity_loss += sparsity.item<double>();
        loss = loss + sparsity;
    } else {
        f = at::relu(h);
        f = settings.kind == Kind::topk ? keep_topk(f, static_cast<std::int64_t>(settings.l0))
                                        : keep_topk(f.reshape({-1}), n * static_cast<std::int64_t>(settings.l0)).reshape({n, m});
    }
    const at::Tensor error = x - (at::matmul(f, decoder) + b_dec);
    loss = loss + error.pow(2).sum() / static_cast<double>(settings.batch);

    std::vector<std::int64_t> dead;
    for (std::size_t j = 0; j < state.dead.size(); ++j) {
        if (state.dead[j] != 0) dead.push_back(static_cast<std::int64_t>(j));
    }
    if (!dead.empty() && settings.revive > 0) {
        const at::Tensor places = at::from_blob(dead.data(), {static_cast<std::int64_t>(dead.size())}, at::kLong).clone();
        if (settings.kind == Kind::jumprelu) {
            loss = loss + settings.revive * share * (threshold.index_select(0, places) - b_enc.index_select(0, places)).sum();
        } else {
            const auto k = std::min<std::int64_t>(static_cast<std::int64_t>(settings.revive_k), places.size(0));
            const at::Tensor code = keep_topk(at::relu(h.index_select(1, places)), k);
            const at::Tensor target = error.detach();
            const at::Tensor missed = target - at::matmul(code, decoder.index_select(0, places));
            const at::Tensor revival = settings.revive * share * missed.pow(2).sum() / target.pow(2).sum();
            sum.sums.revive_loss += revival.item<double>();
            loss = loss + revival;
        }
    }
    loss.backward();

    add_to(sum.encoder, encoder.grad());
    add_to(sum.decoder, decoder.grad());
    add_to(sum.b_dec, b_dec.grad());
    std::vector<float> of_latent(settings.latents, 0.0F);
    add_to(of_latent, b_enc.grad());
    for (std::size_t j = 0; j < settings.latents; ++j) sum.small[3 * j] += of_latent[j];
    std::fill(of_latent.begin(), of_latent.end(), 0.0F);
    add_to(of_latent, threshold.grad());
    for (std::size_t j = 0; j < settings.latents; ++j) sum.small[3 * j + 1] += of_latent[j];
    std::fill(of_latent.begin(), of_latent.end(), 0.0F);
    add_to(of_latent, (f > 0).to(at::kDouble).sum(0));
    for (std::size_t j = 0; j < settings.latents; ++j) sum.small[3 * j + 2] += of_latent[j];

    StepSums here;
    here.squared_error = error.pow(2).sum().item<double>();
    here.squared_norm = x.pow(2).sum().item<double>();
    here.n_active = (f > 0).sum().to(at::kDouble).item<double>();
    here.n_rows = static_cast<double>(n);
    const at::Tensor mean = x.sum(0).contiguous();
    here.row_sum.assign(mean.const_data_ptr<double>(), mean.const_data_ptr<double>() + d);
    if (settings.kind == Kind::batchtopk) here.smallest_active = f.masked_select(f > 0).min().item<double>();
    sum.sums.add(here);
}

}  // namespace pva::train
