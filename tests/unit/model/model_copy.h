// A copy of a small model of tests/golden whose configuration, tensors and files can be changed, removed at the end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../scratch.h"
#include "pva/io/safetensors.h"
#include "pva/model/load.h"

namespace model_copy {

namespace fs = std::filesystem;

/// Folder of a model of tests/golden/gemma2 or tests/golden/models.
inline fs::path golden_folder(const std::string& name) {
    const fs::path root = fs::path(PVA_SOURCE_DIR) / "tests/golden";
    return fs::exists(root / "gemma2" / name) ? root / "gemma2" / name : root / "models" / name;
}

struct StoredTensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
};
using StoredTensors = std::map<std::string, StoredTensor>;

inline void write_safetensors(const fs::path& path, const StoredTensors& tensors) {
    nlohmann::json header = nlohmann::json::object();
    std::string data;
    for (const auto& [name, tensor] : tensors) {
        header[name] = {{"dtype", tensor.dtype},
                        {"shape", tensor.shape},
                        {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
        data += tensor.bytes;
    }
    const std::string text = header.dump();
    std::ofstream file(path, std::ios::binary);
    for (int i = 0; i < 8; ++i)
        file.put(static_cast<char>(text.size() >> (8 * i) & 0xFF));
    file << text << data;
}

class ModelCopy {
  public:
    explicit ModelCopy(const std::string& golden_name) {
        for (const auto& entry : fs::directory_iterator(golden_folder(golden_name))) {
            if (entry.path().filename() != "golden.safetensors") fs::copy(entry.path(), path / entry.path().filename());
        }
    }

    Scratch scratch;
    fs::path path = scratch.path;

    std::string folder() const { return path.string(); }

    nlohmann::json config() const {
        std::ifstream file(path / "config.json");
        return nlohmann::json::parse(file);
    }
    void set(const std::string& field, const nlohmann::json& value) const {
        nlohmann::json object = config();
        object[field] = value;
        write("config.json", object.dump());
    }
    void write(const std::string& name, const std::string& text) const {
        std::ofstream(path / name, std::ios::binary) << text;
    }

    /// All tensors, of one file or of all shards.
    StoredTensors tensors() const {
        const pva::io::SafetensorsSet files(pva::model::find_model_files(folder()).weights);
        StoredTensors result;
        for (const auto& name : files.names()) {
            const auto bytes = files.bytes(name);
            result[name] = {files.entry(name).dtype, files.entry(name).shape,
                            std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
        }
        return result;
    }
    /// Replaces the weights by one file.
    void set_tensors(const StoredTensors& tensors) const {
        std::vector<fs::path> old;
        for (const auto& entry : fs::directory_iterator(path)) {
            if (entry.path().string().find(".safetensors") != std::string::npos) old.push_back(entry.path());
        }
        for (const fs::path& file : old)
            fs::remove(file);
        write_safetensors(path / "model.safetensors", tensors);
    }

    pva::model::Model load(const pva::model::Placement& placement = {}) const {
        return pva::model::load_model(folder(), placement);
    }
};

}  // namespace model_copy
