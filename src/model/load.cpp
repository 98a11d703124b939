// Finding and loading a model.
#include "pva/model/load.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include <nlohmann/json.hpp>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/io/safetensors.h"
#include "pva/model/architecture.h"
#include "pva/model/device_forward.h"
#include "pva/model/fast_forward.h"
#include "pva/model/out_of_memory.h"
#include "pva/model/hub_cache.h"
#include "pva/model/threads.h"
#include "pva/model/weights.h"

namespace pva::model {

namespace fs = std::filesystem;

namespace {

constexpr const char* expected_files =
    "A model folder holds config.json, model.safetensors (or model.safetensors.index.json with its shards) and "
    "tokenizer.json or tokenizer.model (Hugging Face layout).";

void add_generation_eos(ModelConfig& config, const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    nlohmann::json object;
    try {
        object = nlohmann::json::parse(file, [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
            if (depth > 64)
                throw InputError("generation configuration " + path +
                                 ": values are nested deeper than 64. Fetch the file again.");
            return true;
        });
    } catch (const nlohmann::json::exception& error) {
        throw InputError("generation configuration " + path + " is not valid JSON (" + error.what() +
                         "). Fetch the file again.");
    }
    if (!object.is_object() || !object.contains("eos_token_id") || object["eos_token_id"].is_null()) return;
    const nlohmann::json eos = object["eos_token_id"];
    const nlohmann::json list = eos.is_array() ? eos : nlohmann::json::array({eos});
    for (const nlohmann::json& id : list) {
        if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= config.vocab_size) {
            throw InputError("generation configuration " + path + ": eos_token_id " + id.dump() +
                             " is no token id below vocab_size = " + std::to_string(config.vocab_size) + ".");
        }
        config.eos_token_ids.push_back(id.get<std::int32_t>());
    }
    std::sort(config.eos_token_ids.begin(), config.eos_token_ids.end());
    config.eos_token_ids.erase(std::unique(config.eos_token_ids.begin(), config.eos_token_ids.end()),
                               config.eos_token_ids.end());
}

ParsedArchitecture load_parsed(const ModelFiles& files) {
    ParsedArchitecture parsed = load_architecture(files.config);
    if (!files.generation_config.empty()) add_generation_eos(parsed.config, files.generation_config);
    return parsed;
}

}  // namespace

ModelFiles find_model_files(const std::string& model) {
    ResolvedModel resolved = resolve_model(model, hub_environment_from_process());
    const fs::path root(resolved.folder);
    // The first of the names that is there; empty when none is.
    const auto first_of = [&](std::initializer_list<const char*> names) -> std::string {
        for (const char* name : names) {
            if (fs::is_regular_file(root / name)) return (root / name).string();
        }
        return "";
    };
    ModelFiles files;
    files.folder = resolved.folder;
    files.name = std::move(resolved.name);
    files.revision = std::move(resolved.revision);
    files.notes = std::move(resolved.notes);
    files.config = first_of({"config.json"});
    files.weights = first_of({"model.safetensors", "model.safetensors.index.json"});
    files.tokenizer = first_of({"tokenizer.json", "tokenizer.model"});
    files.generation_config = first_of({"generation_config.json"});
    const auto missing = [&](const std::string& what) {
        std::string message = "model folder " + files.folder + " has no " + what + ". " + expected_files;
        if (fs::exists(root / "pytorch_model.bin") || fs::exists(root / "pytorch_model.bin.index.json")) {
            message +=
                " pytorch_model.bin is not read (a pickle can run code); convert it with save_pretrained(folder, "
                "safe_serialization=True).";
        }
        throw InputError(message);
    };
    if (files.config.empty()) missing("config.json");
    if (files.weights.empty()) missing("model.safetensors");
    return files;
}

void require_tokenizer(const ModelFiles& files) {
    if (files.tokenizer.empty()) {
        throw InputError("model folder " + files.folder + " has no tokenizer.json and no tokenizer.model. " +
                         expected_files);
    }
}

ModelHashes hash_model_files(const ModelFiles& files) {
    const io::SafetensorsSet weights(files.weights);
    std::vector<std::string> all = weights.files();
    std::sort(all.begin(), all.end());  // all in one folder, so this is the order of their names
    ModelHashes hashes{sha256_file_hex(files.config), ""};
    if (all.size() == 1) {
        hashes.weights = sha256_file_hex(all.front());
        return hashes;
    }
    std::string lines;
    for (const std::string& path : all)
        lines += sha256_file_hex(path) + "  " + fs::path(path).filename().string() + "\n";
    hashes.weights = sha256_hex(lines);
    return hashes;
}

ModelConfig load_config(const ModelFiles& files) {
    return load_parsed(files).config;
}

Model load_model(const ModelFiles& files, const Placement& placement, WeightMemory& memory, int threads) {
    if (threads > 0) set_threads(threads);
    ParsedArchitecture parsed = load_parsed(files);
    const io::SafetensorsSet tensors(files.weights);
    for (const std::string& warning : tensors.warnings())
        parsed.config.warnings.push_back(warning);
    WeightReader weights(tensors, placement);
    if (placement.engine == Engine::fast) {
        auto fast = std::make_unique<FastForward>(parsed.config, parsed.decoder, weights, memory, model::threads());
        if (threads > 0) set_threads(1);
        return Model(std::move(parsed.config), placement, std::move(fast), weights.parameters());
    }
    if (placement.engine == Engine::device) {
        RecorderFactory recorders = placement.cuda_graphs ? cuda_graph_recorders(placement.gpu) : RecorderFactory();
        auto device_pass = within_memory("reading the weights", [&] { return std::make_unique<DeviceForward>(parsed.config, parsed.decoder, weights, std::move(recorders)); });
        weights.check_all_taken();
        return Model(std::move(parsed.config), placement, std::move(device_pass), weights.parameters(), weights.bytes());
    }
    std::unique_ptr<Architecture> architecture = within_memory("reading the weights", [&] { return parsed.load(weights); });
    weights.check_all_taken();
    return Model(std::move(parsed.config), placement, std::move(architecture), weights.parameters(), weights.bytes());
}

Model load_model(const ModelFiles& files, const Placement& placement, int threads) {
    WeightMemory own;
    return load_model(files, placement, own, threads);
}

Model load_model(const std::string& model, const Placement& placement) {
    return load_model(find_model_files(model), placement);
}

}  // namespace pva::model
