// Model folders and their hashes, rows that are refused, the KV cache's borders, depth of a pass, data types, devices.
#define BOOST_TEST_MODULE model
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "model_copy.h"
#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/model/kv_cache.h"
#include "pva/model/load.h"
#include "pva/model/reference_ops.h"
#include "pva/model/threads.h"

namespace fs = std::filesystem;
using namespace pva;
using model_copy::golden_folder;
using model_copy::ModelCopy;
using Rows = std::vector<std::vector<std::int32_t>>;

namespace {

const fs::path golden_model = golden_folder("odd_heads");

model::Model golden() {
    return model::load_model(golden_model.string());
}

template <class E = InputError>
auto mentions(const std::string& part) {
    return [part](const E& error) {
        const std::string message = error.what();
        BOOST_TEST(message.find(part) != std::string::npos, message);
        return true;
    };
}

void refused(const std::string& folder, const std::string& part) {
    BOOST_CHECK_EXCEPTION(model::load_model(folder), InputError, mentions(part));
}

// One thread: these models are tiny, and on a busy machine threads would mostly wait for one another.
struct OneThread {
    OneThread() { model::set_threads(1); }
};
BOOST_TEST_GLOBAL_FIXTURE(OneThread);

}  // namespace

BOOST_AUTO_TEST_SUITE(folders)

BOOST_AUTO_TEST_CASE(folder_with_everything) {
    const auto files = model::find_model_files(golden_model.string());
    BOOST_TEST(files.name == "odd_heads");
    BOOST_TEST(files.revision == "");
    BOOST_TEST(files.config == (golden_model / "config.json").string());
    BOOST_TEST(files.weights == (golden_model / "model.safetensors").string());
    BOOST_TEST(files.tokenizer == (golden_model / "tokenizer.model").string());
    BOOST_TEST(files.generation_config == "");
    BOOST_CHECK_NO_THROW(model::require_tokenizer(files));
    BOOST_TEST(model::load_config(files).num_hidden_layers == 3);
    BOOST_TEST(model::load_model(files).config().num_hidden_layers == 3);
}

BOOST_AUTO_TEST_CASE(names_of_folders) {
    BOOST_TEST(model::find_model_files(golden_model.string() + "/").name == "odd_heads");
    BOOST_TEST(model::find_model_files((golden_model / ".").string()).name == "odd_heads");
    BOOST_TEST(model::find_model_files((golden_model / "../odd_heads").string()).name == "odd_heads");
    const ModelCopy copy("odd_heads");
    const fs::path snapshot =
        copy.path / "models--google--gemma-2-2b/snapshots/0123456789abcdef0123456789abcdef01234567";
    fs::create_directories(snapshot);
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.model"})
        fs::copy_file(golden_model / name, snapshot / name);
    const auto files = model::find_model_files(snapshot.string());
    BOOST_TEST(files.name == "gemma-2-2b");
    BOOST_TEST(files.revision == "0123456789abcdef0123456789abcdef01234567");
}

BOOST_AUTO_TEST_CASE(missing_folder_and_files) {
    BOOST_CHECK_EXCEPTION(model::load_model(std::string("/nonexistent/model")), InputError,
                          mentions<InputError>("/nonexistent/model"));
    for (const std::string name : {"config.json", "model.safetensors"}) {
        const ModelCopy copy("odd_heads");
        fs::remove(copy.path / name);
        refused(copy.folder(), "has no " + name);
        refused(copy.folder(), copy.folder());
    }
    const ModelCopy sharded("odd_heads");
    fs::remove(sharded.path / "model.safetensors");
    sharded.write("model.safetensors.index.json", "{}");
    refused(sharded.folder(), "model.safetensors.index.json");
}

BOOST_AUTO_TEST_CASE(only_a_pickle) {
    for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
        const ModelCopy copy("odd_heads");
        fs::remove(copy.path / "model.safetensors");
        copy.write(name, "x");
        refused(copy.folder(), "safe_serialization=True");
    }
}

BOOST_AUTO_TEST_CASE(the_tokenizer_is_optional_and_json_comes_first) {
    const ModelCopy copy("odd_heads");
    copy.write("tokenizer.json", "{}");
    BOOST_TEST(model::find_model_files(copy.folder()).tokenizer == (copy.path / "tokenizer.json").string());
    fs::remove(copy.path / "tokenizer.json");
    BOOST_TEST(model::find_model_files(copy.folder()).tokenizer == (copy.path / "tokenizer.model").string());
    fs::remove(copy.path / "tokenizer.model");
    const auto files = model::find_model_files(copy.folder());
    BOOST_TEST(files.tokenizer == "");
    BOOST_CHECK_NO_THROW(model::load_model(files));
    BOOST_CHECK_EXCEPTION(model::require_tokenizer(files), InputError,
                          mentions("no tokenizer.json and no tokenizer.model"));
}

