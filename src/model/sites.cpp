// Sites by name in the spellings of several tools, and the hooks made from them.
#include "pva/model/sites.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <ATen/ATen.h>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/core/join.h"
#include "pva/model/config.h"

namespace pva::model {

namespace {

constexpr std::array<Site, 8> sites = {Site::embedding, Site::resid_pre, Site::resid_mid, Site::resid_post,
                                       Site::attn_out,  Site::mlp_out,   Site::z,         Site::final_norm};
constexpr std::array<std::string_view, 8> names = {"embedding", "resid_pre", "resid_mid", "resid_post",
                                                   "attn_out",  "mlp_out",   "z",         "final_norm"};

/// A spelling with "{}" for the layer, and the site it means.
struct Spelling {
    std::string_view pattern;
    Site site;
};

constexpr std::array transformer_lens = {
    Spelling{"hook_embed", Site::embedding},
    Spelling{"blocks.{}.hook_resid_pre", Site::resid_pre},
    Spelling{"blocks.{}.hook_resid_mid", Site::resid_mid},
    Spelling{"blocks.{}.hook_resid_post", Site::resid_post},
    Spelling{"blocks.{}.hook_attn_out", Site::attn_out},
    Spelling{"blocks.{}.hook_mlp_out", Site::mlp_out},
    Spelling{"blocks.{}.attn.hook_z", Site::z},
};

// Matches `name` against a pattern with at most one "{}", which stands for a layer. True when it matches; the layer goes
// into `layer`.
bool matches(std::string_view name, std::string_view pattern, std::optional<int>& layer) {
    const std::size_t hole = pattern.find("{}");
    layer.reset();
    if (hole == std::string_view::npos) return name == pattern;
    const std::string_view before = pattern.substr(0, hole);
    const std::string_view after = pattern.substr(hole + 2);
    if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after)) return false;
    const std::string_view number = name.substr(before.size(), name.size() - before.size() - after.size());
    int value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc() || end != number.data() + number.size() || number.front() == '-') return false;
    layer = value;
    return true;
}

std::string with_layer(std::string_view pattern, std::optional<int> layer) {
    const std::size_t hole = pattern.find("{}");
    if (hole == std::string_view::npos || !layer) return std::string(pattern);
    return std::string(pattern.substr(0, hole)) + std::to_string(*layer) + std::string(pattern.substr(hole + 2));
}

[[noreturn]] void unknown_site(std::string_view name) {
    throw UsageError("unknown site '" + std::string(name) + "'. Known: " + join({names.begin(), names.end()}, ", ") +
                     ", alone or with a layer (resid_post.3), and the spellings of TransformerLens "
                     "(blocks.3.hook_resid_post), Hugging Face (model.layers.3, hidden_states[4]), sparsify (layers.3) "
                     "and dictionary_learning (resid_post_layer_3).");
}

// The name without the part that sparsify leaves away: "model." or "gpt_neox.".
std::string_view without_base(std::string_view module) {
    const std::size_t dot = module.find('.');
    return dot == std::string_view::npos ? module : module.substr(dot + 1);
}

std::optional<SitePoint> find_site(std::string_view name, const ModelConfig& config) {
    std::optional<int> layer;
    for (const Site site : sites) {
        if (name == site_name(site)) return SitePoint{site, std::nullopt};
        if (site_has_layers(site) && matches(name, std::string(site_name(site)) + ".{}", layer))
            return SitePoint{site, layer};
    }
    for (const Spelling& spelling : transformer_lens) {
        if (matches(name, spelling.pattern, layer)) return SitePoint{spelling.site, layer};
    }
    if (matches(name, "resid_post_layer_{}", layer)) return SitePoint{Site::resid_post, layer};
    if (matches(name, "hidden_states[{}]", layer) || matches(name, "hidden_states.{}", layer)) {
        // One entry more than there are blocks; the last one is after the final norm.
        if (*layer == config.num_hidden_layers) return SitePoint{Site::final_norm, std::nullopt};
        if (*layer > config.num_hidden_layers) {
            throw UsageError(std::string(name) + " does not exist; the model has hidden_states[0] to hidden_states[" +
                             std::to_string(config.num_hidden_layers) + "].");
        }
        return SitePoint{Site::resid_pre, layer};
    }
    for (const ModuleSite& module : config.module_sites) {
        if (!matches(name, module.module, layer) && !matches(name, without_base(module.module), layer)) continue;
        if (!module.refused.empty()) {
            std::string right;
            for (const ModuleSite& other : config.module_sites) {
                if (other.site == module.site && other.refused.empty()) right = with_layer(other.module, layer);
            }
            throw UsageError("the output of " + std::string(name) + " is not " + std::string(site_name(module.site)) +
                             ": " + module.refused + ". Ask for " + right + ", or for " +
                             std::string(site_name(module.site)) + "." + std::to_string(layer.value_or(0)) + ".");
        }
        return SitePoint{module.site, layer};
    }
    return std::nullopt;
}

