// Finding results that belong together, and reading what sections share.
#include "pva/phases/report_study.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "pva/core/error.h"
#include "pva/phases/activations.h"
#include "pva/phases/schemas.h"

namespace fs = std::filesystem;

namespace pva::phases {

namespace {

std::string text_of(const nlohmann::ordered_json& json, const std::string& key) {
    return json.is_object() && json.contains(key) && json.at(key).is_string() ? json.at(key).get<std::string>() : std::string();
}

struct Files {
    std::string folder;
    std::string model;
    ReportStudy& study;
    std::set<std::string> seen = {};
    std::set<std::string> refused = {};
    std::set<std::string> models = {};

    /// Complete files of the type that `wanted` accepts, the newest first.
    std::vector<io::ResultReader> all(const std::string& subfolder, const std::string& prefix, const io::FileSchema& schema, const std::function<bool(const io::ResultReader&)>& wanted) {
        std::vector<std::pair<std::string, std::string>> found;  // timestamp, path
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(folder + "/" + subfolder, error)) {
            // PREFIX_..._YYYY-MM-DD_HH-MM-SS.h5: the time ends the name.
            const fs::path& path = entry.path();
            const std::string stem = path.stem().string();
            if (path.extension() == ".h5" && stem.starts_with(prefix + "_") && stem.size() > prefix.size() + 19) found.emplace_back(stem.substr(stem.size() - 19), path.string());
        }
        std::sort(found.rbegin(), found.rend());
        std::vector<io::ResultReader> taken;
        for (const auto& [timestamp, path] : found) {
            try {
                io::ResultReader reader = io::ResultReader::open(path, schema);
                seen.insert(path);
                if (reader.identity().contains("model")) models.insert(text_of(reader.identity(), "model"));
                const bool fits = (model.empty() || !reader.identity().contains("model") || text_of(reader.identity(), "model") == model) && wanted(reader);
                if (fits) taken.push_back(std::move(reader));
            } catch (const Error& failure) {
                if (!refused.insert(path).second) continue;
                std::string reason = failure.what();  // on the page without the folder, which is this machine's affair
                if (const std::size_t at = reason.find(folder + "/"); at != std::string::npos) reason.erase(at, folder.size() + 1);
                study.unusable.push_back(std::move(reason));
            }
        }
        return taken;
    }

