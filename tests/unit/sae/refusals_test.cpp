// What loaders must refuse, each by a change of a file that is read without it.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "../scratch.h"
#include "pva/sae/discover.h"
#include "pva/sae/load.h"
#include "sae_test.h"

using namespace pva;
using namespace pva::test;
using nlohmann::json;

namespace {

const std::string golden_folder = PVA_SOURCE_DIR "/tests/golden/sae/families/";

const Scratch& scratch() {
    static const Scratch folder;
    return folder;
}

std::string bytes_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void check_refused(const std::string& path, const std::vector<std::string>& parts,
                   const sae::LoadOptions& options = {}) {
    check_input_error([&] { sae::load(sae::identify(path), options); }, parts);
}

/// The right files of a small SAELens jumprelu SAE with d_in 2 and d_sae 3.
json right_config() {
    return {{"architecture", "jumprelu"},
            {"d_in", 2},
            {"d_sae", 3},
            {"dtype", "float32"},
            {"device", "cpu"},
            {"apply_b_dec_to_input", false},
            {"normalize_activations", "none"},
            {"reshape_activations", "none"},
            {"metadata", {{"sae_lens_version", "6.18.0"}, {"hook_name", "blocks.1.hook_resid_post"}}}};
}
std::vector<NamedTensor> right_tensors() {
    return {{"W_dec", "[3, 2]", {1, 0, 0, 1, 0.6f, 0.8f}},
            {"W_enc", "[2, 3]", {1, 2, 3, 4, 5, 6}},
            {"b_dec", "[2]", {0, 0}},
            {"b_enc", "[3]", {0, 0, 0}},
            {"threshold", "[3]", {0, 1, 2}}};
}
std::string save(const json& config, const std::vector<NamedTensor>& tensors, const std::string& name = "saelens") {
    scratch().write(name + "/cfg.json", config.dump());
    scratch().write(name + "/sae_weights.safetensors", safetensors(tensors));
    return scratch().file(name);
}
std::string with_field(const std::string& key, const json& value) {
    json config = right_config();
    config[key] = value;
    return save(config, right_tensors());
}
std::string without_field(const std::string& key) {
    json config = right_config();
    config.erase(key);
    return save(config, right_tensors());
}

/// A golden folder with one file changed.
std::string changed_copy(const std::string& name, const std::string& file, const std::function<void(json&)>& change) {
    const std::string copy = "copy/" + name;
    std::filesystem::remove_all(scratch().file(copy));
    for (const auto& entry : std::filesystem::recursive_directory_iterator(golden_folder + name)) {
        if (!entry.is_regular_file()) continue;
        const std::string inside = entry.path().lexically_relative(golden_folder + name).string();
        std::string content = bytes_of(entry.path().string());
        if (inside == file) {
            json config = json::parse(content);
            change(config);
            content = config.dump();
        }
        scratch().write(copy + "/" + inside, content);
    }
    return scratch().file(copy);
}

}  // namespace