void check_site(Site site, const ModelConfig& config) {
    if (site == Site::resid_mid && !config.has_resid_mid) {
        throw UsageError("a model of type " + config.model_type +
                         " has no resid_mid: its MLP does not read the stream after attention. Ask for attn_out, "
                         "resid_pre or resid_post.");
    }
}

void check_layer(int layer, const ModelConfig& config) {
    if (layer < 0 || layer >= config.num_hidden_layers) {
        throw UsageError("layer " + std::to_string(layer) + " does not exist; the model has layers 0 to " +
                         std::to_string(config.num_hidden_layers - 1) + ".");
    }
}

}  // namespace

std::span<const Site> all_sites() {
    return sites;
}

std::string_view site_name(Site site) {
    return names.at(static_cast<std::size_t>(site));
}

bool site_has_layers(Site site) {
    return site != Site::embedding && site != Site::final_norm;
}

bool site_is_residual(Site site) {
    return site == Site::resid_pre || site == Site::resid_mid || site == Site::resid_post;
}

SitePoint parse_site(std::string_view name, const ModelConfig& config) {
    const std::optional<SitePoint> point = find_site(name, config);
    if (!point) unknown_site(name);
    check_site(point->site, config);
    if (point->layer) check_layer(*point->layer, config);
    return *point;
}

std::string transformer_lens_name(const SitePoint& point) {
    for (const Spelling& spelling : transformer_lens) {
        if (spelling.site == point.site && (point.layer || !site_has_layers(point.site)))
            return with_layer(spelling.pattern, point.layer);
    }
    return "";
}

std::vector<CaptureRequest> parse_sites(std::string_view list, const std::vector<int>& layers,
                                        const ModelConfig& config) {
    std::vector<CaptureRequest> requests;
    const auto add = [&](Site site, int layer) {
        auto found = std::find_if(requests.begin(), requests.end(),
                                  [&](const CaptureRequest& request) { return request.site == site; });
        if (found == requests.end()) found = requests.insert(requests.end(), CaptureRequest{site, {}});
        if (std::find(found->layers.begin(), found->layers.end(), layer) != found->layers.end()) {
            throw UsageError("the site " + std::string(site_name(site)) + " of layer " + std::to_string(layer) +
                             " is named twice; name it once.");
        }
        found->layers.push_back(layer);
    };
    std::vector<int> all = layers;
    if (all.empty()) {
        for (int layer = 0; layer < config.num_hidden_layers; ++layer)
            all.push_back(layer);
    }
    if (list.empty()) throw UsageError("no site is named; name at least one, for instance resid_post.");
    for (const std::string& name : split_at_commas(list)) {
        const SitePoint point = parse_site(name, config);
        if (!site_has_layers(point.site)) {
            add(point.site, 0);
        } else if (point.layer) {
            add(point.site, *point.layer);
        } else {
            for (const int layer : all)
                add(point.site, layer);
        }
    }
    for (CaptureRequest& request : requests) {
        std::sort(request.layers.begin(), request.layers.end());
        check_capture_request(request, config);
    }
    return requests;
}

void check_capture_request(const CaptureRequest& request, const ModelConfig& config) {
    check_site(request.site, config);
    for (auto layer = request.layers.begin(); layer != request.layers.end(); ++layer) {
        if (!site_has_layers(request.site) && *layer != 0) {
            throw UsageError(std::string(site_name(request.site)) + " has no layers; ask for layer 0.");
        }
        check_layer(*layer, config);
        if (std::find(request.layers.begin(), layer, *layer) != layer)
            throw UsageError("layer " + std::to_string(*layer) + " is wanted twice; name each layer once.");
    }
}