    /// The newest of them.
    std::optional<io::ResultReader> newest(const std::string& subfolder, const std::string& prefix, const io::FileSchema& schema, const std::function<bool(const io::ResultReader&)>& wanted) {
        std::vector<io::ResultReader> found = all(subfolder, prefix, schema, wanted);
        if (found.empty()) return std::nullopt;
        return std::move(found.front());
    }
};

/// Runs of steering: every result of the analysis part with the tuning part that it names, and tuning parts that none names; of
/// equal settings the newest. Both lists come with the newest first.
std::vector<SteeringRun> steering_runs(std::vector<io::ResultReader> analyses, std::vector<io::ResultReader> tunings, const io::FileSchema& schema) {
    std::vector<std::pair<std::string, SteeringRun>> runs;  // when it was written
    std::set<std::string> known;
    const auto is_new = [&](const io::ResultReader& r) { return known.insert(r.identity().dump()).second; };
    const auto written = [](const io::ResultReader& r) {
        const std::string stem = fs::path(r.path()).stem().string();
        return stem.substr(stem.size() - 19);
    };
    std::set<std::string> named;
    for (io::ResultReader& analysis : analyses) {
        if (!is_new(analysis)) continue;
        SteeringRun run;
        named.insert(text_of(analysis.identity(), "tuning"));
        const auto own = std::find_if(tunings.begin(), tunings.end(), [&](const io::ResultReader& r) { return r.content_sha256() == text_of(analysis.identity(), "tuning"); });
        if (own != tunings.end()) run.tuning = io::ResultReader::open(own->path(), schema);  // another run may name it, too
        const std::string when = written(analysis);
        run.analysis = std::move(analysis);
        runs.emplace_back(when, std::move(run));
    }
    for (io::ResultReader& tuning : tunings) {
        if (!is_new(tuning) || named.contains(tuning.content_sha256())) continue;
        const std::string when = written(tuning);
        runs.emplace_back(when, SteeringRun{std::move(tuning), {}});
    }
    std::stable_sort(runs.begin(), runs.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<SteeringRun> sorted;
    for (auto& [when, run] : runs) sorted.push_back(std::move(run));
    return sorted;
}

}  // namespace

ReportStudy open_report_study(const std::string& folder, const std::string& model) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) throw InputError(folder + ": no such folder; name the one that phases got as --data");
    ReportStudy study;
    Files files{folder, model, study};
    const auto any = [](const io::ResultReader&) { return true; };
    study.validation = files.newest("phase3", "validation", validation_schema(), any);
    const auto id = [](const std::optional<io::ResultReader>& reader, const std::string& key) { return reader ? text_of(reader->identity(), key) : std::string(); };
    // Of the files that phase 2 writes, one of the part on which latents are chosen goes before a descriptive one.
    const std::string latents_hash = id(study.validation, "latents");
    const auto selection = [](const io::ResultReader& r) { return text_of(r.identity(), "split") == "selection"; };
    if (!latents_hash.empty()) {
        study.latents = files.newest("phase2", "latents", latents_schema(), [&](const io::ResultReader& r) { return r.content_sha256() == latents_hash; });
    } else {
        study.latents = files.newest("phase2", "latents", latents_schema(), selection);
        if (!study.latents) study.latents = files.newest("phase2", "latents", latents_schema(), any);
    }
    const std::string dataset_hash = study.latents ? id(study.latents, "dataset") : id(study.validation, "dataset");
    study.dataset = files.newest("phase1_0", "dataset", dataset_schema(), [&](const io::ResultReader& r) { return dataset_hash.empty() || r.content_sha256() == dataset_hash; });
    const std::string own = study.dataset ? study.dataset->content_sha256() : std::string();
    const io::FileSchema rows_schema = activations_schema({"resid_post"}, io::h5::Element::f32);
    study.activations = files.newest("phase1_0", "activations", rows_schema, [&](const io::ResultReader& r) {
        const auto& identity = r.identity();
        const bool all = identity.contains("positions") && std::find(identity.at("positions").begin(), identity.at("positions").end(), static_cast<int>(PositionKind::all)) != identity.at("positions").end();
        return !own.empty() && text_of(identity, "dataset") == own && all && identity.contains("sites") && identity.at("sites").contains("resid_post");
    });
    const std::string splits_hash = study.latents ? id(study.latents, "splits") : id(study.validation, "splits");
    const std::string problems = study.dataset ? id(study.dataset, "problems") : id(study.validation, "problems");
    study.splits = files.newest("phase1_1", "splits", splits_schema(), [&](const io::ResultReader& r) {
        return splits_hash.empty() ? problems.empty() || text_of(r.identity(), "problems") == problems : r.content_sha256() == splits_hash;
    });
    study.temperatures = files.newest("phase1_2", "temperatures", temperatures_schema(), [&](const io::ResultReader& r) { return own.empty() || text_of(r.identity(), "dataset") == own; });
    const std::string difficulty_hash = id(study.dataset, "difficulty");
    study.difficulty = files.newest("phase0", "difficulty", difficulty_schema(), [&](const io::ResultReader& r) {
        return difficulty_hash.empty() ? problems.empty() || text_of(r.identity(), "problems") == problems : r.content_sha256() == difficulty_hash;
    });
    study.codes = files.newest("phase2", "sparse", sparse_schema(), [&](const io::ResultReader& r) {
        if (!study.latents || text_of(r.identity(), "dataset") != id(study.latents, "dataset")) return false;
        const auto& a = r.identity();
        const auto& b = study.latents->identity();
        for (const std::string key : {"site", "position", "saes", "sae-scale"}) {
            if (a.contains(key) != b.contains(key) || (a.contains(key) && a.at(key) != b.at(key))) return false;
        }
        return true;
    });
    const std::string chosen = study.latents ? study.latents->content_sha256() : latents_hash;
    const auto of_latents = [&](const io::ResultReader& r) { return chosen.empty() || text_of(r.identity(), "latents") == chosen; };
    // Opening needs type and version alone.
    const io::FileSchema stages_kind{"pva stages", 1, "stages.md", "", {}};
    const io::FileSchema steering_kind{"pva steering", 1, "steering.md", "", {}};
    study.stages = files.newest("phase3", "stages", stages_kind, of_latents);
    const auto steered = [&](const std::string& part) {
        return files.all("phase3", "steering", steering_kind, [&](const io::ResultReader& r) { return of_latents(r) && text_of(r.identity(), "part") == part; });
    };
    study.steering = steering_runs(steered("analysis"), steered("tuning"), steering_kind);
    for (const auto* reader : {&study.dataset, &study.latents, &study.validation}) {
        if (study.model.empty()) study.model = id(*reader, "model");
    }
    study.others = static_cast<std::int64_t>(files.seen.size());
    for (const auto* reader : {&study.difficulty, &study.dataset, &study.activations, &study.temperatures, &study.splits, &study.codes, &study.latents, &study.validation, &study.stages}) {
        if (*reader) --study.others;
    }
    for (const SteeringRun& run : study.steering) study.others -= (run.tuning ? 1 : 0) + (run.analysis ? 1 : 0);
    if (!model.empty() && study.model.empty() && !files.seen.empty()) {
        std::string names;
        for (const std::string& name : files.models) names += (names.empty() ? "" : ", ") + name;
        throw InputError("--model " + model + ": " + folder + " has no results of it" + (names.empty() ? "" : "; it has those of " + names));
    }
    if (files.seen.empty()) {
        std::string reasons;
        for (const std::string& reason : study.unusable) reasons += "\n  " + reason;
        throw InputError(folder + ": holds no complete result of a phase" + (reasons.empty() ? "; name the folder that phases got as --data" : "; these could not be used:" + reasons));
    }
    return study;
}

