// Finding a model in the offline cache of huggingface_hub.
#include "pva/model/hub_cache.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string_view>

#include <nlohmann/json.hpp>

#include "pva/core/error.h"
#include "pva/core/join.h"

namespace pva::model {

namespace fs = std::filesystem;

namespace {

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// --- the environment -------------------------------------------------------------------------------------------------

/// Python's os.path.expanduser: "~" and "~user" at the beginning.
std::string expand_user(const std::string& path, const std::string& home) {
    if (!path.starts_with('~')) return path;
    const std::size_t slash = std::min(path.find('/'), path.size());
    std::string folder = home;
    if (slash > 1) {
        const passwd* user = ::getpwnam(path.substr(1, slash - 1).c_str());
        if (user == nullptr) return path;
        folder = user->pw_dir;
    }
    if (folder.ends_with('/')) folder.pop_back();
    return folder + path.substr(slash);
}

/// Python's os.path.expandvars: $NAME and ${NAME}; unknown ones stay.
std::string expand_variables(const std::string& path) {
    std::string out;
    for (std::size_t i = 0; i < path.size();) {
        std::size_t begin = i + 1, end = begin, next = begin;
        if (path[i] == '$' && begin < path.size()) {
            if (path[begin] == '{') {
                ++begin;
                end = std::min(path.find('}', begin), path.size());
                next = end + 1;
            } else {
                while (end < path.size() && (is_letter_or_digit(path[end]) || path[end] == '_'))
                    ++end;
                next = end;
            }
        }
        const char* value = nullptr;
        if (end > begin && next <= path.size()) value = std::getenv(path.substr(begin, end - begin).c_str());
        if (value != nullptr) {
            out += value;
            i = next;
        } else {
            out += path[i++];
        }
    }
    return out;
}

// --- names on the Hub ------------------------------------------------------------------------------------------------

struct HubName {
    std::string repository;  // OWNER/NAME or NAME
    std::string revision;
    bool revision_given = false;
};

/// The rules of huggingface_hub's validate_repo_id for one part.
bool is_name_part(std::string_view part) {
    if (part.empty() || part.size() > 96) return false;
    if (part.front() == '-' || part.front() == '.' || part.back() == '-' || part.back() == '.') return false;
    return std::all_of(part.begin(), part.end(),
                       [](char c) { return is_letter_or_digit(c) || c == '_' || c == '-' || c == '.'; });
}

/// A branch or tag may hold slashes, but must not lead out of refs/.
bool is_revision(std::string_view revision) {
    if (revision.empty() || revision.starts_with('/') || revision.ends_with('/')) return false;
    if (revision.find("..") != std::string_view::npos || revision.find("//") != std::string_view::npos) return false;
    return std::all_of(revision.begin(), revision.end(),
                       [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7F && c != '\\'; });
}

bool is_commit_hash(std::string_view text) {
    return text.size() == 40 && std::all_of(text.begin(), text.end(),
                                            [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::optional<HubName> hub_name(const std::string& model) {
    HubName name;
    const std::size_t at = model.find('@');
    name.repository = model.substr(0, at);
    name.revision_given = at != std::string::npos;
    name.revision = name.revision_given ? model.substr(at + 1) : "main";
    if (!is_revision(name.revision)) return std::nullopt;
    const std::string_view repository = name.repository;
    if (repository.find("--") != std::string_view::npos || repository.find("..") != std::string_view::npos ||
        repository.ends_with(".git")) {
        return std::nullopt;
    }
    const std::size_t slash = repository.find('/');
    if (slash != std::string_view::npos && !is_name_part(repository.substr(0, slash))) return std::nullopt;
    if (!is_name_part(repository.substr(slash == std::string_view::npos ? 0 : slash + 1))) return std::nullopt;
    return name;
}

// --- the cache -------------------------------------------------------------------------------------------------------

std::string folder_of_repository(const std::string& repository) {
    std::string folder = "models--" + repository;
    const std::size_t slash = folder.find('/');
    if (slash != std::string::npos) folder.replace(slash, 1, "--");
    return folder;
}

std::string how_to_fetch(const HubName& name) {
    const std::string revision = name.revision_given ? name.revision : "";
    std::string old_form = "huggingface-cli download " + name.repository;
    if (!revision.empty()) old_form += " --revision " + revision;
    return " pva never uses the network. On a machine that has it (a login node), with the same cache folder, run\n  " +
           download_command(name.repository, revision) + "\n(huggingface_hub before 1.0: " + old_form +
           " --include \"*.json\" \"model*.safetensors\" \"tokenizer*\"). For a gated model (Gemma, Llama) accept its "
           "licence on its page and run 'hf auth login' first.";
}

[[noreturn]] void refuse(const HubName& name, const HubCache& cache, const std::string& reason) {
    throw InputError("model " + name.repository + (name.revision_given ? "@" + name.revision : "") + ": " + reason +
                     ". Looked in " + cache.folder + " (by " + cache.decided_by + ")." + how_to_fetch(name));
}

std::vector<std::string> names_in(const fs::path& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
        names.push_back(entry->path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

/// Content of a file of refs/, if there is one.
std::optional<std::string> read_ref(const fs::path& file) {
    std::error_code ignored;
    if (!fs::is_regular_file(file, ignored)) return std::nullopt;
    std::ifstream stream(file, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
        text.pop_back();
    return text;
}

/// All branches and tags that refs/ knows.
std::vector<std::string> known_refs(const fs::path& refs) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::recursive_directory_iterator entry(refs, error), end; !error && entry != end; entry.increment(error)) {
        std::error_code ignored;
        if (entry->is_regular_file(ignored)) names.push_back(entry->path().lexically_relative(refs).generic_string());
    }
    std::sort(names.begin(), names.end());
    return names;
}

/// Shards that an index names. A damaged index names none here: opening the weights says what is wrong with it.
std::set<std::string> shards_of(const fs::path& index) {
    std::set<std::string> shards;
    std::ifstream stream(index, std::ios::binary);
    const auto json = nlohmann::json::parse(stream, nullptr, false);
    if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) return shards;
    for (const auto& [tensor, file] : json["weight_map"].items()) {
        if (file.is_string() && file.get_ref<const std::string&>().find('/') == std::string::npos)
            shards.insert(file.get<std::string>());
    }
    return shards;
}

/// What keeps a snapshot from being used: empty when it is complete.
std::string fault_of_snapshot(const fs::path& snapshot) {
    std::vector<std::string> broken, missing;
    const auto there = [&](const std::string& name) {
        std::error_code ignored;
        if (fs::is_regular_file(snapshot / name, ignored)) return true;
        if (fs::is_symlink(snapshot / name, ignored)) {
            broken.push_back(name + " (to " + fs::read_symlink(snapshot / name, ignored).string() + ")");
        }
        return false;
    };
    // A broken link counts as broken, not as missing.
    const auto need = [&](const std::vector<std::string>& alternatives) {
        const std::size_t broken_before = broken.size();
        for (const std::string& name : alternatives) {
            if (there(name)) {
                broken.resize(broken_before);
                return name;
            }
        }
        if (broken.size() == broken_before) missing.push_back(join(alternatives, " or "));
        return std::string();
    };
    need({"config.json"});
    const std::string weights = need({"model.safetensors", "model.safetensors.index.json"});
    if (weights.ends_with(".json")) {
        for (const std::string& shard : shards_of(snapshot / weights))
            need({shard});
    }
    need({"tokenizer.json", "tokenizer.model"});

    std::vector<std::string> faults;
    if (!broken.empty()) faults.push_back("links whose file is gone: " + join(broken, ", "));
    if (!missing.empty()) faults.push_back("missing: " + join(missing, ", "));
    if (faults.empty()) return {};
    std::string fault =
        "its snapshot " + snapshot.filename().string() + " is an incomplete download (" + join(faults, "; ") + ")";
    const std::vector<std::string> files = names_in(snapshot);
    const bool has_pickles = std::any_of(files.begin(), files.end(), [](const std::string& name) {
        return name.starts_with("pytorch_model") && name.ends_with(".bin");
    });
    if (weights.empty() && has_pickles) {
        fault +=
            "; it holds pytorch_model*.bin, but pva reads safetensors only: fetch those, from a revision that has "
            "them, or save the model again with save_pretrained";
    }
    return fault;
}

std::string quoted_list(const std::vector<std::string>& names) {
    return names.empty() ? "none" : join(names, ", ");
}

}  // namespace

HubEnvironment hub_environment_from_process() {
    HubEnvironment environment;
    if (const char* home = std::getenv("HOME")) {
        environment.home = home;
    } else if (const passwd* user = ::getpwuid(::getuid())) {
        environment.home = user->pw_dir;
    }
    const auto variable = [&](const char* name) -> std::optional<std::string> {
        const char* value = std::getenv(name);
        if (value == nullptr) return std::nullopt;
        return expand_variables(expand_user(value, environment.home));
    };
    environment.hf_hub_cache = variable("HF_HUB_CACHE");
    environment.huggingface_hub_cache = variable("HUGGINGFACE_HUB_CACHE");
    environment.hf_home = variable("HF_HOME");
    environment.xdg_cache_home = variable("XDG_CACHE_HOME");
    return environment;
}

HubCache hub_cache(const HubEnvironment& environment) {
    const auto below = [](const std::string& folder, const char* path) { return (fs::path(folder) / path).string(); };
    if (environment.hf_hub_cache) return {*environment.hf_hub_cache, "HF_HUB_CACHE"};
    if (environment.huggingface_hub_cache) return {*environment.huggingface_hub_cache, "HUGGINGFACE_HUB_CACHE"};
    if (environment.hf_home) return {below(*environment.hf_home, "hub"), "HF_HOME"};
    if (environment.xdg_cache_home) return {below(*environment.xdg_cache_home, "huggingface/hub"), "XDG_CACHE_HOME"};
    return {below(environment.home, ".cache/huggingface/hub"), "the default"};
}

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

std::string download_command(const std::string& repository, const std::string& revision) {
    std::string command = "hf download " + repository;
    if (!revision.empty()) command += " --revision " + revision;
    // Leaves out pytorch_model*.bin, original/*.pth and consolidated.safetensors, which hold the same weights again.
    return command + " --include \"*.json\" --include \"model*.safetensors\" --include \"tokenizer*\"";
}

ResolvedModel resolve_model(const std::string& model, const HubEnvironment& environment) {
    std::error_code ignored;
    if (fs::is_directory(model, ignored)) {
        ResolvedModel resolved{model, name_of_folder(model), "", {}};
        fs::path path = fs::absolute(model).lexically_normal();
        if (path.filename().empty()) path = path.parent_path();
        const bool in_cache = path.parent_path().filename() == "snapshots" &&
                              path.parent_path().parent_path().filename().string().starts_with("models--");
        if (in_cache) resolved.revision = path.filename().string();
        return resolved;
    }
    if (fs::exists(model, ignored)) {
        throw InputError("model " + model +
                         " is a file. Give the folder that holds config.json, or a name on the Hub.");
    }
    const std::optional<HubName> parsed = hub_name(model);
    if (!parsed) {
        throw InputError("model '" + model +
                         "': there is no such folder, and it cannot be a name on the Hugging Face Hub (OWNER/NAME or "
                         "OWNER/NAME@REVISION). Check the path.");
    }
    const HubName& name = *parsed;
    const HubCache cache = hub_cache(environment);
    const fs::path repository = fs::path(cache.folder) / folder_of_repository(name.repository);
    if (!fs::is_directory(repository, ignored)) {
        refuse(name, cache,
               "there is no folder of that name here, and the cache has no " + repository.filename().string() +
                   (fs::is_directory(cache.folder, ignored) ? "" : " (it does not exist)"));
    }
    const std::vector<std::string> snapshots = names_in(repository / "snapshots");

    ResolvedModel resolved;
    resolved.name = name.repository.substr(name.repository.find('/') + 1);
    if (is_commit_hash(name.revision)) {
        resolved.revision = name.revision;
    } else if (const auto hash = read_ref(repository / "refs" / name.revision)) {
        resolved.revision = *hash;
        if (!is_name_part(resolved.revision)) {
            refuse(name, cache,
                   "refs/" + name.revision + " of " + repository.filename().string() + " holds no commit hash");
        }
    } else if (!name.revision_given && snapshots.size() == 1) {
        resolved.revision = snapshots.front();
        resolved.notes.push_back("model " + name.repository +
                                 ": the cache does not say which commit refs/main is; its only snapshot, " +
                                 resolved.revision + ", is taken");
    } else {
        refuse(name, cache,
               "the cache does not know revision '" + name.revision + "'. Known revisions: " +
                   quoted_list(known_refs(repository / "refs")) + "; snapshots: " + quoted_list(snapshots));
    }
    const fs::path snapshot = repository / "snapshots" / resolved.revision;
    if (!fs::is_directory(snapshot, ignored)) {
        refuse(name, cache,
               "the cache has no snapshot of commit " + resolved.revision + ". Snapshots: " + quoted_list(snapshots));
    }
    const std::string fault = fault_of_snapshot(snapshot);
    if (!fault.empty()) refuse(name, cache, fault);
    resolved.folder = snapshot.string();
    return resolved;
}

}  // namespace pva::model
