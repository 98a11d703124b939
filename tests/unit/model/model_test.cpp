// Model folders, weights that are refused, sites, the KV cache's borders and interventions.
#define BOOST_TEST_MODULE model
#include <boost/test/unit_test.hpp>

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "pva/core/error.h"
#include "pva/io/safetensors.h"
#include "pva/model/gemma2.h"
#include "pva/model/kv_cache.h"
#include "pva/model/load.h"
#include "pva/model/reference_ops.h"
#include "pva/model/threads.h"
#include "pva/model/weights.h"

namespace fs = std::filesystem;
using namespace pva;

namespace {

const fs::path golden_model = fs::path(PVA_SOURCE_DIR) / "tests/golden/gemma2/odd_heads";

struct StoredTensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
};
using StoredTensors = std::map<std::string, StoredTensor>;

StoredTensors golden_tensors() {
    const io::SafetensorsFile file((golden_model / "model.safetensors").string());
    StoredTensors tensors;
    for (const auto& name : file.names()) {
        const auto bytes = file.bytes(name);
        tensors[name] = {file.entry(name).dtype, file.entry(name).shape,
                         std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
    }
    return tensors;
}

void write_safetensors(const fs::path& path, const StoredTensors& tensors) {
    nlohmann::json header = nlohmann::json::object();
    std::string data;
    for (const auto& [name, tensor] : tensors) {
        header[name] = {{"dtype", tensor.dtype},
                        {"shape", tensor.shape},
                        {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
        data += tensor.bytes;
    }
    const std::string text = header.dump();
    std::ofstream file(path, std::ios::binary);
    for (int i = 0; i < 8; ++i)
        file.put(static_cast<char>(text.size() >> (8 * i) & 0xFF));
    file << text << data;
}

// A folder of its own for every test, removed with it.
struct TemporaryFolder {
    fs::path path;
    TemporaryFolder() : path(fs::temp_directory_path() / ("pva_model_" + std::to_string(::getpid()))) {
        fs::remove_all(path);
        fs::create_directories(path);
    }
    ~TemporaryFolder() { fs::remove_all(path); }
};

struct CopiedModel : TemporaryFolder {
    CopiedModel() {
        for (const char* name : {"config.json", "model.safetensors", "tokenizer.model"})
            fs::copy_file(golden_model / name, path / name);
    }
};

void refused(const std::string& folder, const std::string& part) {
    BOOST_CHECK_EXCEPTION(model::load_model(folder), InputError, [&](const InputError& error) {
        const std::string message = error.what();
        BOOST_TEST_CONTEXT(message) {
            BOOST_TEST(message.find(part) != std::string::npos);
        }
        return true;
    });
}

void refused_weights(const StoredTensors& tensors, const std::string& part) {
    const CopiedModel copy;
    write_safetensors(copy.path / "model.safetensors", tensors);
    refused(copy.path.string(), part);
}

model::Gemma2 golden() {
    return model::load_model(golden_model.string());
}

// One thread: these models are tiny, and on a busy machine threads would mostly wait for one another.
struct OneThread {
    OneThread() { model::set_threads(1); }
};
BOOST_TEST_GLOBAL_FIXTURE(OneThread);

}  // namespace

BOOST_AUTO_TEST_CASE(folder_with_everything) {
    const auto files = model::find_model_files(golden_model.string());
    BOOST_TEST(files.name == "odd_heads");
    BOOST_TEST(files.tokenizer == (golden_model / "tokenizer.model").string());
    const auto hashes = model::hash_model_files(files);
    BOOST_TEST(hashes.config.size() == 64u);
    BOOST_TEST(hashes.weights.size() == 64u);
    BOOST_TEST(hashes.weights != hashes.config);
    BOOST_TEST(model::load_model(files).config().num_hidden_layers == 3);
}

BOOST_AUTO_TEST_CASE(names_of_folders) {
    BOOST_TEST(model::find_model_files(golden_model.string() + "/").name == "odd_heads");
    BOOST_TEST(model::find_model_files((golden_model / ".").string()).name == "odd_heads");
    BOOST_TEST(model::find_model_files((golden_model / "../odd_heads").string()).name == "odd_heads");
    const CopiedModel copy;
    const fs::path snapshot =
        copy.path / "models--google--gemma-2-2b/snapshots/0123456789abcdef0123456789abcdef01234567";
    fs::create_directories(snapshot);
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.model"})
        fs::copy_file(golden_model / name, snapshot / name);
    BOOST_TEST(model::find_model_files(snapshot.string()).name == "gemma-2-2b");
}

BOOST_AUTO_TEST_CASE(missing_folder_and_files) {
    refused("/nonexistent/model", "/nonexistent/model");
    for (const std::string name : {"config.json", "model.safetensors", "tokenizer.model"}) {
        const CopiedModel copy;
        fs::remove(copy.path / name);
        refused(copy.path.string(), "has no " + name);
    }
    const CopiedModel sharded;
    fs::remove(sharded.path / "model.safetensors");
    std::ofstream(sharded.path / "model.safetensors.index.json") << "{}";
    refused(sharded.path.string(), "several files");
}

BOOST_AUTO_TEST_CASE(weights_written_again_are_the_same) {
    const CopiedModel copy;
    write_safetensors(copy.path / "model.safetensors", golden_tensors());
    const std::vector<std::vector<std::int32_t>> rows = {{2, 5, 9}};
    BOOST_TEST(at::equal(model::load_model(copy.path.string()).forward(rows), golden().forward(rows)));
}

BOOST_AUTO_TEST_CASE(truncated_weights) {
    const CopiedModel copy;
    fs::resize_file(copy.path / "model.safetensors", fs::file_size(copy.path / "model.safetensors") / 2);
    refused(copy.path.string(), "cut short");
}

BOOST_AUTO_TEST_CASE(tensors_missing_unknown_misshapen) {
    const std::string name = "model.layers.1.mlp.up_proj.weight";
    StoredTensors tensors = golden_tensors();
    tensors.erase(name);
    refused_weights(tensors, name);

    tensors = golden_tensors();
    tensors["model.layers.3.mlp.up_proj.weight"] = tensors[name];
    refused_weights(tensors, "model.layers.3.mlp.up_proj.weight");

    tensors = golden_tensors();
    std::swap(tensors[name].shape[0], tensors[name].shape[1]);
    refused_weights(tensors, name);
    refused_weights(tensors, "[48, 100]");

    tensors = golden_tensors();
    tensors[name].dtype = "I32";
    refused_weights(tensors, "I32");

    tensors = golden_tensors();
    const float infinity = std::numeric_limits<float>::infinity();
    std::memcpy(tensors[name].bytes.data() + 40, &infinity, 4);
    refused_weights(tensors, "not finite");
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(tensors[name].bytes.data() + 40, &nan, 4);
    refused_weights(tensors, "not finite");
}

BOOST_AUTO_TEST_CASE(output_weights_must_be_the_embedding) {
    StoredTensors tensors = golden_tensors();
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"];
    {
        const CopiedModel copy;
        write_safetensors(copy.path / "model.safetensors", tensors);
        BOOST_CHECK_NO_THROW(model::load_model(copy.path.string()));
    }
    tensors["lm_head.weight"].bytes[3] ^= 1;
    refused_weights(tensors, "lm_head.weight");
}

BOOST_AUTO_TEST_CASE(half_precision_is_read_exactly) {
    const auto config = model::load_gemma2_config((golden_model / "config.json").string());
    for (const auto& [dtype, type] : {std::pair{"F16", at::kHalf}, std::pair{"BF16", at::kBFloat16}}) {
        StoredTensors tensors = golden_tensors();
        StoredTensor& norm = tensors["model.norm.weight"];
        const at::Tensor values = at::linspace(-2, 2, 48).to(type);
        norm.dtype = dtype;
        norm.bytes.assign(static_cast<const char*>(values.data_ptr()), 96);
        const CopiedModel copy;
        write_safetensors(copy.path / "model.safetensors", tensors);
        const auto weights =
            model::load_gemma2_weights(config, io::SafetensorsFile((copy.path / "model.safetensors").string()));
        BOOST_TEST((weights.norm.scalar_type() == at::kFloat));
        BOOST_TEST(at::equal(weights.norm, values.to(at::kFloat)));
    }
}

BOOST_AUTO_TEST_CASE(bad_rows) {
    const model::Gemma2 gemma = golden();
    const auto mentions = [](const std::string& part) {
        return [part](const InputError& error) { return std::string(error.what()).find(part) != std::string::npos; };
    };
    using Rows = std::vector<std::vector<std::int32_t>>;
    BOOST_CHECK_EXCEPTION(gemma.forward(Rows{{2}, {}}), InputError, mentions("row 1"));
    BOOST_CHECK_EXCEPTION(gemma.forward(Rows{{2, 384}}), InputError, mentions("384"));
    BOOST_CHECK_EXCEPTION(gemma.forward(Rows{{2, -1}}), InputError, mentions("-1"));
    BOOST_CHECK_EXCEPTION(gemma.forward(Rows{std::vector<std::int32_t>(129, 5)}), InputError, mentions("at most 128"));
    BOOST_CHECK_NO_THROW(gemma.forward(Rows{std::vector<std::int32_t>(128, 5)}));
}

BOOST_AUTO_TEST_CASE(cache_borders) {
    const model::Gemma2 gemma = golden();
    const std::vector<std::vector<std::int32_t>> rows = {{2, 7}, {2}};
    model::KvCache cache = model::make_kv_cache(gemma.config(), 2, 3);
    const std::vector<std::int64_t> row0 = {0};
    const std::vector<std::int32_t> token = {9};
    BOOST_CHECK_THROW(gemma.decode_step(token, row0, cache), InternalError);  // not prefilled
    gemma.prefill(rows, cache);
    BOOST_TEST((cache.lengths == std::vector<std::int64_t>{2, 1}));
    BOOST_CHECK_THROW(gemma.prefill(rows, cache), InternalError);  // not empty any more
    gemma.decode_step(token, row0, cache);
    BOOST_TEST((cache.lengths == std::vector<std::int64_t>{3, 1}));
    BOOST_CHECK_THROW(gemma.decode_step(token, row0, cache), InternalError);  // full
    BOOST_CHECK_THROW(gemma.decode_step(token, std::vector<std::int64_t>{2}, cache), InternalError);
    model::KvCache small = model::make_kv_cache(gemma.config(), 2, 1);
    BOOST_CHECK_THROW(gemma.prefill(rows, small), InternalError);
}

// Rows leaving the batch and garbage in the slots behind a row's end must not reach the others.
BOOST_AUTO_TEST_CASE(decoding_ignores_what_lies_behind_a_row) {
    const model::Gemma2 gemma = golden();
    const std::vector<std::vector<std::int32_t>> rows = {{2, 7, 11, 13, 17}, {2}};
    model::KvCache cache = model::make_kv_cache(gemma.config(), 2, 8);
    gemma.prefill(rows, cache);
    cache.slots.select(2, 1).narrow(3, 1, 7).fill_(123.0F);  // row 1 has one token
    const std::vector<std::int64_t> both = {0, 1};
    const std::vector<std::int32_t> tokens = {19, 23};
    const at::Tensor logits = gemma.decode_step(tokens, both, cache);
    const at::Tensor expected =
        gemma.forward(std::vector<std::vector<std::int32_t>>{{2, 23}}).select(0, 0).select(0, 1);
    BOOST_TEST((logits.select(0, 1) - expected).abs().max().item<float>() < 2e-5F);
}

BOOST_AUTO_TEST_CASE(a_hook_may_change_the_stream) {
    const model::Gemma2 gemma = golden();
    const std::vector<std::vector<std::int32_t>> rows = {{2, 7, 11}, {2, 5}};
    const at::Tensor untouched = gemma.forward(rows);
    int calls = 0;
    const auto change_row_one = [&](const model::SiteContext& context, at::Tensor& stream) {
        ++calls;
        if (context.site != model::Site::resid_pre || context.layer != 1) return;
        BOOST_TEST(context.rows.size() == 2u);
        BOOST_TEST(context.valid_tokens[1] == 2);
        at::Tensor changed = stream.clone();
        changed.select(0, 1).add_(1.0F);
        stream = changed;
    };
    const at::Tensor touched = gemma.forward(rows, change_row_one);
    BOOST_TEST(calls == 6);
    BOOST_TEST(at::equal(touched.select(0, 0), untouched.select(0, 0)));
    BOOST_TEST(
        (touched.select(0, 1).narrow(0, 0, 2) - untouched.select(0, 1).narrow(0, 0, 2)).abs().max().item<float>() >
        0.01F);
}

BOOST_AUTO_TEST_CASE(run_blocks_stops_after_the_layer) {
    const model::Gemma2 gemma = golden();
    const std::vector<std::vector<std::int32_t>> rows = {{2, 7, 11}};
    int deepest = -1;
    gemma.run_blocks(
        rows, 1, [&](const model::SiteContext& context, at::Tensor&) { deepest = std::max(deepest, context.layer); });
    BOOST_TEST(deepest == 1);
    BOOST_CHECK_THROW(gemma.run_blocks(rows, 3, {}), UsageError);
    BOOST_CHECK_THROW(gemma.run_blocks(rows, -1, {}), UsageError);
}

BOOST_AUTO_TEST_CASE(site_names_and_requests) {
    BOOST_TEST((model::site_from_name("resid_pre") == model::Site::resid_pre));
    BOOST_TEST((model::site_from_name("resid_post") == model::Site::resid_post));
    BOOST_TEST(model::site_name(model::Site::resid_post) == "resid_post");
    BOOST_CHECK_THROW(model::site_from_name("resid_mid"), UsageError);
    BOOST_CHECK_NO_THROW(model::check_capture_request({model::Site::resid_post, {2, 0}}, 3));
    BOOST_CHECK_THROW(model::check_capture_request({model::Site::resid_post, {3}}, 3), UsageError);
    BOOST_CHECK_THROW(model::check_capture_request({model::Site::resid_post, {-1}}, 3), UsageError);
    BOOST_CHECK_THROW(model::check_capture_request({model::Site::resid_post, {1, 1}}, 3), UsageError);
}

BOOST_AUTO_TEST_CASE(mask_of_a_window) {
    const at::Tensor positions = at::arange(5, at::kLong).unsqueeze(0);
    const auto visible = [&](model::AttentionKind kind) {
        const at::Tensor mask = model::attention_mask(positions, 5, kind, 2);
        std::string text;
        for (std::int64_t i = 0; i < 5; ++i) {
            for (std::int64_t j = 0; j < 5; ++j)
                text += mask[0][0][i][j].item<float>() == 0 ? '1' : '.';
            text += '\n';
        }
        return text;
    };
    BOOST_TEST(visible(model::AttentionKind::full) == "1....\n11...\n111..\n1111.\n11111\n");
    BOOST_TEST(visible(model::AttentionKind::sliding) == "1....\n11...\n.11..\n..11.\n...11\n");
}

BOOST_AUTO_TEST_CASE(thread_count) {
    const int before = model::threads();
    model::set_threads(1);
    BOOST_TEST(model::threads() == 1);
    model::set_threads(before);
    BOOST_CHECK_THROW(model::set_threads(0), UsageError);
}