BOOST_AUTO_TEST_CASE(saelens_files_that_are_refused) {
    BOOST_TEST(sae::load(sae::identify(save(right_config(), right_tensors()))).d_sae == 3u);
    // Configuration.
    check_refused(with_field("architecture", "temporal"), {"architecture 'temporal'", "known"});
    check_refused(with_field("architecture", "phase_multiplexed"), {"architecture 'phase_multiplexed'"});
    check_refused(with_field("architecture", "clt"), {"architecture 'clt'"});
    check_refused(with_field("architecture", 3), {"'architecture' is 3"});
    check_refused(without_field("architecture"), {"'architecture' is missing"});
    check_refused(with_field("architecture", "standard"), {"unknown array 'threshold'"});  // never a plain ReLU
    check_refused(with_field("normalize_activations", "batch_norm"), {"'batch_norm'"});
    check_refused(with_field("normalize_activations", "expected_average_only_in"),
                  {"expected_average_only_in", "--sae-scale"});
    check_refused(with_field("normalize_activations", true), {"--sae-scale"});
    check_refused(with_field("normalize_activations", "expected_average_only_in"), {"not above 0"},
                  {.input_scale = -1.0});
    check_refused(save(right_config(), right_tensors()), {"a scale of its input is given"}, {.input_scale = 2.0});
    check_refused(with_field("reshape_activations", "heads"), {"'reshape_activations' is 'heads'"});
    check_refused(with_field("dtype", "int8"), {"'dtype' is 'int8'"});
    check_refused(with_field("rescale_acts_by_decoder_norm", true), {"rescale_acts_by_decoder_norm"});
    check_refused(with_field("new_setting", 1), {"unknown field 'new_setting'"});
    check_refused(with_field("d_in", 3), {"W_enc has shape [2, 3]", "[3, 3]"});
    check_refused(with_field("d_sae", 2), {"has shape"});
    check_refused(with_field("d_in", 0), {"'d_in' is 0"});
    check_refused(with_field("d_in", -1), {"'d_in' is -1"});
    check_refused(with_field("d_in", 2.5), {"'d_in' is 2.5"});
    check_refused(with_field("d_out", 3), {"'d_out' differs"});
    check_refused(with_field("apply_b_dec_to_input", "yes"), {"true or false"});
    check_refused(with_field("metadata", {{"sae_lens_version", "6.0.0"},
                                          {"model_from_pretrained_kwargs", {{"center_writing_weights", true}}}}),
                  {"center_writing_weights", "as they are"});
    check_refused(with_field("metadata", {{"sae_lens_version", "6.0.0"},
                                          {"model_from_pretrained_kwargs", {{"dtype", "bfloat16"}}}}),
                  {"dtype"});
    // k.
    std::vector<NamedTensor> plain = right_tensors();
    plain.pop_back();
    json topk = right_config();
    topk["architecture"] = "topk";
    check_refused(save(topk, plain), {"'k'", "missing"});
    for (const json& k : {json(0), json(-3), json(1.5)}) {
        topk["k"] = k;
        check_refused(save(topk, plain), {"'k' is " + k.dump()});
    }
    topk["k"] = 4;
    check_refused(save(topk, plain), {"k is 4, d_sae 3"});
    topk["k"] = 3;
    BOOST_TEST(sae::load(sae::identify(save(topk, plain))).k == 3u);
    // Flat configurations of before version 6.
    json flat = {{"d_in", 2},
                 {"d_sae", 3},
                 {"hook_point", "blocks.1.hook_resid_post"},
                 {"model_name", "m"},
                 {"l1_coefficient", 1.0}};
    BOOST_TEST(sae::load(sae::identify(save(flat, plain))).site == "resid_post");
    flat["activation_fn_str"] = "tanh-relu";
    check_refused(save(flat, plain), {"activation 'tanh-relu'"});
    flat["activation_fn_str"] = "topk";
    check_refused(save(flat, plain), {"'k'"});
    flat["activation_fn_kwargs"] = {{"k", 2}, {"signed", true}};
    check_refused(save(flat, plain), {"unknown field 'activation_fn_kwargs.signed'"});
    flat["activation_fn_kwargs"] = {{"k", 2}};
    BOOST_TEST(sae::load(sae::identify(save(flat, plain))).k == 2u);
    flat["finetuning_scaling_factor"] = true;
    check_refused(save(flat, plain), {"finetuning_scaling_factor"});
    // Damaged JSON.
    const std::string folder = save(right_config(), right_tensors());
    for (const auto& [text, part] :
         std::vector<std::pair<std::string, std::string>>{{"{\"d_in\": 2, \"d_in\": 3}", "twice"},
                                                          {"[1]", "no JSON object"},
                                                          {"{", "not valid JSON"},
                                                          {std::string(200, '['), "nested"}}) {
        scratch().write("saelens/cfg.json", text);
        check_refused(folder, {"cfg.json", part});
    }
}

BOOST_AUTO_TEST_CASE(saelens_tensors_that_are_refused) {
    for (std::size_t i = 0; i < right_tensors().size(); ++i) {
        auto tensors = right_tensors();
        const std::string name = tensors[i].name;
        tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
        check_refused(save(right_config(), tensors), {"array '" + name + "' is missing"});
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            tensors = right_tensors();
            tensors[i].values[1] = bad;
            check_refused(save(right_config(), tensors), {name + "[", "finite"});
        }
        tensors = right_tensors();
        tensors[i].shape = "[1]";
        tensors[i].values = {1};
        check_refused(save(right_config(), tensors), {name + " has shape [1]"});
    }
    auto tensors = right_tensors();
    tensors.push_back({"log_threshold", "[3]", {0, 0, 0}});
    check_refused(save(right_config(), tensors), {"unknown array 'log_threshold'"});
    tensors = right_tensors();
    tensors[0].shape = "[2, 3]";
    check_refused(save(right_config(), tensors), {"W_dec", "transposed"});
    tensors = right_tensors();
    tensors[4].values[2] = -0.5f;
    check_refused(save(right_config(), tensors), {"threshold[2] is -0.5", "never set"});
    tensors = right_tensors();
    tensors.push_back({"scaling_factor", "[3]", {1, 1, 2}});
    check_refused(save(right_config(), tensors), {"scaling_factor[2] is 2"});
    // A file that is cut short, or whose header lies about offsets, is the safetensors reader's to refuse.
    const std::string folder = save(right_config(), right_tensors());
    const std::string bytes = bytes_of(folder + "/sae_weights.safetensors");
    scratch().write("saelens/sae_weights.safetensors", bytes.substr(0, bytes.size() - 1));
    check_refused(folder, {"sae_weights.safetensors"});
    std::string overlapping = bytes;
    const std::size_t at = overlapping.find("\"data_offsets\":[24,48]");
    BOOST_REQUIRE(at != std::string::npos);
    overlapping.replace(at, 22, "\"data_offsets\":[20,44]");
    scratch().write("saelens/sae_weights.safetensors", overlapping);
    check_refused(folder, {"overlap"});
}

