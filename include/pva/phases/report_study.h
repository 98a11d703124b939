// What a report is made from: the newest results in a folder that belong together, and what a latent does on every problem.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pva/io/reader.h"

namespace pva::phases {

/// One run of steering: the tuning part, where coefficients were chosen, and the analysis part, where they were tried beside controls.
struct SteeringRun {
    std::optional<io::ResultReader> tuning;    ///< the file that `analysis` names
    std::optional<io::ResultReader> analysis;  ///< empty when only the tuning part was run
};

/// Result files of one study; those that are not there are empty. They name each other by content hash, so they belong together.
struct ReportStudy {
    std::optional<io::ResultReader> difficulty;
    std::optional<io::ResultReader> dataset;
    std::optional<io::ResultReader> activations;  ///< of resid_post at all positions
    std::optional<io::ResultReader> temperatures;
    std::optional<io::ResultReader> splits;
    std::optional<io::ResultReader> codes;  ///< of phase 2
    std::optional<io::ResultReader> latents;
    std::optional<io::ResultReader> validation;
    std::optional<io::ResultReader> stages;  ///< detection over the course of writing
    std::vector<SteeringRun> steering;  ///< of these latents with different settings, the oldest first; of equal settings the newest
    std::vector<std::string> unusable;  ///< files that could not be read, with the reason
    std::string model;                  ///< its name; empty without dataset, latents or validation
    std::int64_t others = 0;            ///< results of other models, problems or settings in the same folders
};

/// The newest validation decides, then the newest latents, then the newest dataset. model: only results of the model of this name, unless empty.
/// Errors: InputError when the folder is missing or there is no result in it.
ReportStudy open_report_study(const std::string& folder, const std::string& model);

/// Statistics of all latents in the order of the file, [layer, latent].
struct LatentGrid {
    std::vector<std::int32_t> layers;
    std::int64_t n_latents = 0;
    std::vector<double> score;
    std::vector<double> rate;  ///< on general text
    std::vector<std::uint8_t> kept;
    std::size_t at(std::size_t layer_index, std::int64_t latent) const { return layer_index * static_cast<std::size_t>(n_latents) + static_cast<std::size_t>(latent); }
};
/// Errors: InputError for sizes that disagree.
LatentGrid read_latent_grid(const io::ResultReader& latents);

/// A latent that a report shows.
struct ChosenLatent {
    std::int32_t layer = 0;
    std::int32_t latent = 0;
    std::size_t layer_index = 0;  ///< in the latents file
    bool speaks_for_right = true;
    std::string name() const { return "L" + std::to_string(layer) + "-" + std::to_string(latent); }
};
/// The first `count` of each ranked list.
std::vector<ChosenLatent> first_latents(const io::ResultReader& latents, const LatentGrid& grid, std::int64_t count);
/// The one of "L/J" or "L-J". Errors: UsageError for another form and for a latent that is not in the file.
ChosenLatent named_latent(const LatentGrid& grid, const std::string& name);

/// Activation of a latent on every row of the codes file of phase 2, zeros included.
std::vector<double> activations(const io::ResultReader& codes, std::int32_t layer, std::int32_t latent);

/// Neuronpedia's page of a latent, or empty: only for the Gemma Scope SAEs that the site shows under the plain name (the canonical one of each layer),
/// known by the folders of the path that the SAE was read from (gemma-scope-2b-pt-res..., layer_L/width_16k/average_l0_N).
/// Source: the lists of canonical SAEs published with Gemma Scope.
std::string neuronpedia_link(const std::string& sae_path, std::int32_t layer, std::int32_t latent);

/// Path of the input with this role, as the run that wrote the file had it; empty when there is none.
std::string input_path(const io::ResultReader& reader, const std::string& role);

}  // namespace pva::phases