LatentGrid read_latent_grid(const io::ResultReader& latents) {
    LatentGrid grid;
    grid.layers = latents.read<std::int32_t>("layer");
    const auto shape = latents.shape("score");
    if (shape.size() != 2 || shape[0] != static_cast<std::int64_t>(grid.layers.size())) throw InputError(latents.path() + " dataset score: its shape does not fit the layers; the file is damaged");
    grid.n_latents = shape[1];
    grid.score = latents.read<double>("score");
    grid.rate = latents.read<double>("general_text/rate");
    grid.kept = latents.read<std::uint8_t>("kept");
    if (grid.rate.size() != grid.score.size() || grid.kept.size() != grid.score.size()) throw InputError(latents.path() + ": its datasets have different sizes; the file is damaged");
    return grid;
}

std::vector<ChosenLatent> first_latents(const io::ResultReader& latents, const LatentGrid& grid, std::int64_t count) {
    std::vector<ChosenLatent> chosen;
    for (const bool right : {true, false}) {
        const std::string group = right ? "ranked_right/" : "ranked_wrong/";
        const auto layer = latents.read<std::int32_t>(group + "layer");
        const auto latent = latents.read<std::int32_t>(group + "latent");
        for (std::size_t i = 0; i < std::min(layer.size(), latent.size()) && static_cast<std::int64_t>(i) < count && layer[i] >= 0; ++i) {
            const auto place = std::find(grid.layers.begin(), grid.layers.end(), layer[i]);
            if (place == grid.layers.end() || latent[i] < 0 || latent[i] >= grid.n_latents) throw InputError(latents.path() + " dataset " + group + "latent: names a latent that the file does not have; it is damaged");
            chosen.push_back({layer[i], latent[i], static_cast<std::size_t>(place - grid.layers.begin()), right});
        }
    }
    return chosen;
}

ChosenLatent named_latent(const LatentGrid& grid, const std::string& name) {
    ChosenLatent chosen;
    const std::size_t between = name.find_first_of("/-", 1);
    const std::string digits = name.starts_with("L") ? name.substr(1, between == std::string::npos ? 0 : between - 1) : name.substr(0, between);
    const std::string second = between == std::string::npos ? "" : name.substr(between + 1);
    const auto read = [](const std::string& text, std::int32_t& value) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        return error == std::errc() && end == text.data() + text.size() && value >= 0;
    };
    if (!read(digits, chosen.layer) || !read(second, chosen.latent)) throw UsageError("--latent " + name + ": write LAYER/LATENT, such as 12/3456");
    const auto place = std::find(grid.layers.begin(), grid.layers.end(), chosen.layer);
    if (place == grid.layers.end()) {
        std::string layers;
        for (const std::int32_t layer : grid.layers) layers += (layers.empty() ? "" : ", ") + std::to_string(layer);
        throw UsageError("--latent " + name + ": there is no SAE of that layer; there are those of layers " + layers);
    }
    if (chosen.latent >= grid.n_latents) throw UsageError("--latent " + name + ": the SAE has latents 0 to " + std::to_string(grid.n_latents - 1));
    chosen.layer_index = static_cast<std::size_t>(place - grid.layers.begin());
    chosen.speaks_for_right = grid.score[grid.at(chosen.layer_index, chosen.latent)] >= 0;
    return chosen;
}

