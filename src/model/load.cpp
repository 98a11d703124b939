// Finding and loading a model folder.
#include "pva/model/load.h"

#include <filesystem>
#include <utility>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/io/safetensors.h"
#include "pva/model/weights.h"

namespace pva::model {

namespace fs = std::filesystem;

namespace {

constexpr const char* expected_files =
    "A model folder holds config.json, model.safetensors and tokenizer.model (Hugging Face layout).";

std::string name_of_folder(const fs::path& folder) {
    fs::path path = fs::absolute(folder).lexically_normal();
    if (path.filename().empty()) path = path.parent_path();  // a trailing slash
    if (path.parent_path().filename() == "snapshots") {
        const std::string repository = path.parent_path().parent_path().filename().string();  // models--OWNER--NAME
        const std::size_t separator = repository.rfind("--");
        if (repository.starts_with("models--") && separator != std::string::npos)
            return repository.substr(separator + 2);
    }
    return path.filename().string();
}

}  // namespace

ModelFiles find_model_files(const std::string& folder) {
    const fs::path root(folder);
    if (!fs::is_directory(root)) throw InputError("model folder " + folder + " does not exist. " + expected_files);
    const auto file = [&](const char* name) {
        const fs::path path = root / name;
        if (!fs::is_regular_file(path)) {
            std::string message = "model folder " + folder + " has no " + name + ". " + expected_files;
            if (fs::exists(root / "model.safetensors.index.json")) {
                message +=
                    " Weights in several files (model.safetensors.index.json) are not read; join them into one file.";
            }
            throw InputError(message);
        }
        return path.string();
    };
    return ModelFiles{folder, name_of_folder(root), file("config.json"), file("model.safetensors"),
                      file("tokenizer.model")};
}

ModelHashes hash_model_files(const ModelFiles& files) {
    return {sha256_file_hex(files.config), sha256_file_hex(files.weights)};
}

Gemma2 load_model(const ModelFiles& files) {
    Gemma2Config config = load_gemma2_config(files.config);
    const io::SafetensorsFile weights(files.weights);
    Gemma2Weights loaded = load_gemma2_weights(config, weights);
    return Gemma2(std::move(config), std::move(loaded));
}

Gemma2 load_model(const std::string& folder) {
    return load_model(find_model_files(folder));
}

}  // namespace pva::model