Depth depth_of(std::span<const CaptureRequest> requests) {
    Depth depth;
    for (const CaptureRequest& request : requests) {
        if (request.layers.empty()) continue;
        if (request.site == Site::final_norm) depth.final_norm = true;
        if (!site_has_layers(request.site)) continue;
        const int deepest = *std::max_element(request.layers.begin(), request.layers.end());
        // The input of block L is the output of block L - 1, but it is shown when block L begins.
        depth.blocks = std::max(depth.blocks, deepest + 1);
    }
    return depth;
}

SiteHook combine(std::vector<SiteHook> hooks) {
    std::erase_if(hooks, [](const SiteHook& hook) { return !hook; });
    if (hooks.empty()) return {};
    if (hooks.size() == 1) return hooks.front();
    return [hooks = std::move(hooks)](const SiteContext& context, at::Tensor& values) {
        for (const SiteHook& hook : hooks)
            hook(context, values);
    };
}

SiteHook capture_last_token(const CaptureRequest& request, std::vector<std::vector<float>>& rows) {
    return [&request, &rows](const SiteContext& context, at::Tensor& values) {
        if (context.site != request.site) return;
        const auto wanted = std::find(request.layers.begin(), request.layers.end(), context.layer);
        if (wanted == request.layers.end()) return;
        const auto index = static_cast<std::size_t>(wanted - request.layers.begin());
        const auto width = static_cast<std::size_t>(values.size(2));
        for (std::size_t slot = 0; slot < context.rows.size(); ++slot) {
            const at::Tensor row = values.select(0, static_cast<std::int64_t>(slot))
                                       .select(0, context.valid_tokens[slot] - 1)
                                       .to(at::TensorOptions().dtype(at::kFloat).device(at::kCPU))
                                       .contiguous();
            auto& out = rows[static_cast<std::size_t>(context.rows[slot])];
            out.resize(request.layers.size() * width);
            std::copy_n(row.const_data_ptr<float>(), width, out.data() + index * width);
        }
    };
}

SiteHook intervene(Intervention intervention, const ModelConfig& config) {
    if (!site_is_residual(intervention.site)) {
        throw UsageError("an intervention at " + std::string(site_name(intervention.site)) +
                         " is not possible; resid_pre, resid_mid and resid_post can be changed.");
    }
    check_capture_request({intervention.site, intervention.layers}, config);
    if (!intervention.change) throw InternalError("an intervention says where, but not what it changes");
    return [intervention = std::move(intervention)](const SiteContext& context, at::Tensor& values) {
        if (context.site != intervention.site) return;
        if (std::find(intervention.layers.begin(), intervention.layers.end(), context.layer) ==
            intervention.layers.end())
            return;
        const std::int64_t tokens = values.size(1);
        std::vector<std::int64_t> chosen;  // in the flattened [slots * tokens]
        for (std::size_t slot = 0; slot < context.rows.size(); ++slot) {
            for (std::int64_t token = 0; token < context.valid_tokens[slot]; ++token) {
                const std::int64_t position = context.first_position[slot] + token;
                if (intervention.positions && !intervention.positions(context.rows[slot], position)) continue;
                chosen.push_back(static_cast<std::int64_t>(slot) * tokens + token);
            }
        }
        if (chosen.empty()) return;
        const at::Tensor index =
            at::from_blob(chosen.data(), {static_cast<std::int64_t>(chosen.size())}, at::kLong).to(values.device(), at::kLong, false, true);
        const at::Tensor flat = values.reshape({-1, values.size(2)});
        const at::Tensor rows = flat.index_select(0, index);
        const at::Tensor changed = intervention.change(context, rows);
        if (!changed.defined() || changed.sizes() != rows.sizes() || changed.scalar_type() != rows.scalar_type()) {
            throw InternalError("an intervention at " + std::string(site_name(context.site)) + " of layer " +
                                std::to_string(context.layer) + " gave rows of another shape or type");
        }
        values = flat.index_copy(0, index, changed).view(values.sizes());
    };
}

}  // namespace pva::model
