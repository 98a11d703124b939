// Names to paths to SAEs. Only looks at the file system: nothing is ever fetched.
#include "pva/phases/saes.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/core/join.h"
#include "pva/model/hub_cache.h"
#include "pva/mpi/agree.h"
#include "pva/sae/discover.h"

namespace pva::phases {

namespace fs = std::filesystem;

void register_options(OptionSet& set, SaeOptions& options, bool required) {
    auto names = set.add("sae", options.names, "SAES",
                         "SAEs, separated by commas: folders with SAEs below (layer_N/params.npz, Gemma Scope, SAELens, sparsify, dictionary_learning, Llama Scope), single ones, or "
                         "OWNER/NAME:PATH in the offline Hugging Face cache");
    if (required) names.required();
    set.add("sae-list", options.list, "FILE", "tab-separated list with the columns path and repo_id: only these SAEs, below --sae or in the Hugging Face cache");
    set.add("sae-scale", options.scale, "C", "scale of the input, sqrt(d) / mean norm, of SAELens SAEs with expected_average_only_in (norm_scaling_factor); 0: not given").at_least(0).changes_results();
    set.add("sae-memory", options.memory_gb, "GB", "memory a rank for SAEs that stay loaded; the others are read again when they are wanted").at_least(0);
}

sae::LoadOptions load_options(const SaeOptions& options) {
    sae::LoadOptions load;
    if (options.scale > 0) load.input_scale = options.scale;
    return load;
}

namespace {

/// Where a repository's files are in the offline cache; `revision` empty: main.
std::string snapshot_folder(const std::string& repository, const std::string& revision) {
    const model::HubCache cache = model::hub_cache(model::hub_environment_from_process());
    std::string name = "models--" + repository;
    name.replace(name.find('/'), 1, "--");
    const fs::path folder = fs::path(cache.folder) / name;
    const auto refuse = [&](const std::string& what) {
        throw InputError("SAEs " + repository + (revision.empty() ? "" : "@" + revision) + ": " + what + ". Looked in " + cache.folder + " (by " + cache.decided_by +
                         "). pva never uses the network. On a machine that has it, with the same cache folder, run\n  hf download " + repository +
                         (revision.empty() ? "" : " --revision " + revision) + " --include \"PATH OF THE SAE/*\"");
    };
    std::error_code code;
    if (!fs::is_directory(folder, code)) refuse("there is no folder of that name here, and the cache has no " + name);
    std::string commit = revision;
    std::ifstream ref(folder / "refs" / (revision.empty() ? "main" : revision), std::ios::binary);
    if (ref) {
        commit.assign(std::istreambuf_iterator<char>(ref), std::istreambuf_iterator<char>());
        while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
    } else if (revision.empty()) {
        std::vector<std::string> snapshots;
        for (fs::directory_iterator entry(folder / "snapshots", code), end; !code && entry != end; entry.increment(code)) snapshots.push_back(entry->path().filename().string());
        if (snapshots.size() != 1) refuse("the cache does not say which commit refs/main is and has " + std::to_string(snapshots.size()) + " snapshots; name one with @COMMIT");
        commit = snapshots.front();
    }
    if (commit.empty() || commit.find('/') != std::string::npos || commit == "..") refuse("its revision is no commit");
    const fs::path snapshot = folder / "snapshots" / commit;
    if (!fs::is_directory(snapshot, code)) refuse("the cache has no snapshot of commit " + commit);
    return snapshot.string();
}

/// A path as it is, or one inside the cache.
std::string resolve(const std::string& name) {
    std::error_code code;
    if (fs::exists(name, code)) return name;
    const std::size_t colon = name.find(':');
    std::string repository = name.substr(0, colon);
    const std::string inside = colon == std::string::npos ? std::string() : name.substr(colon + 1);
    const std::size_t at = repository.find('@');
    const std::string revision = at == std::string::npos ? std::string() : repository.substr(at + 1);
    repository = repository.substr(0, at);
    const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '/'; };
    const bool can_be_name = std::count(repository.begin(), repository.end(), '/') == 1 && repository.front() != '/' && repository.front() != '.' && repository.back() != '/' &&
                             repository.find("..") == std::string::npos && std::all_of(repository.begin(), repository.end(), is_letter) && revision.find("..") == std::string::npos;
    const fs::path inner(inside);
    const bool leads_out = inner.is_absolute() || std::find(inner.begin(), inner.end(), "..") != inner.end();
    if (!can_be_name || leads_out) throw InputError("--sae " + name + ": no such file or folder, and no name OWNER/NAME[@REVISION][:PATH] on the Hugging Face Hub. Check the path");
    const fs::path found = fs::path(snapshot_folder(repository, revision)) / inner;
    if (!fs::exists(found, code)) throw InputError("--sae " + name + ": the cache has no " + found.string() + "; fetch it with hf download " + repository + " --include \"" + inside + "/*\"");
    return found.string();
}

bool is_sae(const std::string& path) {
    std::error_code code;
    if (!fs::is_directory(path, code)) return true;  // a file is one or is refused with the reason
    try {
        sae::identify(path);
        return true;
    } catch (const InputError&) {
        return false;
    }
}

std::vector<std::string> listed_paths(const SaeOptions& options) {
    const std::vector<std::string> names = names_at_commas(options.names);
    if (names.size() > 1) throw UsageError("--sae-list together with several names in --sae; name the one folder or repository that the list's paths are below");
    const std::string base = names.empty() ? std::string() : resolve(names.front());
    std::map<std::string, std::string> snapshots;
    std::vector<std::string> paths;
    for (const sae::ListedSae& listed : sae::read_sae_list(options.list)) {
        std::string folder = base;
        if (folder.empty()) {
            const auto known = snapshots.find(listed.repository);
            folder = known != snapshots.end() ? known->second : snapshots.emplace(listed.repository, resolve(listed.repository)).first->second;
        }
        const std::string path = (fs::path(folder) / listed.path).string();
        std::error_code code;
        if (!fs::exists(path, code)) throw InputError(options.list + ": " + listed.path + " is not below " + folder + "; fetch it with hf download " + listed.repository + " --include \"" + listed.path + "/*\"");
        paths.push_back(path);
    }
    return paths;
}

}  // namespace