BOOST_AUTO_TEST_CASE(sparsify_files_that_are_refused) {
    const auto with = [](const std::string& key, const json& value) {
        return changed_copy("sparsify/layers.3", "cfg.json", [&](json& config) { config[key] = value; });
    };
    BOOST_TEST(sae::load(sae::identify(with("multi_topk", true))).k == 6u);
    check_refused(with("signed", true), {"'signed' is true"});
    check_refused(with("activation", "relu"), {"activation 'relu'"});
    check_refused(with("k", 0), {"'k' is 0"});
    check_refused(with("k", 49), {"k is 49", "48"});
    check_refused(with("num_latents", 47), {"encoder.weight has shape [48, 12]", "[47, 12]"});
    check_refused(with("d_in", 13), {"has shape"});
    check_refused(with("surprise", 1), {"unknown field 'surprise'"});
    check_refused(with("skip_connection", true), {"array 'W_skip' is missing"});
    check_refused(changed_copy("sparsify/layers.3", "cfg.json",
                               [](json& config) {
                                   config["num_latents"] = 0;
                                   config.erase("expansion_factor");
                               }),
                  {"'num_latents' is 0", "expansion_factor"});
    check_refused(changed_copy("sparsify/layers.1.mlp", "cfg.json", [](json& config) { config["k"] = 7; }),
                  {"do not divide"});
    check_refused(with("k", 6), {"a scale of its input"}, {.input_scale = 1.0});
}

BOOST_AUTO_TEST_CASE(dictionary_learning_files_that_are_refused) {
    const auto with = [](const std::string& name, const std::string& key, const json& value) {
        return changed_copy("dictionary_learning/" + name, "config.json",
                            [&](json& config) { config["trainer"][key] = value; });
    };
    check_refused(with("AutoEncoder", "dict_class", "CrossCoder"), {"dict_class 'CrossCoder'", "known"});
    check_refused(with("AutoEncoder", "dict_class", "IdentityDict"), {"dict_class 'IdentityDict'"});
    check_refused(with("AutoEncoder", "dict_class", "AutoEncoderNew"),
                  {"'decoder.bias' is missing", "unknown array 'bias'"});
    check_refused(with("AutoEncoder", "activation_dim", 13), {"has shape"});
    check_refused(with("AutoEncoder", "dict_size", 40), {"has shape"});
    check_refused(with("AutoEncoder", "submodule_name", "resid_post_layer_3"), {"different layers"});
    check_refused(with("BatchTopKSAE", "k", 6), {"k is 5", "says 6"});
    // The same keys under the other class: read as that class, because only the configuration tells them apart.
    BOOST_TEST((sae::load(sae::identify(with("BatchTopKSAE", "dict_class", "AutoEncoderTopK"))).architecture ==
                sae::Architecture::topk));
    // A TopK SAE's threshold was never set: it has no threshold rule.
    check_refused(with("AutoEncoderTopK", "dict_class", "BatchTopKSAE"), {"threshold is -1", "never set"});
    check_refused(
        changed_copy("dictionary_learning/AutoEncoder", "config.json", [](json& config) { config.erase("trainer"); }),
        {"'trainer' is missing"});
    const std::string bare =
        scratch().write("bare/ae.pt", bytes_of(golden_folder + "dictionary_learning/AutoEncoder/ae.pt"));
    check_refused(bare, {"config.json"});
    scratch().write("training/config.json", bytes_of(golden_folder + "dictionary_learning/AutoEncoder/config.json"));
    const std::string checkpoint = scratch().write("training/checkpoints/ae_10.pt",
                                                   bytes_of(golden_folder + "dictionary_learning/AutoEncoder/ae.pt"));
    BOOST_TEST(sae::load(sae::identify(checkpoint)).d_sae == 48u);
}

