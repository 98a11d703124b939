// What made a file: version, commit, libraries, host, options, and the SHA-256 of every input.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace pva {

/// The build this process runs.
struct BuildInfo {
    std::string version;     ///< project version
    std::string git_sha;     ///< commit, "-modified" appended when the tree had changes; "unknown" outside git
    std::string build_type;  ///< Release, Debug, ...
    std::string compiler;
    std::string torch_version;
    std::string flags;            ///< compiler flags of the build type
    std::string system;           ///< what it was built on: "Linux x86_64"
    std::string other_libraries;  ///< libraries and versions as the configure step found them
};
BuildInfo build_info();

/// An input file of a run. The hash is of its bytes.
struct InputFile {
    std::string role;  ///< "problems", "model weights", "dataset", ...
    std::string path;
    std::string sha256;
};

struct Provenance {
    std::string program;
    BuildInfo build;
    std::map<std::string, std::string> libraries;  ///< name -> version, of what is loaded at run time
    nlohmann::ordered_json options;                ///< every option with its value
    nlohmann::ordered_json given;                  ///< those of them that were given
    int ranks = 1;
    std::vector<InputFile> inputs;
};

/// As JSON, for the file's attributes and the metadata beside it. Holds no time and no host: those are measurements.
nlohmann::ordered_json to_json(const Provenance& provenance);

/// "pva_phase1 0.1.0 (commit, Release, GNU 12.2.0)".
std::string version_line(const std::string& program);

std::string host_name();

}  // namespace pva
