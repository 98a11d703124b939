// One product for a tile of rows; what passes the threshold leaves the device, nothing else.
#include "pva/sae_aten/coder.h"

#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "pva/core/error.h"
#include "pva/model/weights.h"

namespace pva::sae_aten {

namespace {

constexpr std::size_t most_pre_activations = std::size_t{1} << 26;

at::Tensor tensor_of(std::span<const float> values, std::vector<std::int64_t> shape, at::Device device) {
    // A copy: the caller's memory is not ours to keep.
    at::Tensor tensor = at::empty(shape, at::kFloat);
    if (!values.empty()) std::memcpy(tensor.data_ptr<float>(), values.data(), values.size_bytes());
    return tensor.to(device);
}

template <typename T>
void append(std::vector<T>& to, const at::Tensor& from) {
    const at::Tensor here = from.to(at::kCPU).contiguous();
    const std::size_t before = to.size();
    to.resize(before + static_cast<std::size_t>(here.numel()));
    if (here.numel() > 0) std::memcpy(to.data() + before, here.const_data_ptr(), static_cast<std::size_t>(here.numel()) * sizeof(T));
}

/// The k largest above zero of each row of h; of equal ones the lower index is larger.
at::Tensor largest_k(const at::Tensor& h, std::int64_t k) {
    const at::Tensor kth = std::get<0>(h.topk(k, -1, true, true)).select(1, k - 1).unsqueeze(1);
    const at::Tensor above = h.gt(kth);
    const at::Tensor equal = h.eq(kth);
    const at::Tensor room = k - above.sum(1, true);
    return above.logical_or(equal.logical_and(equal.cumsum(1).le(room))).logical_and(h.gt(0));
}

/// The largest above zero of each of k groups of neighbours; of equal ones the first.
at::Tensor largest_of_groups(const at::Tensor& h, std::int64_t k) {
    const at::Tensor grouped = h.reshape({h.size(0), k, -1});
    const at::Tensor equal = grouped.eq(grouped.amax(2, true));
    return equal.logical_and(equal.cumsum(2).eq(1)).logical_and(grouped.gt(0)).reshape(h.sizes());
}

}  // namespace

struct AtenCoder::State {
    const sae::Sae* sae = nullptr;
    at::Device device = at::kCPU;
    at::Tensor encoder;  // [d_sae, d_in]
    at::Tensor b_enc, cut, magnitude, b_mag;
    at::Tensor decoder;  // [d_sae, d_out]
    at::Tensor b_dec;
    at::Tensor skip;  // [d_out, d_in]
};

AtenCoder::AtenCoder(const sae::Sae& sae, const model::Placement& placement) : state_(std::make_unique<State>()) {
    const c10::InferenceMode no_gradients;
    if (sae.architecture == sae::Architecture::matching_pursuit) throw UsageError(sae.source + ": matching pursuit is coded on CPU");
    state_->sae = &sae;
    state_->device = model::tensor_options(placement).device();
    const auto d_in = static_cast<std::int64_t>(sae.d_in), d_sae = static_cast<std::int64_t>(sae.d_sae), d_out = static_cast<std::int64_t>(sae.d_out);
    const auto put = [&](std::span<const float> values, std::vector<std::int64_t> shape) { return tensor_of(values, std::move(shape), state_->device); };
    state_->encoder = put(sae::unpack_linear(sae.W_enc), {d_sae, d_in});
    if (!sae.b_enc.empty()) state_->b_enc = put(sae.b_enc, {d_sae});
    state_->cut = put(sae::activation_cut(sae), {d_sae});
    if (sae.architecture == sae::Architecture::gated) {
        state_->magnitude = put(sae.magnitude, {d_sae});
        state_->b_mag = put(sae.b_mag, {d_sae});
    }
    state_->decoder = put(sae.W_dec, {d_sae, d_out});
    state_->b_dec = put(sae.b_dec, {d_out});
    if (sae.has_skip) state_->skip = put(sae::unpack_linear(sae.W_skip), {d_out, d_in});
}

AtenCoder::~AtenCoder() = default;
AtenCoder::AtenCoder(AtenCoder&&) noexcept = default;

sae::CsrRows AtenCoder::encode(std::span<const float> rows, std::size_t n, const kernels::ThreadPool& pool) const {
    const c10::InferenceMode no_gradients;
    const sae::Sae& sae = *state_->sae;
    if (rows.size() != n * sae.d_in) throw InternalError("encode: " + std::to_string(rows.size()) + " values given for " + std::to_string(n) + " rows of width " + std::to_string(sae.d_in));
    sae::CsrRows codes;
    codes.n_latents = static_cast<std::uint32_t>(sae.d_sae);
    const std::size_t tile_rows = std::max<std::size_t>(1, most_pre_activations / sae.d_sae);
    for (std::size_t first = 0; first < n; first += tile_rows) {
        const std::size_t count = std::min(tile_rows, n - first);
        const sae::PreparedRows prepared = sae::prepare_rows(sae, rows.subspan(first * sae.d_in, count * sae.d_in), first, pool);
        codes.norms.insert(codes.norms.end(), prepared.norms.begin(), prepared.norms.end());
        const at::Tensor s = tensor_of(prepared.rows, {static_cast<std::int64_t>(count), static_cast<std::int64_t>(sae.d_in)}, state_->device);
        at::Tensor h = state_->b_enc.defined() ? at::addmm(state_->b_enc, s, state_->encoder.t()) : at::mm(s, state_->encoder.t());
        at::Tensor active = h.gt(state_->cut);
        if (sae.architecture == sae::Architecture::topk) {
            active = largest_k(h, static_cast<std::int64_t>(std::min(sae.k, sae.d_sae)));
        } else if (sae.architecture == sae::Architecture::groupmax) {
            active = largest_of_groups(h, static_cast<std::int64_t>(sae.k));
        }
        at::Tensor value = h;
        if (sae.architecture == sae::Architecture::gated) {
            value = h.mul(state_->magnitude).add_(state_->b_mag);
            active = active.logical_and(value.gt(0));
        }
        const at::Tensor finite = h.isfinite().logical_and(value.isfinite().logical_or(active.logical_not())).all(1);
        if (!finite.all().item<bool>()) {
            const auto row = finite.logical_not().nonzero().flatten()[0].item<std::int64_t>();
            throw InputError("encoding with " + sae.source + ": row " + std::to_string(first + static_cast<std::size_t>(row)) +
                             ": a pre-activation overflows. Check the activations that were stored for this row.");
        }
        const at::Tensor places = active.nonzero();  // by row, then by latent
        append(codes.latents, places.select(1, 1).to(at::kInt));
        append(codes.values, value.masked_select(active));
        std::vector<std::int64_t> counts;
        append(counts, active.sum(1));
        for (const std::int64_t entries : counts) codes.row_offsets.push_back(codes.row_offsets.back() + static_cast<std::uint64_t>(entries));
    }
    return codes;
}

void AtenCoder::decode(const sae::CsrRows& codes, std::span<float> out, std::span<const float> rows) const {
    const c10::InferenceMode no_gradients;
    const sae::Sae& sae = *state_->sae;
    sae::check_decode(sae, codes, out.size(), rows.size());
    const auto n = static_cast<std::int64_t>(codes.n_rows());
    if (n == 0) return;
    const auto on_device = [&](const auto* data, std::size_t size, at::ScalarType type) {
        at::Tensor tensor = at::empty({static_cast<std::int64_t>(size)}, type);
        if (size > 0) std::memcpy(tensor.data_ptr(), data, size * sizeof(*data));
        return tensor.to(state_->device);
    };
    const at::Tensor offsets = on_device(codes.row_offsets.data(), codes.n_rows() + 1, at::kLong);
    const at::Tensor latents = on_device(codes.latents.data(), codes.latents.size(), at::kInt).to(at::kLong);
    const at::Tensor values = on_device(codes.values.data(), codes.values.size(), at::kFloat);
    at::Tensor y = std::get<0>(at::embedding_bag(state_->decoder, latents, offsets.narrow(0, 0, n), false, /*mode=sum*/ 0, false, values, false)).add(state_->b_dec);
    if (!codes.norms.empty()) {
        std::vector<float> scale, shift;
        for (const sae::RowNorm& norm : codes.norms) {
            scale.push_back(norm.scale);
            shift.push_back(norm.shift);
        }
        y = y.mul(on_device(scale.data(), scale.size(), at::kFloat).unsqueeze(1)).add(on_device(shift.data(), shift.size(), at::kFloat).unsqueeze(1));
    }
    if (sae.has_skip) y = y.add(at::mm(tensor_of(rows, {n, static_cast<std::int64_t>(sae.d_in)}, state_->device), state_->skip.t()));
    const at::Tensor here = y.to(at::kCPU).contiguous();
    std::memcpy(out.data(), here.const_data_ptr<float>(), out.size_bytes());
}

Coder::Coder(const sae::Sae& sae, const model::Placement& placement) : sae_(&sae) {
    if (placement.device != model::Device::cpu && sae.architecture != sae::Architecture::matching_pursuit) on_device_ = std::make_unique<AtenCoder>(sae, placement);
}

sae::CsrRows Coder::encode(std::span<const float> rows, std::size_t n, const kernels::ThreadPool& pool) const {
    return on_device_ ? on_device_->encode(rows, n, pool) : sae::encode(*sae_, rows, n, pool);
}

void Coder::decode(const sae::CsrRows& codes, const kernels::ThreadPool& pool, std::span<float> out, std::span<const float> rows) const {
    if (on_device_) {
        on_device_->decode(codes, out, rows);
    } else {
        sae::decode(*sae_, codes, pool, out, rows);
    }
}

}  // namespace pva::sae_aten