std::vector<std::string> find_sae_paths(const SaeOptions& options) {
    if (!options.list.empty()) return listed_paths(options);
    std::vector<std::string> paths;
    for (const std::string& name : names_at_commas(options.names)) {
        const std::string path = resolve(name);
        if (is_sae(path)) {
            paths.push_back(path);
        } else {
            for (std::string& below : sae::find_all_saes(path)) paths.push_back(std::move(below));
        }
    }
    if (paths.empty()) throw UsageError("--sae names nothing");
    return paths;
}

std::vector<LayerSae> find_layer_saes(const SaeOptions& options) {
    std::vector<LayerSae> saes;
    if (!options.list.empty()) {
        for (const std::string& path : listed_paths(options)) saes.push_back({static_cast<std::int32_t>(sae::layer_of(path)), path});
    } else {
        for (const std::string& name : names_at_commas(options.names)) {
            const std::string path = resolve(name);
            if (is_sae(path)) {
                saes.push_back({static_cast<std::int32_t>(sae::layer_of(path)), path});
            } else {
                for (const sae::SaeFile& file : sae::find_saes(path)) saes.push_back({static_cast<std::int32_t>(file.layer), file.path});
            }
        }
    }
    if (saes.empty()) throw UsageError("--sae names nothing");
    std::sort(saes.begin(), saes.end(), [](const LayerSae& a, const LayerSae& b) { return a.layer < b.layer; });
    for (std::size_t i = 1; i < saes.size(); ++i) {
        if (saes[i].layer == saes[i - 1].layer)
            throw InputError("--sae names two SAEs for layer " + std::to_string(saes[i].layer) + ": " + saes[i - 1].path + " and " + saes[i].path + "; name one a layer");
    }
    return saes;
}