BOOST_AUTO_TEST_CASE(hashes_of_one_file) {
    const ModelCopy copy("odd_heads");
    const auto files = model::find_model_files(copy.folder());
    const auto hashes = model::hash_model_files(files);
    BOOST_TEST(hashes.config == sha256_file_hex(files.config));
    BOOST_TEST(hashes.weights == sha256_file_hex(files.weights));
    BOOST_TEST(hashes.weights.size() == 64u);
    BOOST_TEST(hashes.weights != hashes.config);
    copy.set("transformers_version", "9");
    BOOST_TEST(model::hash_model_files(files).config != hashes.config);
    BOOST_TEST(model::hash_model_files(files).weights == hashes.weights);
}

BOOST_AUTO_TEST_CASE(hashes_of_shards) {
    const ModelCopy copy("gemma2_attention_cap_sharded");
    const auto files = model::find_model_files(copy.folder());
    std::string lines;
    for (const std::string name : {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                   "model-00003-of-00003.safetensors", "model.safetensors.index.json"})
        lines += sha256_file_hex((copy.path / name).string()) + "  " + name + "\n";
    const std::string before = model::hash_model_files(files).weights;
    BOOST_TEST(before == sha256_hex(lines));
    // The last byte of a shard is a number of a tensor.
    const fs::path shard = copy.path / "model-00002-of-00003.safetensors";
    std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(-1, std::ios::end);
    const char last = static_cast<char>(file.get());
    file.seekp(-1, std::ios::end);
    file.put(static_cast<char>(last ^ 1));
    file.close();
    BOOST_TEST(model::hash_model_files(files).weights != before);
}

