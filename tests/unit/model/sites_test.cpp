// Names of sites in the spellings of several tools, lists of sites, and how deep a pass has to go for them.
#define BOOST_TEST_MODULE model_sites
#include <boost/test/unit_test.hpp>

#include <set>
#include <string>
#include <vector>

#include "config_samples.h"
#include "pva/core/error.h"
#include "pva/model/sites.h"

using namespace pva;
using model::CaptureRequest;
using model::parse_site;
using model::Site;
using model::SitePoint;

namespace {

const model::ModelConfig gemma = samples::parse(samples::gemma_2_2b());    // 26 layers
const model::ModelConfig neox = samples::parse(samples::pythia_70m());     // 6
const model::ModelConfig llama = samples::parse(samples::llama_3_1_8b());  // 32

void is(const std::string& name, const model::ModelConfig& config, const SitePoint& expected) {
    BOOST_TEST_CONTEXT(name << " of " << config.model_type) {
        BOOST_TEST((parse_site(name, config) == expected));
    }
}

void refused(const std::string& name, const model::ModelConfig& config, const std::vector<std::string>& parts) {
    BOOST_TEST_CONTEXT(name << " of " << config.model_type) {
        BOOST_CHECK_EXCEPTION(parse_site(name, config), UsageError, [&](const UsageError& error) {
            const std::string message = error.what();
            for (const std::string& part : parts)
                BOOST_TEST(message.find(part) != std::string::npos, message << " lacks " << part);
            return true;
        });
    }
}

void list_refused(const std::string& names, const std::vector<int>& layers, const model::ModelConfig& config,
                  const std::string& part) {
    BOOST_TEST_CONTEXT(names) {
        BOOST_CHECK_EXCEPTION(parse_sites(names, layers, config), UsageError, [&](const UsageError& error) {
            BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, error.what());
            return true;
        });
    }
}