nlohmann::ordered_json SaeSet::hashes() const {
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    for (std::size_t i = 0; i < layers.size(); ++i) json[std::to_string(layers[i])] = sha256[i];
    return json;
}

std::vector<InputFile> SaeSet::inputs() const {
    std::vector<InputFile> inputs;
    for (std::size_t i = 0; i < layers.size(); ++i) inputs.push_back({"sae of layer " + std::to_string(layers[i]), paths[i], sha256[i]});
    return inputs;
}

SaeSet find_sae_set(Context& context, const SaeOptions& options, const std::vector<int>& wanted, const std::string& site, std::int64_t width,
                    const std::vector<std::int32_t>& stored, const std::string& stored_in) {
    SaeSet set = mpi::agreed(context.comm, [&] {
        SaeSet found;
        std::vector<LayerSae> saes = find_layer_saes(options);
        for (const int layer : wanted) {
            if (std::none_of(saes.begin(), saes.end(), [&](const LayerSae& s) { return s.layer == layer; }))
                throw InputError("--layers names layer " + std::to_string(layer) + ", but --sae has no SAE for it");
        }
        if (!wanted.empty()) std::erase_if(saes, [&](const LayerSae& s) { return std::find(wanted.begin(), wanted.end(), s.layer) == wanted.end(); });
        for (const LayerSae& file : saes) {
            if (std::find(stored.begin(), stored.end(), file.layer) == stored.end()) {
                throw InputError(file.path + ": an SAE of layer " + std::to_string(file.layer) + ", but " + stored_in + " has no rows of that layer; leave it out of --sae, or name --layers");
            }
            const sae::SaeInfo info = sae::read_info(sae::identify(file.path), load_options(options));
            sae::check_width(info, static_cast<std::size_t>(width), static_cast<std::uint32_t>(file.layer));
            if (info.site != site || info.transcoder) {
                throw InputError(file.path + ": made for " + (info.site.empty() ? info.hook : "the site " + info.site) + (info.transcoder ? " (a transcoder)" : "") + ", the rows are of " + site);
            }
            if (found.d_sae != 0 && info.d_sae != found.d_sae) {
                throw InputError(file.path + ": " + std::to_string(info.d_sae) + " latents, but " + saes.front().path + " has " + std::to_string(found.d_sae) +
                                 "; SAEs of one run must be of one size (run them one size at a time)");
            }
            found.d_sae = static_cast<std::uint32_t>(info.d_sae);
            found.layers.push_back(file.layer);
            found.paths.push_back(file.path);
        }
        return found;
    });
    const std::string lines = mpi::on_first_rank(context.comm, [&] {
        nlohmann::json hashes = nlohmann::json::array();
        for (const std::string& path : set.paths) hashes.push_back(sae::source_sha256(sae::identify(path)));
        return hashes.dump();
    });
    set.sha256 = nlohmann::json::parse(lines).get<std::vector<std::string>>();
    return set;
}

SaeShelf::SaeShelf(std::vector<std::string> paths, const SaeOptions& options, const model::Placement& placement)
    : paths_(std::move(paths)), options_(load_options(options)), placement_(placement), room_(options.memory_gb * 1e9) {}

const sae_aten::Coder& SaeShelf::coder(std::size_t index) {
    const auto found = kept_.find(index);
    if (found != kept_.end()) return found->second.coder;
    if (passing_ && passing_index_ == index) return passing_->coder;
    passing_.reset();  // before the next one takes its memory
    const sae::SaeSource source = sae::identify(paths_.at(index));
    const auto bytes = static_cast<double>(sae::weight_bytes(sae::read_info(source, options_)));
    if (bytes <= room_) {
        room_ -= bytes;
        return kept_.try_emplace(index, sae::load(source, options_), placement_).first->second.coder;
    }
    passing_.emplace(sae::load(source, options_), placement_);
    passing_index_ = index;
    return passing_->coder;
}

}  // namespace pva::phases
