// Version, commit and inputs as data.
#include "pva/core/provenance.h"

#include <unistd.h>

#include <array>

#include "pva/core/build_info.h"

namespace pva {

BuildInfo build_info() {
    return {PVA_VERSION, PVA_GIT_SHA, PVA_BUILD_TYPE, PVA_COMPILER, PVA_TORCH_VERSION, PVA_FLAGS, PVA_SYSTEM, PVA_OTHER_LIBRARIES};
}

nlohmann::ordered_json to_json(const Provenance& provenance) {
    nlohmann::ordered_json json;
    json["program"] = provenance.program;
    json["version"] = provenance.build.version;
    json["git_sha"] = provenance.build.git_sha;
    json["build_type"] = provenance.build.build_type;
    json["compiler"] = provenance.build.compiler;
    json["libraries"] = provenance.libraries;
    json["options"] = provenance.options;
    json["given"] = provenance.given;
    json["ranks"] = provenance.ranks;
    json["inputs"] = nlohmann::ordered_json::array();
    for (const InputFile& input : provenance.inputs) {
        json["inputs"].push_back({{"role", input.role}, {"path", input.path}, {"sha256", input.sha256}});
    }
    return json;
}

std::string version_line(const std::string& program) {
    const BuildInfo build = build_info();
    return program + " " + build.version + " (" + build.git_sha + ", " + build.build_type + ", " + build.compiler + ")";
}

std::string host_name() {
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
    return name.data();
}

}  // namespace pva
