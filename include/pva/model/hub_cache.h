// From what a user calls a model (a folder, or a name on the Hugging Face Hub) to a folder on this machine. Only looks
// at the file system: nothing is ever fetched.
//
// Layout of the cache, as huggingface_hub 0.x to 2.x writes it (its guide "Understand caching", and constants.py,
// file_download.py and _snapshot_download.py): models--OWNER--NAME/refs/REVISION holds the commit hash that a branch or
// tag stood at when it was fetched, snapshots/HASH/ holds links into blobs/.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace pva::model {

/// The variables that decide where the cache is. Values as the user wrote them, but with "~" and $NAME replaced, as
/// huggingface_hub does. A variable that is set but empty counts as set, there as here.
struct HubEnvironment {
    std::optional<std::string> hf_hub_cache = {};           ///< HF_HUB_CACHE: the cache itself
    std::optional<std::string> huggingface_hub_cache = {};  ///< HUGGINGFACE_HUB_CACHE: its older name
    std::optional<std::string> hf_home = {};                ///< HF_HOME: the cache is its folder hub
    std::optional<std::string> xdg_cache_home = {};         ///< XDG_CACHE_HOME: its folder huggingface/hub
    std::string home = {};                                  ///< otherwise its folder .cache/huggingface/hub
};

/// The variables of this process.
HubEnvironment hub_environment_from_process();

/// Where the cache is, and which variable says so ("HF_HOME"; "the default" when none does).
struct HubCache {
    std::string folder;
    std::string decided_by;
};
HubCache hub_cache(const HubEnvironment& environment);

/// A model that is on this machine.
struct ResolvedModel {
    std::string folder;              ///< holds config.json
    std::string name;                ///< as it enters the names of result files: "gemma-2-2b"
    std::string revision;            ///< commit hash of a snapshot in a cache; empty for any other folder
    std::vector<std::string> notes;  ///< what the user should know about the choice, one line each
};

/// What a folder's model is called: its last component, or for a snapshot in a cache
/// (models--google--gemma-2-2b/snapshots/HASH) the model's name.
std::string name_of_folder(const std::filesystem::path& folder);

/// `model` is a folder, or OWNER/NAME, NAME, OWNER/NAME@REVISION with a branch, a tag or a full commit hash as revision
/// ("main" when none is given). A folder of that name comes first, as in Hugging Face transformers. From the cache only
/// a snapshot with config, weights and tokenizer is taken. When refs/main is missing and there is one snapshot only,
/// that one is taken with a note (huggingface_hub would refuse).
/// Errors: InputError when `model` is neither a folder nor can be a name on the Hub, when the model is not
/// in the cache (with the folder looked in, the variable that decided it, and the command to fetch it on a machine with
/// network), when the revision is not there (with those that are), when a link is broken or a file missing.
ResolvedModel resolve_model(const std::string& model, const HubEnvironment& environment);

/// The command that fetches what pva reads of a model, and only that, in the form of huggingface_hub from 1.0 on.
std::string download_command(const std::string& repository, const std::string& revision);

}  // namespace pva::model