BOOST_AUTO_TEST_CASE(llama_scope_files_that_are_refused) {
    const std::string name = "Llama3_1-8B-Base-L7R-8x";
    const auto with = [&](const std::string& key, const json& value) {
        return changed_copy(name, "hyperparams.json", [&](json& config) { config[key] = value; });
    };
    check_refused(
        changed_copy(name, "hyperparams.json", [](json& config) { config.erase("dataset_average_activation_norm"); }),
        {"dataset_average_activation_norm"});
    check_refused(with("dataset_average_activation_norm", {{"in", 0.0}}), {"not above 0"});
    check_refused(with("jump_relu_threshold", -0.1), {"never set"});
    check_refused(with("act_fn", "topk"), {"act_fn 'topk'"});
    check_refused(with("norm_activation", "token-wise"), {"norm_activation 'token-wise'"});
    check_refused(with("use_glu_encoder", true), {"use_glu_encoder"});
    check_refused(with("apply_decoder_bias_to_pre_encoder", true), {"apply_decoder_bias_to_pre_encoder"});
    check_refused(with("sparsity_include_decoder_norm", true), {"sparsity_include_decoder_norm"});
    check_refused(with("hook_point_out", "blocks.7.hook_mlp_out"), {"hook_point_out"});
    check_refused(with("d_sae", 47), {"has shape"});
    check_refused(golden_folder + "L5R", {"dataset_average_activation_norm", "--sae-scale"});
    const std::string weights = golden_folder + name + "/checkpoints/final.safetensors";
    BOOST_TEST(sae::load(sae::identify(weights)).d_in == 12u);
}

