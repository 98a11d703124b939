// Sites: the named places of a forward pass, how other tools spell them, and the one mechanism by which a caller sees or
// changes what stands there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace at {
class Tensor;
}

namespace pva::model {

struct ModelConfig;

/// Blocks count from 0. All values are those of the running data type, before any cast.
enum class Site : std::uint8_t {
    embedding,   ///< what enters block 0 (Gemma: already times sqrt(hidden_size)); has no layer
    resid_pre,   ///< input of block L; the same tensor as resid_post L - 1, or the embedding
    resid_mid,   ///< between attention and MLP; does not exist where both read the block's input (GPT-NeoX)
    resid_post,  ///< output of block L; of the last block too, raw, before the final norm
    attn_out,    ///< what attention adds to the residual stream (Gemma-2: after post_attention_layernorm)
    mlp_out,     ///< what the MLP adds to it (Gemma-2: after post_feedforward_layernorm)
    z,           ///< heads' outputs side by side, input of the attention output matrix
    final_norm,  ///< output of the final norm, what the unembedding reads; has no layer
};

/// All sites, in the order of the enumeration.
std::span<const Site> all_sites();

/// "embedding", "resid_pre" and so on: the name used on the command line and in files.
std::string_view site_name(Site site);

/// False for embedding and final_norm.
bool site_has_layers(Site site);

/// True for the residual stream itself: resid_pre, resid_mid, resid_post.
bool site_is_residual(Site site);

/// A site, of one layer if the name says so.
struct SitePoint {
    Site site = Site::resid_post;
    std::optional<int> layer;  ///< none: the site at all layers (or one that has no layer)

    bool operator==(const SitePoint&) const = default;
};

/// Reads a site in any of these spellings (L is a layer):
///   pva                            resid_post, resid_post.L
///   TransformerLens, SAELens       blocks.L.hook_resid_post, blocks.L.attn.hook_z, hook_embed
///   Hugging Face                   model.layers.L, model.layers.L.self_attn, model.embed_tokens, model.norm, hidden_states[L]
///   sparsify                       layers.L, layers.L.mlp
///   dictionary_learning            resid_post_layer_L
/// A module of Hugging Face stands for its output. Errors: UsageError for an unknown name, for a layer the model does
/// not have, for a site this architecture does not have, and for modules whose output is easily mistaken for a site (in
/// Gemma-2 model.layers.L.mlp, which is before the norm), with the right name.
SitePoint parse_site(std::string_view name, const ModelConfig& config);

/// The spelling of TransformerLens ("blocks.3.hook_resid_post"); empty for final_norm, for which it has none, and for a
/// site that has layers without one.
std::string transformer_lens_name(const SitePoint& point);

/// Which rows are wanted at one site.
struct CaptureRequest {
    Site site = Site::resid_post;
    std::vector<int> layers;  ///< block indices from 0, in the order the rows are wanted; {0} for a site without layers
};

/// Parses comma-separated names into one request a site, sites in the order of the names, layers ascending. A name
/// without a layer means all of `layers`, or all layers of the model when that is empty. Errors: UsageError as
/// parse_site, for an empty list and for a site or layer named twice.
std::vector<CaptureRequest> parse_sites(std::string_view names, const std::vector<int>& layers,
                                        const ModelConfig& config);

/// Errors: UsageError for a layer that does not exist, one named twice, or a site the architecture does not have.
void check_capture_request(const CaptureRequest& request, const ModelConfig& config);

/// Number of blocks that have to run to see the request, and whether the final norm has to.
struct Depth {
    int blocks = 0;
    bool final_norm = false;
};
Depth depth_of(std::span<const CaptureRequest> requests);

/// Where a forward pass stands when it calls a SiteHook. Slot b of the values [slots, T, width] belongs to the row
/// rows[b] of the batch; its first valid_tokens[b] entries are tokens at positions first_position[b], first_position[b]
/// + 1, ... of that row, the others are padding.
struct SiteContext {
    Site site;
    int layer;  ///< 0 for sites without layers
    std::span<const std::int64_t> rows;
    std::span<const std::int64_t> first_position;
    std::span<const std::int64_t> valid_tokens;
};

/// Called at every site, in the order of the computation, with the values there (the model's data type and device). It
/// may copy rows out. At the residual sites it may replace them by another tensor of the same shape and type, which the
/// pass then continues with; elsewhere a replacement is an InternalError. It must not write into the tensor it is given.
/// An empty hook costs one comparison a site.
using SiteHook = std::function<void(const SiteContext& context, at::Tensor& values)>;

/// A hook that calls all of `hooks`, in order; empty ones are left out.
SiteHook combine(std::vector<SiteHook> hooks);

/// A hook that copies the values at the last valid token of every slot into rows[context row], each sized [layers,
/// width] in the order of the request, as float32. Both arguments are referred to, so they must outlive the hook.
SiteHook capture_last_token(const CaptureRequest& request, std::vector<std::vector<float>>& rows);

/// True for the positions of a row that an intervention changes. Empty: all.
using PositionRule = std::function<bool(std::int64_t row, std::int64_t position)>;

/// A change of the residual stream.
struct Intervention {
    Site site = Site::resid_post;  ///< a residual site
    std::vector<int> layers;
    PositionRule positions;
    /// Takes the chosen rows [n, hidden_size] (the model's data type and device) and returns what replaces them, of the
    /// same shape; called only when there is at least one. Must not write into its argument.
    std::function<at::Tensor(const SiteContext& context, const at::Tensor& rows)> change;
};

/// The hook that makes the change; rows that are not chosen keep their bits. Gradients flow through. Errors: UsageError
/// for a site that is no residual site, or layers the model does not have; InternalError for a result of another shape.
SiteHook intervene(Intervention intervention, const ModelConfig& config);

}  // namespace pva::model
