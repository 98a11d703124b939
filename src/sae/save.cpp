// SAELens' folder and Gemma Scope's params.npz, written.
#include "pva/sae/save.h"

#include <cstdint>

#include "pva/core/error.h"
#include "pva/io/array_files.h"
#include "pva/io/whole_file.h"

namespace pva::sae {

namespace {

void check(const SavedSae& saved) {
    const std::size_t weights = saved.d_in * saved.d_sae;
    const bool thresholds = saved.architecture == Architecture::jumprelu;
    if (!thresholds && saved.architecture != Architecture::topk) throw InternalError("only topk and jumprelu SAEs are written");
    if (saved.encoder.size() != weights || saved.W_dec.size() != weights || saved.b_enc.size() != saved.d_sae || saved.b_dec.size() != saved.d_in ||
        saved.threshold.size() != (thresholds ? saved.d_sae : 0)) {
        throw InternalError("an SAE to be written has arrays of other sizes than it says");
    }
}

/// [rows, columns] to [columns, rows].
std::vector<float> transposed(const std::vector<float>& matrix, std::size_t rows, std::size_t columns) {
    std::vector<float> result(matrix.size());
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < columns; ++c) result[c * rows + r] = matrix[r * columns + c];
    }
    return result;
}

}  // namespace

Sae to_sae(const SavedSae& saved) {
    check(saved);
    Sae sae;
    sae.architecture = saved.architecture;
    sae.d_in = saved.d_in;
    sae.d_out = saved.d_in;
    sae.d_sae = saved.d_sae;
    sae.k = saved.k;
    sae.unit_decoder = true;
    sae.source = "the SAE in training";
    sae.W_enc = pack_linear(saved.encoder, saved.d_sae, saved.d_in);
    sae.b_enc = saved.b_enc;
    sae.W_dec = saved.W_dec;
    sae.b_dec = saved.b_dec;
    sae.b_in = saved.b_dec;
    sae.threshold = saved.threshold;
    return sae;
}

void save_saelens(const std::string& folder, const SavedSae& saved, const SavedPlace& place) {
    check(saved);
    const auto d = static_cast<std::int64_t>(saved.d_in);
    const auto m = static_cast<std::int64_t>(saved.d_sae);
    const std::vector<float> W_enc = transposed(saved.encoder, saved.d_sae, saved.d_in);
    std::vector<io::NamedArray> arrays = {{"W_dec", {m, d}, std::span(saved.W_dec)}, {"W_enc", {d, m}, std::span<const float>(W_enc)}, {"b_dec", {d}, std::span(saved.b_dec)}, {"b_enc", {m}, std::span(saved.b_enc)}};
    const bool topk = saved.architecture == Architecture::topk;
    if (!topk) arrays.push_back({"threshold", {m}, std::span(saved.threshold)});
    io::write_safetensors(folder + "/sae_weights.safetensors", arrays);
    nlohmann::ordered_json metadata = {{"sae_lens_version", "6.45.2"},
                                       {"model_name", place.model_name},
                                       {"hook_name", place.hook_name},
                                       {"hook_head_index", nullptr},
                                       {"model_class_name", "HookedTransformer"},
                                       {"model_from_pretrained_kwargs", nlohmann::ordered_json::object()},
                                       {"prepend_bos", place.prepend_bos},
                                       {"context_size", place.context_size},
                                       {"exclude_special_tokens", false},
                                       {"seqpos_slice", nullptr},
                                       {"dataset_path", place.dataset}};
    for (const auto& [key, value] : place.training.items()) metadata[key] = value;
    nlohmann::ordered_json config = {{"architecture", topk ? "topk" : "jumprelu"},
                                     {"d_in", saved.d_in},
                                     {"d_sae", saved.d_sae},
                                     {"dtype", "float32"},
                                     {"device", "cpu"},
                                     {"apply_b_dec_to_input", true},
                                     {"normalize_activations", "none"},
                                     {"reshape_activations", "none"},
                                     {"metadata", metadata}};
    if (topk) {
        config["k"] = saved.k;
        config["rescale_acts_by_decoder_norm"] = false;
    }
    io::write_whole_file(folder + "/cfg.json", config.dump(2) + "\n");
}

void save_gemma_scope(const std::string& path, const SavedSae& saved) {
    check(saved);
    if (saved.architecture != Architecture::jumprelu) throw InternalError("Gemma Scope's format holds thresholds only");
    const auto d = static_cast<std::int64_t>(saved.d_in);
    const auto m = static_cast<std::int64_t>(saved.d_sae);
    std::vector<float> b_enc(saved.d_sae);
    for (std::size_t j = 0; j < saved.d_sae; ++j) {
        double sum = saved.b_enc[j];
        for (std::size_t i = 0; i < saved.d_in; ++i) sum -= static_cast<double>(saved.encoder[j * saved.d_in + i]) * saved.b_dec[i];
        b_enc[j] = static_cast<float>(sum);
    }
    const std::vector<float> W_enc = transposed(saved.encoder, saved.d_sae, saved.d_in);
    const std::vector<io::NamedArray> arrays = {{"W_enc", {d, m}, std::span<const float>(W_enc)}, {"W_dec", {m, d}, std::span(saved.W_dec)}, {"b_enc", {m}, std::span<const float>(b_enc)}, {"b_dec", {d}, std::span(saved.b_dec)}, {"threshold", {m}, std::span(saved.threshold)}};
    io::write_npz(path, arrays);
}

}  // namespace pva::sae
