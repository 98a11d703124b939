// What one architecture adds to the common frame. A new one is a header, a source, a line in architecture.cpp and a
// golden test (docs/models.md). For the sources of this room.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "pva/model/config.h"
#include "pva/model/config_reader.h"
#include "pva/model/decoder.h"
#include "pva/model/kv_cache.h"
#include "pva/model/reference_ops.h"
#include "pva/model/sites.h"
#include "pva/model/weights.h"

namespace pva::model {

/// The tokens of one pass: a right-padded batch with, for every slot, its row, its first position and its number of
/// tokens.
struct TokenBatch {
    at::Tensor tokens;       ///< int64 [slots, T]
    at::Tensor positions;    ///< int64 [slots, T], or [1, T] for whole rows
    bool whole_rows = true;  ///< every slot begins at position 0; otherwise T is 1
    std::vector<std::int64_t> rows;
    std::vector<std::int64_t> first_position;
    std::vector<std::int64_t> valid_tokens;
};

/// Lets the hook see, and at residual sites replace, the values of a site. Errors: InternalError for a replacement elsewhere, or of another
/// shape or type.
void show_to_hook(const SiteHook& hook, const SiteContext& context, at::Tensor& values);

/// One pass through the blocks: what they share (positions, masks, cache) and the caller's hook.
class ForwardPass {
  public:
    /// With a cache, keys and values go into it and attention reads from it; `keys` is the number of positions it has to
    /// look at. All arguments must outlive the pass.
    ForwardPass(const ModelConfig& config, const TokenBatch& batch, at::ScalarType dtype, KvCache* cache,
                std::int64_t keys, const SiteHook& hook);

    /// Heads of a projection: [slots, T, heads * head_dim] to [slots, heads, T, head_dim].
    at::Tensor by_head(const at::Tensor& x, std::int64_t heads) const;

    /// Rotary embedding, cache, mask, soft cap and softmax of one layer; shows z to the hook.
    /// q: [slots, heads, T, head_dim], k and v: [slots, kv_heads, T, head_dim]. Result [slots, T, heads * head_dim].
    at::Tensor attend(int layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

    /// show_to_hook with the context of this pass.
    void visit(Site site, int layer, at::Tensor& values) const;

  private:
    const at::Tensor& mask_of(std::int64_t window);

    const ModelConfig& config_;
    const TokenBatch& batch_;
    at::ScalarType dtype_;
    KvCache* cache_;
    std::int64_t keys_;
    const SiteHook& hook_;
    RotaryTables rotary_;
    std::vector<std::pair<std::int64_t, at::Tensor>> masks_;  // by window
};

/// The arithmetic of one architecture with its weights. Immutable.
class Architecture {
  public:
    virtual ~Architecture() = default;
    /// int64 [slots, T] to the stream before block 0, [slots, T, hidden_size].
    virtual at::Tensor embed(const at::Tensor& tokens) const = 0;
    /// The stream after a block. Calls pass.visit at every site but resid_pre and resid_post, which the frame visits.
    virtual at::Tensor block(int layer, const at::Tensor& stream, ForwardPass& pass) const = 0;
    virtual at::Tensor final_norm(const at::Tensor& stream) const = 0;
    /// Rows after the final norm [..., hidden_size] to logits [..., vocab_size].
    virtual at::Tensor unembed(const at::Tensor& normed) const = 0;
};

/// A checked configuration, and the two ways to the weights that belong to it: the reference arithmetic with all of them,
/// or the decoder as data for the fast forward pass.
struct ParsedArchitecture {
    ModelConfig config;
    std::function<std::unique_ptr<Architecture>(WeightReader& weights)> load;
    DecoderDescription decoder;
};

/// Reads the fields of the architecture that model_type names. Errors: InputError listing the known ones.
ParsedArchitecture parse_architecture(const ConfigReader& reader);
/// The same from a config.json. Errors: InputError also when it cannot be read.
ParsedArchitecture load_architecture(const std::string& path);

}  // namespace pva::model
