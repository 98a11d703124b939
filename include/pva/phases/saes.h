// The SAEs that options name: where they are, and one after the other in memory.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "pva/core/options.h"
#include "pva/core/provenance.h"
#include "pva/phases/context.h"
#include "pva/sae/load.h"
#include "pva/sae_aten/coder.h"

namespace pva::phases {

struct SaeOptions {
    std::string names;     ///< folders, files or names on the Hub, separated by commas
    std::string list;      ///< tab-separated list of paths
    double scale = 0;      ///< of the input of SAEs whose files do not say it; 0: not given
    double memory_gb = 2;  ///< of SAEs that stay loaded
};
/// --sae, --sae-list, --sae-scale and --sae-memory.
void register_options(OptionSet& set, SaeOptions& options, bool required);

sae::LoadOptions load_options(const SaeOptions& options);

/// Every SAE that the options name, in their order, each as a path that sae::identify takes. One of --sae's names is an
/// SAE, a folder with SAEs below, or OWNER/NAME[@REVISION][:PATH] in the offline Hugging Face cache. With --sae-list the
/// list's paths are looked for below the one folder or name of --sae, or without --sae in the cache by their own
/// repositories. Errors: InputError saying what is missing and how to get it.
std::vector<std::string> find_sae_paths(const SaeOptions& options);

/// An SAE of a phase that wants one a layer.
struct LayerSae {
    std::int32_t layer;
    std::string path;
};
/// The same, one a layer, by ascending layer. Errors: InputError for two SAEs of one layer.
std::vector<LayerSae> find_layer_saes(const SaeOptions& options);

/// What a phase knows of its SAEs before it loads any: one a layer, all of the same number of latents.
struct SaeSet {
    std::vector<std::int32_t> layers;   ///< ascending
    std::vector<std::string> paths;     ///< of each layer
    std::vector<std::string> sha256;    ///< of each layer
    std::uint32_t d_sae = 0;

    /// Layer to SHA-256, for an identity.
    nlohmann::ordered_json hashes() const;
    /// As inputs of a run, "sae of layer 3".
    std::vector<InputFile> inputs() const;
};
/// Collective. The SAEs that options name, of `wanted` layers only unless that is empty, checked by their headers: each
/// reads rows of `width` of `site` at a layer among `stored`. Rank 0 reads the files for their hashes, the others are told.
/// Errors (AgreedError): InputError for a layer without SAE or rows, another width or site, transcoders, unequal sizes.
SaeSet find_sae_set(Context& context, const SaeOptions& options, const std::vector<int>& wanted, const std::string& site, std::int64_t width,
                    const std::vector<std::int32_t>& stored, const std::string& stored_in);

/// SAEs that are loaded when they are wanted. Those that fit the memory first stay; of the others one is there at a time.
class SaeShelf {
  public:
    /// Rows are coded where `placement` says.
    SaeShelf(std::vector<std::string> paths, const SaeOptions& options, const model::Placement& placement);

    /// The SAE at this place of the paths; valid until the next call. Errors: as sae::load.
    const sae::Sae& at(std::size_t index) { return coder(index).sae(); }
    /// The same, ready to code rows.
    const sae_aten::Coder& coder(std::size_t index);

  private:
    std::vector<std::string> paths_;
    sae::LoadOptions options_;
    /// Nothing here moves: the coder looks at the SAE.
    struct Loaded {
        Loaded(sae::Sae loaded, const model::Placement& placement) : sae(std::move(loaded)), coder(sae, placement) {}
        Loaded(const Loaded&) = delete;
        sae::Sae sae;
        sae_aten::Coder coder;
    };
    model::Placement placement_;
    double room_;  // bytes left for SAEs that stay
    std::map<std::size_t, Loaded> kept_;
    std::optional<Loaded> passing_;
    std::size_t passing_index_ = 0;
};

}  // namespace pva::phases