std::vector<double> activations(const io::ResultReader& codes, std::int32_t layer, std::int32_t latent) {
    const auto layers = codes.read<std::int32_t>("layer");
    const auto place = std::find(layers.begin(), layers.end(), layer);
    if (place == layers.end()) throw InputError(codes.path() + ": has no codes of layer " + std::to_string(layer));
    const auto offset = codes.read_rows<std::uint64_t>("codes/row_offset", place - layers.begin(), 1);
    const auto entries = static_cast<std::uint64_t>(codes.shape("codes/latent").at(0));
    for (std::size_t i = 0; i < offset.size(); ++i) {
        if (offset[i] > entries || (i > 0 && offset[i] < offset[i - 1])) throw InputError(codes.path() + " dataset codes/row_offset: does not ascend; the file is damaged");
    }
    if (offset.empty()) throw InputError(codes.path() + " dataset codes/row_offset: is empty; the file is damaged");
    const auto first = static_cast<std::int64_t>(offset.front());
    const auto count = static_cast<std::int64_t>(offset.back() - offset.front());
    const auto latents = codes.read_rows<std::uint32_t>("codes/latent", first, count);
    const auto values = codes.read_rows<float>("codes/value", first, count);
    std::vector<double> result(offset.size() - 1, 0.0);
    for (std::size_t row = 0; row + 1 < offset.size(); ++row) {
        for (std::uint64_t e = offset[row]; e < offset[row + 1]; ++e) {
            if (latents[e - offset.front()] == static_cast<std::uint32_t>(latent)) result[row] = static_cast<double>(values[e - offset.front()]);
        }
    }
    return result;
}

std::string neuronpedia_link(const std::string& sae_path, std::int32_t layer, std::int32_t latent) {
    // average_l0 of the canonical SAE of each layer, width 16k.
    constexpr std::array<int, 26> l0_2b = {105, 102, 141, 59, 124, 68, 70, 69, 71, 73, 77, 80, 82, 84, 84, 78, 78, 77, 74, 73, 71, 70, 72, 75, 73, 116};
    constexpr std::array<int, 42> l0_9b = {129, 69, 67, 90, 91, 77, 93, 92, 99, 100, 113, 118, 130, 132, 67, 131, 75, 73, 71, 132, 68,
                                           129, 123, 120, 114, 114, 116, 118, 119, 119, 120, 114, 111, 114, 114, 120, 120, 124, 128, 131, 125, 113};
    const auto canonical = [&](std::span<const int> list, const std::string& release) {
        if (sae_path.find(release) == std::string::npos || layer < 0 || static_cast<std::size_t>(layer) >= list.size()) return false;
        return (sae_path + "/").find("layer_" + std::to_string(layer) + "/width_16k/average_l0_" + std::to_string(list[static_cast<std::size_t>(layer)]) + "/") != std::string::npos;
    };
    const std::string model = canonical(l0_2b, "gemma-scope-2b-pt-res") ? "gemma-2-2b" : canonical(l0_9b, "gemma-scope-9b-pt-res") ? "gemma-2-9b" : "";
    if (model.empty()) return {};
    return "https://www.neuronpedia.org/" + model + "/" + std::to_string(layer) + "-gemmascope-res-16k/" + std::to_string(latent);
}

std::string input_path(const io::ResultReader& reader, const std::string& role) {
    const auto run = reader.read_texts("measured/run");
    const auto json = run.empty() ? nlohmann::json() : nlohmann::json::parse(run.front(), nullptr, false);
    if (!json.is_object() || !json.contains("provenance") || !json["provenance"].is_object() || !json["provenance"].contains("inputs")) return {};
    for (const auto& input : json["provenance"]["inputs"]) {
        if (input.is_object() && input.contains("role") && input["role"] == role && input.contains("path") && input["path"].is_string()) return input["path"].get<std::string>();
    }
    return {};
}

}  // namespace pva::phases
