// Walks the two folder layouts in which SAEs of one model come.
#include "pva/sae/discover.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>

#include "pva/core/error.h"

namespace pva::sae {

namespace fs = std::filesystem;

namespace {

/// N of "layer_N"; nothing for other names, and for numbers not written as pva would write them.
std::optional<std::uint32_t> layer_number(const std::string& name) {
    if (!name.starts_with("layer_")) return std::nullopt;
    std::uint32_t layer = 0;
    const auto [end, code] = std::from_chars(name.data() + 6, name.data() + name.size(), layer);
    if (code != std::errc() || name != "layer_" + std::to_string(layer) || end != name.data() + name.size())
        return std::nullopt;
    return layer;
}

/// Folders directly below `folder` whose name starts with `prefix`, by name.
std::vector<fs::path> subfolders(const fs::path& folder, const std::string& prefix) {
    std::vector<fs::path> found;
    try {
        for (const auto& entry : fs::directory_iterator(folder)) {
            if (entry.is_directory() && entry.path().filename().string().starts_with(prefix))
                found.push_back(entry.path());
        }
    } catch (const fs::filesystem_error& error) {
        throw IoError(folder.string() + ": cannot be listed: " + error.code().message());
    }
    std::sort(found.begin(), found.end());
    return found;
}

std::vector<std::string> files_of_layer(const fs::path& layer_folder) {
    std::vector<std::string> files;
    const auto add = [&](const fs::path& path) {
        std::error_code code;
        if (fs::is_regular_file(path, code)) files.push_back(path.string());
    };
    add(layer_folder / "params.npz");
    for (const auto& width : subfolders(layer_folder, "width_")) {
        for (const auto& l0 : subfolders(width, "average_l0_"))
            add(l0 / "params.npz");
    }
    return files;
}

}  // namespace

std::vector<SaeFile> find_saes(const std::string& folder) {
    std::error_code code;
    if (!fs::is_directory(folder, code)) {
        throw InputError(folder + ": no such folder. Name the folder that holds layer_N/params.npz.");
    }
    std::vector<SaeFile> saes;
    for (const auto& layer_folder : subfolders(folder, "layer_")) {
        const auto layer = layer_number(layer_folder.filename().string());
        if (!layer)
            throw InputError(layer_folder.string() + ": not the name of a layer; write layer_N with a plain number N.");
        const auto files = files_of_layer(layer_folder);
        if (files.empty()) {
            throw InputError(layer_folder.string() +
                             ": holds no SAE. Expected params.npz or width_W/average_l0_L/params.npz; "
                             "remove the folder to leave the layer out.");
        }
        if (files.size() > 1) {
            std::string list;
            for (const auto& file : files)
                list += "\n  " + file;
            throw InputError(layer_folder.string() + ": " + std::to_string(files.size()) + " SAEs for layer " +
                             std::to_string(*layer) +
                             ". Instead of the folder, name one file per layer, separated by commas:" + list);
        }
        saes.push_back({*layer, files.front()});
    }
    if (saes.empty()) {
        throw InputError(folder + ": no SAEs. Expected layer_N/params.npz or layer_N/width_W/average_l0_L/params.npz.");
    }
    std::sort(saes.begin(), saes.end(), [](const SaeFile& a, const SaeFile& b) { return a.layer < b.layer; });
    return saes;
}

std::uint32_t layer_of_path(const std::string& path) {
    std::optional<std::uint32_t> found;
    for (const auto& part : fs::path(path)) {
        if (const auto layer = layer_number(part.string())) found = layer;
    }
    if (!found)
        throw InputError(
            path + ": no folder layer_N in this path, so the layer is unknown. Put the file below such a folder.");
    return *found;
}

}  // namespace pva::sae