BOOST_AUTO_TEST_CASE(eos_of_the_generation_configuration_is_added) {
    using Ids = std::vector<std::int32_t>;
    const ModelCopy copy("odd_heads");
    const auto eos = [&] { return model::load_config(model::find_model_files(copy.folder())).eos_token_ids; };
    BOOST_TEST((eos() == Ids{1}));
    for (const auto& [text, expected] :
         std::vector<std::pair<std::string, Ids>>{{R"({"eos_token_id": 107})", {1, 107}},
                                                  {R"({"eos_token_id": [300, 1, 107, 107]})", {1, 107, 300}},
                                                  {R"({"eos_token_id": []})", {1}},
                                                  {R"({"eos_token_id": null})", {1}},
                                                  {R"({"do_sample": true})", {1}},
                                                  {"{}", {1}}}) {
        copy.write("generation_config.json", text);
        BOOST_TEST((eos() == expected), text);
        BOOST_TEST((copy.load().config().eos_token_ids == expected), text);
    }
    for (const std::string text :
         {R"({"eos_token_id": 384})", R"({"eos_token_id": -1})", R"({"eos_token_id": "1"})", R"({"eos_token_id": 1.0})",
          R"({"eos_token_id": [1, 384]})", R"({"eos_token_id": [[1]]})", R"({"eos_token_id": {}})",
          R"({"eos_token_id": 18446744073709551615})", R"({"eos_token_id": 9223372036854775808})",
          R"({"eos_token_id": NaN})", "{", ""}) {
        copy.write("generation_config.json", text);
        refused(copy.folder(), "generation_config.json");
    }
    copy.write("generation_config.json",
               "{\"eos_token_id\": " + std::string(500000, '[') + std::string(500000, ']') + "}");
    refused(copy.folder(), "generation_config.json");
    copy.write("generation_config.json", "{\"eos_token_id\": 384}");
    refused(copy.folder(), "384");
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(passes)

BOOST_AUTO_TEST_CASE(bad_rows) {
    const model::Model model = golden();
    BOOST_CHECK_EXCEPTION(model.forward(Rows{{2}, {}}), InputError, mentions("row 1"));
    BOOST_CHECK_EXCEPTION(model.forward(Rows{{2, 384}}), InputError, mentions("384"));
    BOOST_CHECK_EXCEPTION(model.forward(Rows{{2}, {2, 384}}), InputError, mentions("row 1"));
    BOOST_CHECK_EXCEPTION(model.forward(Rows{{2, -1}}), InputError, mentions("-1"));
    BOOST_CHECK_EXCEPTION(model.forward(Rows{std::vector<std::int32_t>(129, 5)}), InputError, mentions("at most 128"));
    BOOST_CHECK_THROW(model.forward(Rows{}), InternalError);
    BOOST_CHECK_NO_THROW(model.forward(Rows{std::vector<std::int32_t>(128, 5)}));
    BOOST_CHECK_NO_THROW(model.forward(Rows{{383, 0}}));
}

BOOST_AUTO_TEST_CASE(cache_borders) {
    const model::Model model = golden();
    const Rows rows = {{2, 7}, {2}};
    model::KvCache cache = model.make_cache(2, 3);
    BOOST_TEST(cache.slots.numel() * 4 == 2 * 3 * model::cache_bytes_per_token(model.config(), 4));
    const std::vector<std::int64_t> row0 = {0};
    const std::vector<std::int32_t> token = {9};
    BOOST_CHECK_THROW(model.decode_step(token, row0, cache), InternalError);  // not prefilled
    model.prefill(rows, cache);
    BOOST_TEST((cache.lengths == std::vector<std::int64_t>{2, 1}));
    BOOST_CHECK_THROW(model.prefill(rows, cache), InternalError);  // not empty any more
    model.decode_step(token, row0, cache);
    BOOST_TEST((cache.lengths == std::vector<std::int64_t>{3, 1}));
    BOOST_CHECK_THROW(model.decode_step(token, row0, cache), InternalError);  // full
    BOOST_CHECK_THROW(model.decode_step(token, std::vector<std::int64_t>{2}, cache), InternalError);
    BOOST_CHECK_THROW(model.decode_step(token, std::vector<std::int64_t>{-1}, cache), InternalError);
    BOOST_CHECK_THROW(model.decode_step(token, std::vector<std::int64_t>{0, 1}, cache), InternalError);
    BOOST_CHECK_THROW(model.decode_step({}, {}, cache), InternalError);
    BOOST_CHECK_THROW(model.decode_step(std::vector<std::int32_t>{384}, std::vector<std::int64_t>{1}, cache),
                      InputError);
    model::KvCache small = model.make_cache(2, 1);
    BOOST_CHECK_THROW(model.prefill(rows, small), InternalError);
    model::KvCache three = model.make_cache(3, 8);
    BOOST_CHECK_THROW(model.prefill(rows, three), InternalError);
}

// Rows leaving the batch and garbage in the slots behind a row's end must not reach the others.
BOOST_AUTO_TEST_CASE(decoding_ignores_what_lies_behind_a_row) {
    for (const char* name : {"odd_heads", "neox_serial", "llama_biases", "mistral_window", "qwen2_windowed"}) {
        const model::Model model = model::load_model(golden_folder(name).string());
        const Rows rows = {{2, 7, 11, 13, 17}, {2}};
        model::KvCache cache = model.make_cache(2, 8);
        model.prefill(rows, cache);
        cache.slots.select(2, 1).narrow(3, 1, 7).fill_(123.0F);  // row 1 has one token
        const std::vector<std::int64_t> both = {0, 1};
        const std::vector<std::int32_t> tokens = {19, 23};
        const at::Tensor logits = model.decode_step(tokens, both, cache);
        const at::Tensor expected = model.forward(Rows{{2, 23}}).select(0, 0).select(0, 1);
        BOOST_TEST((logits.select(0, 1) - expected).abs().max().item<float>() < 2e-5F, name);
    }
}

BOOST_AUTO_TEST_CASE(run_stops_after_the_depth) {
    const model::Model model = golden();
    const Rows rows = {{2, 7, 11}};
    const auto deepest = [&](const model::Depth& depth) {
        int blocks = 0;
        bool norm = false;
        model.run(rows, depth, [&](const model::SiteContext& context, at::Tensor&) {
            if (model::site_has_layers(context.site)) blocks = std::max(blocks, context.layer + 1);
            norm = norm || context.site == model::Site::final_norm;
        });
        return std::pair(blocks, norm);
    };
    for (const int blocks : {0, 1, 2, 3})
        BOOST_TEST((deepest({blocks, false}) == std::pair(blocks, false)));
    // The final norm needs them all.
    BOOST_TEST((deepest({0, true}) == std::pair(3, true)));
    BOOST_TEST((deepest({3, true}) == std::pair(3, true)));
    BOOST_CHECK_THROW(model.run(rows, {4, false}, {}), UsageError);
    BOOST_CHECK_THROW(model.run(rows, {-1, false}, {}), UsageError);
    BOOST_CHECK_THROW(model.run(Rows{{}}, {1, false}, {}), InputError);
    BOOST_CHECK_NO_THROW(model.run(rows, {2, false}, {}));
}

BOOST_AUTO_TEST_CASE(mask_of_a_window) {
    const at::Tensor positions = at::arange(5, at::kLong).unsqueeze(0);
    const auto visible = [&](std::int64_t window, at::ScalarType dtype) {
        const at::Tensor mask = model::attention_mask(positions, 5, window, dtype);
        BOOST_TEST((mask.scalar_type() == dtype));
        std::string text;
        for (std::int64_t i = 0; i < 5; ++i) {
            for (std::int64_t j = 0; j < 5; ++j)
                text += mask[0][0][i][j].item<double>() == 0 ? '1' : '.';
            text += '\n';
        }
        return text;
    };
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
        BOOST_TEST(visible(0, dtype) == "1....\n11...\n111..\n1111.\n11111\n");
        BOOST_TEST(visible(1, dtype) == "1....\n.1...\n..1..\n...1.\n....1\n");
        BOOST_TEST(visible(2, dtype) == "1....\n11...\n.11..\n..11.\n...11\n");
        BOOST_TEST(visible(4, dtype) == "1....\n11...\n111..\n1111.\n.1111\n");
        BOOST_TEST(visible(5, dtype) == visible(0, dtype));
    }
}

