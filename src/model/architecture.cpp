// The known architectures by model_type, and the frame of one forward pass.
#include "pva/model/architecture.h"

#include <array>
#include <string>

#include "pva/core/error.h"
#include "pva/model/gemma2.h"
#include "pva/model/gpt_neox.h"
#include "pva/model/llama.h"

namespace pva::model {

namespace {

struct Entry {
    std::string_view model_type;
    ParsedArchitecture (*parse)(const ConfigReader& reader);
};

constexpr std::array architectures = {
    Entry{"gemma2", parse_gemma2}, Entry{"gpt_neox", parse_gpt_neox}, Entry{"llama", parse_llama},
    Entry{"mistral", parse_llama}, Entry{"qwen2", parse_llama},
};

at::Tensor to_tensor(const std::vector<std::int64_t>& values, at::Device device) {
    return at::from_blob(const_cast<std::int64_t*>(values.data()), {static_cast<std::int64_t>(values.size())},
                         at::kLong)
        .clone()
        .to(device);
}

}  // namespace

ParsedArchitecture parse_architecture(const ConfigReader& reader) {
    if (!reader.has("model_type"))
        reader.refuse("model_type is missing, so this is no Hugging Face model configuration.");
    const std::string model_type = reader.text_or("model_type", "");
    std::string known;
    for (const Entry& entry : architectures) {
        if (entry.model_type == model_type) {
            ParsedArchitecture parsed = entry.parse(reader);
            reader.warn_about_unknown_fields(parsed.config.warnings);
            return parsed;
        }
        known += (known.empty() ? "" : ", ") + std::string(entry.model_type);
    }
    reader.refuse("model_type \"" + model_type + "\" is not implemented; these are: " + known + ".");
}

ForwardPass::ForwardPass(const ModelConfig& config, const TokenBatch& batch, at::ScalarType dtype, KvCache* cache,
                         std::int64_t keys, const SiteHook& hook)
    : config_(config), batch_(batch), dtype_(dtype), cache_(cache), keys_(keys), hook_(hook) {
    rotary_ = rotary_tables(batch.positions, config.rotary, dtype);
    rotary_.cos = rotary_.cos.unsqueeze(1);  // one for all heads
    rotary_.sin = rotary_.sin.unsqueeze(1);
}

at::Tensor ForwardPass::by_head(const at::Tensor& x, std::int64_t heads) const {
    return x.view({x.size(0), x.size(1), heads, config_.head_dim}).transpose(1, 2);
}

const at::Tensor& ForwardPass::mask_of(std::int64_t window) {
    for (const auto& [known, mask] : masks_) {
        if (known == window) return mask;
    }
    masks_.emplace_back(window, attention_mask(batch_.positions, keys_, window, dtype_));
    return masks_.back().second;
}

at::Tensor ForwardPass::attend(int layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    const at::Tensor query = apply_rotary(q, rotary_);
    at::Tensor keys = apply_rotary(k, rotary_);
    at::Tensor values = v;
    if (cache_ != nullptr) {
        const at::Tensor stored_keys = cache_->slots.select(0, layer).select(0, 0);  // [rows, kv_heads, max, head_dim]
        const at::Tensor stored_values = cache_->slots.select(0, layer).select(0, 1);
        if (batch_.whole_rows) {
            for (std::size_t slot = 0; slot < batch_.rows.size(); ++slot) {
                const auto at = static_cast<std::int64_t>(slot);
                stored_keys.select(0, batch_.rows[slot]).narrow(1, 0, keys_).copy_(keys.select(0, at));
                stored_values.select(0, batch_.rows[slot]).narrow(1, 0, keys_).copy_(values.select(0, at));
            }
        } else {
            const at::Tensor rows = to_tensor(batch_.rows, stored_keys.device());
            const at::Tensor at_position = to_tensor(batch_.first_position, stored_keys.device());
            const c10::List<std::optional<at::Tensor>> where({rows, std::nullopt, at_position});
            stored_keys.index_put_(where, keys.squeeze(2));
            stored_values.index_put_(where, values.squeeze(2));
            keys = stored_keys.narrow(2, 0, keys_).index_select(0, rows);
            values = stored_values.narrow(2, 0, keys_).index_select(0, rows);
        }
    }
    at::Tensor z =
        attention(query, keys, values, mask_of(config_.windows[static_cast<std::size_t>(layer)]), config_);
    visit(Site::z, layer, z);
    return z;
}

void ForwardPass::visit(Site site, int layer, at::Tensor& values) const {
    if (hook_) show_to_hook(hook_, {site, layer, batch_.rows, batch_.first_position, batch_.valid_tokens}, values);
}

void show_to_hook(const SiteHook& hook, const SiteContext& context, at::Tensor& values) {
    const std::string site(site_name(context.site));
    at::Tensor shown = values;
    hook(context, shown);
    if (shown.defined() && shown.is_same(values)) return;
    if (!site_is_residual(context.site))
        throw InternalError("a hook replaced the values at " + site + ", but only the residual stream can be changed");
    if (!shown.defined() || shown.sizes() != values.sizes() || shown.scalar_type() != values.scalar_type()) {
        throw InternalError("a hook replaced " + site + " of layer " + std::to_string(context.layer) +
                            " by a tensor of another shape or type");
    }
    values = shown;
}

}  // namespace pva::model
