// Projects a direction out of everything that writes to the stream.
#include "pva/model/orthogonalize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "pva/core/error.h"
#include "pva/io/array_files.h"
#include "pva/io/safetensors.h"
#include "pva/io/whole_file.h"

namespace pva::model {

namespace {

constexpr const char* kept_unembedding = "lm_head.weight";

/// How one architecture names what writes to the stream.
struct Writers {
    std::string embedding;                    ///< [vocabulary, hidden_size]
    std::string unembedding;                  ///< name under which the loader looks for an untied one
    std::vector<std::string> outputs;         ///< of each layer, without prefix and .weight: [hidden_size, in]
    std::vector<std::string> gains_after;     ///< norm behind each of the outputs, without prefix; empty: none
    std::string prefix;                       ///< of layer L: prefix + L + "."
};

Writers writers_of(const std::string& model_type) {
    if (model_type == "gemma2") {
        return {"model.embed_tokens.weight", kept_unembedding, {"self_attn.o_proj", "mlp.down_proj"}, {"post_attention_layernorm", "post_feedforward_layernorm"}, "model.layers."};
    }
    if (model_type == "gpt_neox") return {"gpt_neox.embed_in.weight", "embed_out.weight", {"attention.dense", "mlp.dense_4h_to_h"}, {}, "gpt_neox.layers."};
    return {"model.embed_tokens.weight", kept_unembedding, {"self_attn.o_proj", "mlp.down_proj"}, {}, "model.layers."};
}

std::vector<double> read_values(const io::SafetensorsSet& set, const std::string& name) {
    const io::TensorEntry& entry = set.entry(name);
    const auto bytes = set.bytes(name);
    at::ScalarType type = at::kFloat;
    if (entry.dtype == "F16") {
        type = at::kHalf;
    } else if (entry.dtype == "BF16") {
        type = at::kBFloat16;
    } else if (entry.dtype != "F32") {
        throw InputError(set.path() + ": tensor " + name + " is stored as " + entry.dtype + "; F32, F16 and BF16 can be changed");
    }
    at::Tensor stored = at::empty({static_cast<std::int64_t>(bytes.size() / c10::elementSize(type))}, at::TensorOptions().dtype(type));
    std::memcpy(stored.data_ptr(), bytes.data(), bytes.size());
    const at::Tensor wide = stored.to(at::kDouble);
    set.release(name);
    return {wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel()};
}

std::vector<double> unit(std::vector<double> vector, const std::string& what) {
    double squares = 0;
    for (const double value : vector) squares += value * value;
    if (!(squares > 0) || !std::isfinite(squares)) throw UsageError(what + " has no direction: its length is 0 or not finite");
    for (double& value : vector) value /= std::sqrt(squares);
    return vector;
}

/// Sums over all changed tensors.
struct Sums {
    double squared_change = 0;
    double squares = 0;
    double largest_product = 0;
};

/// Takes the part along d out of vectors of `width` numbers. Element i of vector v stands at v * vector_step + i * step.
std::vector<float> without(const std::vector<double>& values, const std::vector<double>& d, std::size_t vectors, std::size_t vector_step, std::size_t step, Sums& sums) {
    std::vector<float> result(values.size());
    for (std::size_t v = 0; v < vectors; ++v) {
        double product = 0;
        for (std::size_t i = 0; i < d.size(); ++i) product += d[i] * values[v * vector_step + i * step];
        double left = 0;
        for (std::size_t i = 0; i < d.size(); ++i) {
            const std::size_t at = v * vector_step + i * step;
            const auto stored = static_cast<float>(values[at] - d[i] * product);
            result[at] = stored;
            left += d[i] * static_cast<double>(stored);
            const double change = static_cast<double>(stored) - values[at];
            sums.squared_change += change * change;
            sums.squares += values[at] * values[at];
        }
        sums.largest_product = std::max(sums.largest_product, std::abs(left));
    }
    return result;
}

}  // namespace

Orthogonalization write_orthogonalized_model(const ModelFiles& files, std::span<const float> direction, const std::string& folder, bool keep_tied) {
    const ModelConfig config = load_config(files);
    const auto width = static_cast<std::size_t>(config.hidden_size);
    if (direction.size() != width) throw UsageError("a direction of " + std::to_string(direction.size()) + " numbers cannot be taken out of a stream of " + std::to_string(width));
    std::ifstream file(files.config, std::ios::binary);
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(std::string(std::istreambuf_iterator<char>(file), {}));
    const Writers writers = writers_of(json.at("model_type").get<std::string>());
    const io::SafetensorsSet set(files.weights);
    const std::vector<double> d = unit({direction.begin(), direction.end()}, "the vector to be taken out");

    Sums sums;
    Orthogonalization result;
    // The vector that a tensor must not contain; nothing for tensors that stay.
    const auto avoided = [&](const std::string& name) -> std::optional<std::vector<double>> {
        if (name == writers.embedding) return d;
        for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
            const std::string prefix = writers.prefix + std::to_string(layer) + ".";
            if (!name.starts_with(prefix)) continue;
            for (std::size_t i = 0; i < writers.outputs.size(); ++i) {
                const std::string base = prefix + writers.outputs[i];
                if (name != base + ".weight" && name != base + ".bias") continue;
                if (writers.gains_after.empty()) return d;
                const std::vector<double> gain = read_values(set, prefix + writers.gains_after[i] + ".weight");
                std::vector<double> seen = d;
                for (std::size_t k = 0; k < seen.size(); ++k) seen[k] *= 1 + gain.at(k);
                return unit(std::move(seen), name + ": the direction times the gain of the norm behind it");
            }
        }
        return std::nullopt;
    };
    result.untied = config.tie_word_embeddings && !keep_tied;
    std::vector<io::StreamedTensor> tensors;
    for (const std::string& name : set.names()) {
        const io::TensorEntry& entry = set.entry(name);
        // A tied model may store its unembedding once more; it is written below, or must go with the embedding.
        if (config.tie_word_embeddings && name == writers.unembedding) continue;
        const std::optional<std::vector<double>> avoid = avoided(name);
        if (!avoid) {
            tensors.push_back({name, entry.dtype, entry.shape, entry.bytes, [&set, name](const auto& take) {
                                   take(set.bytes(name));
                                   set.release(name);
                               }});
            continue;
        }
        std::uint64_t numbers = 1;
        for (const std::int64_t size : entry.shape) numbers *= static_cast<std::uint64_t>(size);
        result.tensors.push_back(name);
        const bool rows = name == writers.embedding || entry.shape.size() == 1;  // each row is a vector of the stream; else each column
        if (static_cast<std::size_t>(rows ? entry.shape.back() : entry.shape.front()) != width) throw InputError(set.path() + ": tensor " + name + " does not write to a stream of width " + std::to_string(width));
        tensors.push_back({name, "F32", entry.shape, numbers * sizeof(float), [&set, &sums, name, avoid, rows, width](const auto& take) {
                               const std::vector<double> values = read_values(set, name);
                               const std::size_t vectors = values.size() / width;
                               const std::vector<float> changed = rows ? without(values, *avoid, vectors, width, 1, sums) : without(values, *avoid, vectors, 1, vectors, sums);
                               take(std::as_bytes(std::span(changed)));
                           }});
    }
    if (result.tensors.size() < 1 + 2 * static_cast<std::size_t>(config.num_hidden_layers)) {
        throw InputError(set.path() + ": only " + std::to_string(result.tensors.size()) + " of the tensors that write to the stream were found");
    }
    if (result.untied) {
        const io::TensorEntry& entry = set.entry(writers.embedding);
        tensors.push_back({writers.unembedding, entry.dtype, entry.shape, entry.bytes, [&](const auto& take) { take(set.bytes(writers.embedding)); }});
        json["tie_word_embeddings"] = false;
    }
    io::write_safetensors(folder + "/model.safetensors", tensors);
    io::write_whole_file(folder + "/config.json", json.dump(2) + "\n");
    result.largest_product = sums.largest_product;
    result.frobenius_change = std::sqrt(sums.squared_change);
    result.relative_change = sums.squares > 0 ? std::sqrt(sums.squared_change / sums.squares) : 0.0;
    return result;
}

ModelFiles orthogonalized_files(const ModelFiles& files, const std::string& folder) {
    ModelFiles changed = files;
    changed.folder = folder;
    changed.config = folder + "/config.json";
    changed.weights = folder + "/model.safetensors";
    return changed;
}

}  // namespace pva::model