BOOST_AUTO_TEST_CASE(thread_count) {
    const int before = model::threads();
    model::set_threads(1);
    BOOST_TEST(model::threads() == 1);
    model::set_threads(before);
    BOOST_CHECK_THROW(model::set_threads(0), UsageError);
    BOOST_CHECK_THROW(model::set_threads(-1), UsageError);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(placement)

BOOST_AUTO_TEST_CASE(names_of_data_types) {
    using model::Dtype;
    BOOST_TEST((model::dtype_names() == std::vector<std::string>{"float32", "bfloat16", "float16", "float64"}));
    for (const auto& [dtype, bytes] :
         {std::pair{Dtype::float32, 4}, {Dtype::bfloat16, 2}, {Dtype::float16, 2}, {Dtype::float64, 8}}) {
        BOOST_TEST((model::dtype_from_name(model::dtype_name(dtype)) == dtype));
        BOOST_TEST(model::dtype_bytes(dtype) == bytes);
    }
    for (const std::string bad : {"", "float", "fp16", "Float32", "float32 ", "int8"})
        BOOST_CHECK_EXCEPTION(model::dtype_from_name(bad), UsageError,
                              mentions<UsageError>("float32, bfloat16, float16, float64"));
    BOOST_TEST(model::device_name(model::Device::cpu) == "cpu");
    BOOST_TEST(model::device_name(model::Device::cuda) == "cuda");
}

BOOST_AUTO_TEST_CASE(choice_of_a_device) {
    using model::Dtype;
    for (const char* device : {"auto", "cpu"}) {
        const auto placement = model::choose_placement(device, Dtype::bfloat16, -1);
        BOOST_TEST((placement.dtype == Dtype::bfloat16));
        BOOST_TEST((placement.device == model::Device::cpu));
        BOOST_TEST(placement.gpu == -1);
    }
    BOOST_TEST((model::choose_placement("cpu", Dtype::float32, 0).device == model::Device::cpu));
    BOOST_CHECK_EXCEPTION(model::choose_placement("cuda", Dtype::float32, -1), InputError, mentions("--device cuda"));
    for (const std::string bad : {"", "gpu", "CUDA", "cuda:0"})
        BOOST_CHECK_EXCEPTION(model::choose_placement(bad, Dtype::float32, -1), UsageError,
                              mentions<UsageError>("auto, cpu, cuda"));
    if (at::hasCUDA()) return;
    // A rank that was given a GPU, but a libtorch that has no CUDA part, or none that works here.
    for (const char* device : {"auto", "cuda"}) {
        try {
            BOOST_TEST((model::choose_placement(device, Dtype::float32, 0).device == model::Device::cuda));
        } catch (const InputError& error) {
            BOOST_TEST(std::string(error.what()).find("--device cpu") != std::string::npos, error.what());
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
