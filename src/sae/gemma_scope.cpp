// Reader of Gemma Scope's params.npz. Names and shapes are checked before any large array is read.
#include "pva/sae/gemma_scope.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <sstream>
#include <string_view>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/io/npz.h"

namespace pva::sae {

namespace {

constexpr std::string_view remedy = ". Name the params.npz of a Gemma Scope residual-stream SAE.";

std::string shape_text(const std::vector<std::uint64_t>& shape) {
    std::string text = "[";
    for (std::size_t d = 0; d < shape.size(); ++d)
        text += (d ? ", " : "") + std::to_string(shape[d]);
    return text + "]";
}

/// Other kinds of Gemma Scope SAEs have the same arrays, so that only the name of their folder tells them apart.
void check_kind(const std::string& path) {
    for (const auto& part : std::filesystem::path(path)) {
        const std::string name = part.string();
        const bool release = name.find("gemma-scope-") != std::string::npos;
        const bool other =
            name == "embedding" ||
            (release && (name.ends_with("-mlp") || name.ends_with("-att") || name.ends_with("-transcoders")));
        if (other) {
            throw InputError(path + ": '" + name + "' is not a release of residual-stream SAEs" + std::string(remedy));
        }
    }
}

void check_shape(const std::string& path, const io::NpzMember& member, const std::vector<std::uint64_t>& expected) {
    if (member.shape == expected) return;
    std::string hint;
    if (expected.size() == 2 && member.shape == std::vector<std::uint64_t>{expected[1], expected[0]}) {
        hint = " (it looks transposed)";
    }
    throw InputError(path + ": " + member.name + " has shape " + shape_text(member.shape) +
                     " but the other arrays ask for " + shape_text(expected) + hint + std::string(remedy));
}

std::string number_text(float value) {
    std::ostringstream text;
    text.precision(9);
    text << value;
    return text.str();
}

std::vector<float> read_finite(const io::NpzFile& file, const io::NpzMember& member) {
    std::vector<float> values = file.read(member);
    const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad != values.end()) {
        const auto at = static_cast<std::uint64_t>(bad - values.begin());
        const std::string where = member.shape.size() == 2 ? std::to_string(at / member.shape[1]) + ", " +
                                                                 std::to_string(at % member.shape[1])
                                                           : std::to_string(at);
        throw InputError(file.path() + ": " + member.name + "[" + where + "] is " + number_text(*bad) +
                         "; every weight must be finite. Fetch the file again.");
    }
    return values;
}

}  // namespace

Sae load_gemma_scope(const std::string& path) {
    check_kind(path);
    const io::NpzFile file(path);

    constexpr std::array<std::string_view, 5> required = {"W_enc", "W_dec", "b_enc", "b_dec", "threshold"};
    std::map<std::string, const io::NpzMember*, std::less<>> arrays;
    for (const io::NpzMember& member : file.members()) {
        std::string name = member.name;
        if (name == "w_enc" || name == "w_dec") name[0] = 'W';
        if (name != "scaling_factor" && std::find(required.begin(), required.end(), name) == required.end()) {
            throw InputError(path + ": unknown array '" + member.name + "'" + std::string(remedy));
        }
        if (!arrays.emplace(name, &member).second)
            throw InputError(path + ": two arrays for '" + name + "'" + std::string(remedy));
    }
    for (const std::string_view name : required) {
        if (!arrays.contains(name)) {
            throw InputError(path + ": array '" + std::string(name) + "' is missing" + std::string(remedy));
        }
    }

    const io::NpzMember& encoder = *arrays.find("W_enc")->second;
    if (encoder.shape.size() != 2 || encoder.n_values == 0 ||
        encoder.shape[1] > std::numeric_limits<std::uint32_t>::max()) {
        throw InputError(path + ": W_enc has shape " + shape_text(encoder.shape) + ", not [d_in, d_sae]" +
                         std::string(remedy));
    }
    const std::uint64_t d_in = encoder.shape[0], d_sae = encoder.shape[1];
    for (const auto& [name, member] : arrays) {
        if (name == "W_enc") continue;
        if (name == "W_dec") {
            check_shape(path, *member, {d_sae, d_in});
        } else {
            check_shape(path, *member, {name == "b_dec" ? d_in : d_sae});
        }
    }

    Sae sae;
    sae.d_in = d_in;
    sae.d_sae = d_sae;
    sae.site = "resid_post";
    sae.source = path;
    sae.b_enc = read_finite(file, *arrays.at("b_enc"));
    sae.b_dec = read_finite(file, *arrays.at("b_dec"));
    sae.threshold = read_finite(file, *arrays.at("threshold"));
    for (std::size_t j = 0; j < sae.threshold.size(); ++j) {
        if (sae.threshold[j] < 0.0f) {
            throw InputError(path + ": threshold[" + std::to_string(j) + "] is " + number_text(sae.threshold[j]) +
                             "; a JumpReLU threshold cannot be negative, this one was never set" + std::string(remedy));
        }
    }
    if (const auto scaling = arrays.find("scaling_factor"); scaling != arrays.end()) {
        const auto values = read_finite(file, *scaling->second);
        const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return v != 1.0f; });
        if (bad != values.end()) {
            throw InputError(path + ": scaling_factor[" + std::to_string(bad - values.begin()) + "] is " +
                             number_text(*bad) + "; only SAEs with every scaling factor 1 are read" +
                             std::string(remedy));
        }
    }
    sae.W_enc = read_finite(file, encoder);
    sae.W_dec = read_finite(file, *arrays.at("W_dec"));
    sae.sha256 = sha256_file_hex(path);
    return sae;
}

}  // namespace pva::sae
