// Finds the SAE file of each layer in a folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pva::sae {

struct SaeFile {
    std::uint32_t layer = 0;
    std::string path;  ///< of a params.npz

    bool operator==(const SaeFile&) const = default;
};

/// The SAE files below `folder`, by ascending layer. Layouts: layer_N/params.npz (the demo study) and
/// layer_N/width_W/average_l0_L/params.npz (Gemma Scope releases); other names in the folder are left alone.
/// Throws InputError when the folder is missing, holds no SAE, has a layer folder that is empty or oddly named, or
/// several SAEs for one layer: those are listed, because the exact path is an SAE's identity.
std::vector<SaeFile> find_saes(const std::string& folder);

/// The layer that a path names by its folder layer_N (the innermost one). Throws InputError when no folder does.
std::uint32_t layer_of_path(const std::string& path);

}  // namespace pva::sae