std::vector<int> counted(int count) {
    std::vector<int> all;
    for (int i = 0; i < count; ++i)
        all.push_back(i);
    return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(sites_and_their_own_names) {
    BOOST_TEST(model::all_sites().size() == 8u);
    std::set<std::string> names;
    for (const Site site : model::all_sites()) {
        names.insert(std::string(model::site_name(site)));
        const bool without_layers = site == Site::embedding || site == Site::final_norm;
        BOOST_TEST(model::site_has_layers(site) == !without_layers);
        BOOST_TEST(model::site_is_residual(site) ==
                   (site == Site::resid_pre || site == Site::resid_mid || site == Site::resid_post));
        const std::string name(model::site_name(site));
        is(name, gemma, {site, std::nullopt});
        is(name, llama, {site, std::nullopt});
        if (without_layers) {
            refused(name + ".0", gemma, {"unknown site"});
            continue;
        }
        is(name + ".0", gemma, {site, 0});
        is(name + ".25", gemma, {site, 25});
        refused(name + ".26", gemma, {"layer 26", "0 to 25"});
        refused(name + ".2147483647", gemma, {"2147483647"});
    }
    BOOST_TEST((names == std::set<std::string>{"embedding", "resid_pre", "resid_mid", "resid_post", "attn_out",
                                               "mlp_out", "z", "final_norm"}));
}

BOOST_AUTO_TEST_CASE(spelling_of_transformer_lens) {
    for (const model::ModelConfig& config : {gemma, llama, neox}) {
        is("hook_embed", config, {Site::embedding, std::nullopt});
        is("blocks.3.hook_resid_pre", config, {Site::resid_pre, 3});
        is("blocks.0.hook_resid_post", config, {Site::resid_post, 0});
        is("blocks.5.hook_attn_out", config, {Site::attn_out, 5});
        is("blocks.5.hook_mlp_out", config, {Site::mlp_out, 5});
        is("blocks.5.attn.hook_z", config, {Site::z, 5});
        refused("blocks.32.hook_resid_post", config, {"layer 32"});
    }
    is("blocks.25.hook_resid_mid", gemma, {Site::resid_mid, 25});
    for (const std::string name : {"resid_mid", "resid_mid.0", "blocks.0.hook_resid_mid"})
        refused(name, neox, {"gpt_neox", "no resid_mid"});
    for (const std::string unknown :
         {"blocks.3.hook_z", "blocks.3.hook_resid_postx", "blocks.hook_resid_post", "blocks..hook_resid_post",
          "blocks.3.hook_resid", "blocks.3.attn.hook_q", "ln_final.hook_normalized", "hook_embed.0"})
        refused(unknown, gemma, {"unknown site '" + unknown + "'"});
}

BOOST_AUTO_TEST_CASE(round_trip_with_transformer_lens) {
    for (const Site site : model::all_sites()) {
        for (const int layer : {0, 7, 25}) {
            const SitePoint point{site, model::site_has_layers(site) ? std::optional<int>(layer) : std::nullopt};
            const std::string name = model::transformer_lens_name(point);
            if (site == Site::final_norm) {
                BOOST_TEST(name == "");
            } else {
                is(name, gemma, point);
            }
        }
    }
    BOOST_TEST(model::transformer_lens_name({Site::resid_post, 3}) == "blocks.3.hook_resid_post");
    BOOST_TEST(model::transformer_lens_name({Site::z, 12}) == "blocks.12.attn.hook_z");
    BOOST_TEST(model::transformer_lens_name({Site::embedding, std::nullopt}) == "hook_embed");
    BOOST_TEST(model::transformer_lens_name({Site::resid_post, std::nullopt}).empty());
}

BOOST_AUTO_TEST_CASE(modules_of_hugging_face_and_sparsify) {
    for (const std::string base : {"model.", ""}) {
        for (const model::ModelConfig& config : {gemma, llama}) {
            is(base + "embed_tokens", config, {Site::embedding, std::nullopt});
            is(base + "layers.3", config, {Site::resid_post, 3});
            is(base + "norm", config, {Site::final_norm, std::nullopt});
        }
        is(base + "layers.3.self_attn", llama, {Site::attn_out, 3});
        is(base + "layers.3.self_attn.o_proj", llama, {Site::attn_out, 3});
        is(base + "layers.3.mlp", llama, {Site::mlp_out, 3});
        is(base + "layers.31.mlp.down_proj", llama, {Site::mlp_out, 31});
        is(base + "layers.3.post_attention_layernorm", gemma, {Site::attn_out, 3});
        is(base + "layers.3.post_feedforward_layernorm", gemma, {Site::mlp_out, 3});
        // In Gemma-2 a norm comes between these modules and the stream.
        refused(base + "layers.3.mlp", gemma,
                {base + "layers.3.mlp", "mlp_out", "model.layers.3.post_feedforward_layernorm", "mlp_out.3"});
        refused(base + "layers.3.self_attn", gemma,
                {"attn_out", "model.layers.3.post_attention_layernorm", "attn_out.3"});
        // In Llama the module of that name comes before the MLP.
        refused(base + "layers.3.post_attention_layernorm", llama, {"unknown site"});
        refused(base + "layers.32", llama, {"layer 32"});
    }
    for (const std::string base : {"gpt_neox.", ""}) {
        is(base + "embed_in", neox, {Site::embedding, std::nullopt});
        is(base + "layers.5", neox, {Site::resid_post, 5});
        is(base + "layers.5.attention", neox, {Site::attn_out, 5});
        is(base + "layers.5.attention.dense", neox, {Site::attn_out, 5});
        is(base + "layers.5.mlp", neox, {Site::mlp_out, 5});
        is(base + "layers.0.mlp.dense_4h_to_h", neox, {Site::mlp_out, 0});
        is(base + "final_layer_norm", neox, {Site::final_norm, std::nullopt});
        refused(base + "layers.6", neox, {"layer 6", "0 to 5"});
    }
    refused("model.layers.3", neox, {"unknown site"});
    refused("gpt_neox.layers.3", llama, {"unknown site"});
    refused("lm_head", llama, {"unknown site"});
}

BOOST_AUTO_TEST_CASE(hidden_states_and_dictionary_learning) {
    // hidden_states[L] of Hugging Face enters block L; the last entry stands after the final norm, not at resid_post.
    for (const model::ModelConfig& config : {gemma, llama, neox}) {
        const int layers = static_cast<int>(config.num_hidden_layers);
        for (const bool brackets : {true, false}) {
            const auto name = [&](int entry) {
                return brackets ? "hidden_states[" + std::to_string(entry) + "]"
                                : "hidden_states." + std::to_string(entry);
            };
            is(name(0), config, {Site::resid_pre, 0});
            is(name(layers - 1), config, {Site::resid_pre, layers - 1});
            is(name(layers), config, {Site::final_norm, std::nullopt});
            refused(name(layers + 1), config, {"hidden_states[" + std::to_string(layers) + "]"});
        }
        is("resid_post_layer_0", config, {Site::resid_post, 0});
        is("resid_post_layer_" + std::to_string(layers - 1), config, {Site::resid_post, layers - 1});
        refused("resid_post_layer_" + std::to_string(layers), config, {"layer " + std::to_string(layers)});
    }
}

BOOST_AUTO_TEST_CASE(what_is_no_site) {
    for (const std::string bad : {"",
                                  " ",
                                  "resid",
                                  "resid_post ",
                                  " resid_post",
                                  "RESID_POST",
                                  "resid_post.",
                                  "resid_post..3",
                                  "resid_post.x",
                                  "resid_post.3x",
                                  "resid_post.3.",
                                  "resid_post.-1",
                                  "resid_post.+3",
                                  "resid_post. 3",
                                  "resid_post.3.5",
                                  "resid_post.0x3",
                                  "resid_post.2147483648",
                                  "resid_post.99999999999999999999",
                                  "resid_post.{}",
                                  "hidden_states[-1]",
                                  "hidden_states[]",
                                  "hidden_states[3",
                                  "hidden_states[3]]",
                                  "hidden_states",
                                  "hidden_states[99999999999]",
                                  "layers",
                                  "layers.",
                                  "layers.-1",
                                  "model.layers.{}",
                                  "model",
                                  "model.",
                                  "resid_post_layer_",
                                  "resid_post_layer_-2",
                                  "resid_post,resid_pre",
                                  "blocks.-1.hook_resid_post"}) {
        for (const model::ModelConfig& config : {gemma, llama, neox})
            refused(bad, config, {"unknown site '" + bad + "'", "resid_post"});
    }
    refused(std::string("resid_post\0.3", 13), gemma, {"unknown site"});
    refused(std::string(100000, '.'), gemma, {"unknown site"});
    refused("resid_post." + std::string(100000, '9'), gemma, {"unknown site"});
}

BOOST_AUTO_TEST_CASE(lists) {
    const auto sites = [](const std::vector<CaptureRequest>& requests) {
        std::string text;
        for (const CaptureRequest& request : requests) {
            text += std::string(model::site_name(request.site)) + ":";
            for (const int layer : request.layers)
                text += " " + std::to_string(layer);
            text += ";";
        }
        return text;
    };
    const auto parsed = [&](const std::string& names, const std::vector<int>& layers) {
        return sites(parse_sites(names, layers, neox));
    };
    BOOST_TEST(parsed("resid_post", {}) == "resid_post: 0 1 2 3 4 5;");
    BOOST_TEST(parsed("resid_post", {4, 1}) == "resid_post: 1 4;");
    BOOST_TEST(parsed("resid_post.3", {}) == "resid_post: 3;");
    BOOST_TEST(parsed("resid_post.3", {1}) == "resid_post: 3;");  // the layer in the name rules
    // One request a site, in the order of the names; layers ascending; spellings mixed.
    BOOST_TEST(parsed("resid_post.3,z,layers.1,blocks.0.hook_resid_post,hidden_states[2]", {2, 5}) ==
               "resid_post: 0 1 3;z: 2 5;resid_pre: 2;");
    BOOST_TEST(parsed("final_norm,embedding,mlp_out", {1}) == "final_norm: 0;embedding: 0;mlp_out: 1;");
    BOOST_TEST(sites(parse_sites("resid_mid", {25}, gemma)) == "resid_mid: 25;");
    BOOST_TEST(parsed("resid_post , z", {0}) == "resid_post: 0;z: 0;");  // blanks around names do not count

    list_refused("", {}, neox, "no site");
    for (const std::string empty_name : {",", "resid_post,", ",resid_post", "resid_post,,z"})
        list_refused(empty_name, {0}, neox, "unknown site ''");
    list_refused("resid_post,resid_post", {}, neox, "named twice");
    list_refused("resid_post,resid_post.2", {}, neox, "layer 2 is named twice");
    list_refused("resid_post.2,layers.2", {}, neox, "layer 2 is named twice");
    list_refused("hidden_states[6],final_norm", {}, neox, "named twice");
    list_refused("resid_post", {1, 1}, neox, "named twice");
    list_refused("resid_post", {6}, neox, "layer 6");
    list_refused("resid_post", {-1}, neox, "layer -1");
    list_refused("resid_post,resid_mid", {}, neox, "no resid_mid");
    list_refused("resid_post.6", {}, neox, "layer 6");
    list_refused("resid_post,nonsense", {}, neox, "nonsense");
}

BOOST_AUTO_TEST_CASE(requests) {
    BOOST_CHECK_NO_THROW(model::check_capture_request({Site::resid_post, {2, 0}}, neox));
    BOOST_CHECK_NO_THROW(model::check_capture_request({Site::resid_post, {}}, neox));
    BOOST_CHECK_NO_THROW(model::check_capture_request({Site::embedding, {0}}, neox));
    for (const CaptureRequest& bad : {CaptureRequest{Site::resid_post, {6}},
                                      {Site::resid_post, {-1}},
                                      {Site::resid_post, {1, 1}},
                                      {Site::embedding, {1}},
                                      {Site::embedding, {-1}},
                                      {Site::final_norm, {5}},
                                      {Site::embedding, {0, 0}},
                                      {Site::resid_mid, {0}},
                                      {Site::resid_mid, {}}})
        BOOST_CHECK_THROW(model::check_capture_request(bad, neox), UsageError);
    BOOST_CHECK_NO_THROW(model::check_capture_request({Site::resid_mid, counted(26)}, gemma));
}

BOOST_AUTO_TEST_CASE(depth) {
    const auto depth = [](const std::vector<CaptureRequest>& requests) {
        const model::Depth found = model::depth_of(requests);
        return std::pair(found.blocks, found.final_norm);
    };
    BOOST_TEST((depth({}) == std::pair(0, false)));
    BOOST_TEST((depth({{Site::resid_post, {}}}) == std::pair(0, false)));
    BOOST_TEST((depth({{Site::final_norm, {}}}) == std::pair(0, false)));
    BOOST_TEST((depth({{Site::embedding, {0}}}) == std::pair(0, false)));
    for (const Site site :
         {Site::resid_pre, Site::resid_mid, Site::resid_post, Site::attn_out, Site::mlp_out, Site::z}) {
        BOOST_TEST((depth({{site, {0}}}) == std::pair(1, false)));
        BOOST_TEST((depth({{site, {4, 1}}}) == std::pair(5, false)));
    }
    BOOST_TEST((depth({{Site::z, {1}}, {Site::resid_pre, {3, 0}}, {Site::embedding, {0}}}) == std::pair(4, false)));
    BOOST_TEST(depth({{Site::final_norm, {0}}}).second);
    BOOST_TEST(depth({{Site::z, {1}}, {Site::final_norm, {0}}}).second);
}