BOOST_AUTO_TEST_CASE(gemma_scope_kinds_by_their_folders) {
    const std::string params = zip({{.name = "W_enc.npy", .data = npy(header("(2, 3)"), {1, 2, 3, 4, 5, 6})},
                                    {.name = "W_dec.npy", .data = npy(header("(3, 2)"), {1, 0, 0, 1, 0.6f, 0.8f})},
                                    {.name = "b_enc.npy", .data = npy(header("(3,)"), {0, 0, 0})},
                                    {.name = "b_dec.npy", .data = npy(header("(2,)"), {0, 0})},
                                    {.name = "threshold.npy", .data = npy(header("(3,)"), {0, 1, 2})}});
    const auto info = [&](const std::string& path) {
        return sae::read_info(sae::identify(scratch().write(path + "/params.npz", params)));
    };
    const sae::SaeInfo res = info("gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82");
    BOOST_TEST(res.site == "resid_post");
    BOOST_TEST(*res.layer == 12u);
    BOOST_TEST(*res.advertised_l0 == 82.0);
    BOOST_TEST(res.advertised_by == "average_l0_82");
    BOOST_TEST(res.model == "gemma-2-2b");
    BOOST_TEST(info("models--google--gemma-scope-9b-it-res/snapshots/x/layer_9/width_16k/average_l0_88").model ==
               "gemma-2-9b-it");
    BOOST_TEST(info("gemma-scope-9b-pt-mlp/layer_3/width_16k/average_l0_5").site == "mlp_out");
    BOOST_TEST(info("gemma-scope-9b-pt-att/layer_3/width_16k/average_l0_5").site == "z");
    const sae::SaeInfo embedding = info("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6");
    BOOST_TEST(embedding.site.empty());
    BOOST_TEST(embedding.hook.find("embedding") != std::string::npos);
    BOOST_TEST(!embedding.layer.has_value());
    BOOST_TEST(info("saes/layer_4").site == "resid_post");
    check_refused(
        scratch().write("double/layer_0/params.npz",
                        zip({{.name = "W_enc.npy",
                              .data = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1), }", {0, 0})}})),
        {"'<f8'"});
}

BOOST_AUTO_TEST_CASE(folders_that_are_no_sae) {
    check_refused(scratch().file("absent"), {"absent", "no such file or folder"});
    scratch().write("nothing/README.md", "x");
    check_refused(scratch().file("nothing"), {"holds no SAE", "params.npz", "ae.pt"});
    check_refused(scratch().write("loose/model.safetensors", "x"), {"not a file of a known SAE format"});
    check_refused(scratch().write("loose/sae_weights.safetensors", "x"), {"configuration is not beside it"});
    scratch().write("both/params.npz", "x");
    scratch().write("both/ae.pt", "x");
    scratch().write("both/config.json", "{}");
    check_refused(scratch().file("both"), {"2 SAE formats"});
    // The configuration alone, as a Hugging Face cache has it while the weights are not fetched.
    scratch().write("half/cfg.json", right_config().dump());
    check_refused(scratch().file("half"), {"holds no SAE"});
}

BOOST_AUTO_TEST_CASE(hashes_of_two_files) {
    const std::string folder = save(right_config(), right_tensors());
    const std::string first = sae::source_sha256(sae::identify(folder));
    BOOST_TEST(first.size() == 64u);
    BOOST_TEST(sae::source_sha256(sae::identify(folder + "/sae_weights.safetensors")) == first);
    const std::string changed = sae::source_sha256(sae::identify(with_field("apply_b_dec_to_input", true)));
    BOOST_TEST(changed != first);  // the configuration decides the codes too
}

BOOST_AUTO_TEST_CASE(saes_of_any_format_are_found) {
    for (const std::string name : {"layers.10", "layers.2"}) {
        scratch().write("any/" + name + "/cfg.json", bytes_of(golden_folder + "sparsify/layers.3/cfg.json"));
        scratch().write("any/" + name + "/sae.safetensors",
                        bytes_of(golden_folder + "sparsify/layers.3/sae.safetensors"));
    }
    const std::string folder = scratch().file("any");
    const std::vector<sae::SaeFile> expected = {{2, folder + "/layers.2"}, {10, folder + "/layers.10"}};
    BOOST_TEST((sae::find_saes(folder) == expected));
    BOOST_TEST((sae::find_all_saes(folder) == std::vector<std::string>{folder + "/layers.2", folder + "/layers.10"}));
    BOOST_TEST(sae::layer_of(folder + "/layers.10") == 10u);
    scratch().write("any/again/layers.2/cfg.json", bytes_of(golden_folder + "sparsify/layers.3/cfg.json"));
    scratch().write("any/again/layers.2/sae.safetensors",
                    bytes_of(golden_folder + "sparsify/layers.3/sae.safetensors"));
    check_input_error([&] { sae::find_saes(folder); }, {"several SAEs for layer 2", "commas"});
    BOOST_TEST(sae::find_all_saes(folder).size() == 3u);
}

BOOST_AUTO_TEST_CASE(lists_of_gemma_scope) {
    const auto read = [](const std::string& text) { return sae::read_sae_list(scratch().write("list.tsv", text)); };
    const auto one =
        read("release\trepo_id\tpath\tlayer\nr\tgoogle/gemma-scope-2b-pt-res\tlayer_1/width_16k/average_l0_102\t1\n");
    BOOST_REQUIRE(one.size() == 1u);
    BOOST_TEST(one[0].repository == "google/gemma-scope-2b-pt-res");
    BOOST_TEST(one[0].path == "layer_1/width_16k/average_l0_102");
    const auto bare = read("release\tsae_id\nr-canonical\tlayer_0/x\r\n\nr\tlayer_1/y\n");
    BOOST_REQUIRE(bare.size() == 2u);
    BOOST_TEST(bare[0].repository == "google/r");
    BOOST_TEST(bare[0].path == "layer_0/x");
    check_input_error([&] { read("a\tb\n1\t2\n"); }, {"columns"});
    check_input_error([&] { read("release\tpath\nr\n"); }, {"line 2", "1 columns"});
    check_input_error([&] { read("release\tpath\nr\t../../etc\n"); }, {"no path inside"});
    check_input_error([&] { read("release\tpath\nr\t/etc\n"); }, {"no path inside"});
    check_input_error([&] { read("release\tpath\n"); }, {"lists no SAE"});
    check_input_error([] { sae::read_sae_list("absent.tsv"); }, {"absent.tsv"});

    const std::string data = PVA_SOURCE_DIR "/../shared/data/gemma_scope/";
    if (!std::filesystem::exists(data)) {
        BOOST_TEST_MESSAGE("skipped: no " << data);
        return;
    }
    const auto canonical = sae::read_sae_list(data + "gemma-scope-2b-pt-res-canonical.tsv");
    const auto is_16k = [](const sae::ListedSae& s) { return s.path.find("width_16k") != std::string::npos; };
    BOOST_TEST(std::count_if(canonical.begin(), canonical.end(), is_16k) == 26);
    const auto all_16k = sae::read_sae_list(data + "gemma-scope-2b-pt-res_width_16k.tsv");
    BOOST_TEST(all_16k.size() == 135u);
    for (const auto& listed : all_16k)
        BOOST_TEST(listed.repository == "google/gemma-scope-2b-pt-res");
}
