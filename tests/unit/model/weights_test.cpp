// Weights: every tensor accounted for, read exactly, refused by name when it does not fit.
#include <boost/test/unit_test.hpp>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "model_copy.h"
#include "pva/core/error.h"
#include "pva/model/load.h"
#include "pva/model/weights.h"

namespace fs = std::filesystem;
using namespace pva;
using model_copy::ModelCopy;
using model_copy::StoredTensor;
using model_copy::StoredTensors;
using Rows = std::vector<std::vector<std::int32_t>>;

namespace {

const Rows rows = {{2, 5, 9, 11, 3, 4, 60}, {2}};

void refused(const ModelCopy& copy, const std::string& part, const model::Placement& placement = {}) {
    BOOST_CHECK_EXCEPTION(copy.load(placement), InputError, [&](const InputError& error) {
        const std::string message = error.what();
        BOOST_TEST_CONTEXT(message) {
            BOOST_TEST(message.find(part) != std::string::npos, part);
            BOOST_TEST(message.find(copy.folder()) != std::string::npos);
        }
        return true;
    });
}

void refused_weights(const std::string& name, const StoredTensors& tensors, const std::string& part,
                     const model::Placement& placement = {}) {
    const ModelCopy copy(name);
    copy.set_tensors(tensors);
    refused(copy, part, placement);
}

StoredTensor of(const at::Tensor& values, const std::string& dtype) {
    return {dtype, values.sizes().vec(),
            std::string(static_cast<const char*>(values.const_data_ptr()), values.nbytes())};
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
           std::memcmp(a.contiguous().const_data_ptr(), b.contiguous().const_data_ptr(), a.nbytes()) == 0;
}

const std::vector<std::string> one_of_each = {"odd_heads", "neox_serial", "llama_biases", "mistral_window",
                                              "qwen2_windowed"};

}  // namespace

BOOST_AUTO_TEST_SUITE(weights)

BOOST_AUTO_TEST_CASE(written_again_they_are_the_same) {
    for (const std::string& name : one_of_each) {
        const ModelCopy copy(name);
        const at::Tensor before = copy.load().forward(rows);
        copy.set_tensors(copy.tensors());
        BOOST_TEST(same_bits(copy.load().forward(rows), before), name);
    }
}

BOOST_AUTO_TEST_CASE(shards_equal_one_file) {
    for (const std::string name : {"gemma2_attention_cap_sharded", "neox_tied_sharded", "llama3_gqa_v4"}) {
        const ModelCopy copy(name);
        BOOST_TEST(fs::exists(copy.path / "model.safetensors.index.json"));
        const model::Model sharded = copy.load();
        copy.set_tensors(copy.tensors());
        BOOST_TEST(!fs::exists(copy.path / "model.safetensors.index.json"));
        const model::Model single = copy.load();
        BOOST_TEST(same_bits(sharded.forward(rows), single.forward(rows)), name);
        BOOST_TEST(sharded.parameters() == single.parameters());
        BOOST_TEST(sharded.weight_bytes() == single.weight_bytes());
    }
}

BOOST_AUTO_TEST_CASE(a_missing_shard_and_a_wrong_sum) {
    const ModelCopy copy("llama3_gqa_v4");
    nlohmann::json index;
    {
        std::ifstream file(copy.path / "model.safetensors.index.json");
        index = nlohmann::json::parse(file);
    }
    const std::size_t before = copy.load().config().warnings.size();
    index["metadata"]["total_size"] = 17;
    copy.write("model.safetensors.index.json", index.dump());
    BOOST_TEST(copy.load().config().warnings.size() == before + 1);
    fs::remove(copy.path / "model-00002-of-00003.safetensors");
    refused(copy, "model-00002-of-00003.safetensors");
}

BOOST_AUTO_TEST_CASE(cut_short) {
    const ModelCopy copy("odd_heads");
    fs::resize_file(copy.path / "model.safetensors", fs::file_size(copy.path / "model.safetensors") / 2);
    refused(copy, "cut short");
}

BOOST_AUTO_TEST_CASE(every_tensor_is_needed) {
    for (const std::string& name : one_of_each) {
        const ModelCopy copy(name);
        const StoredTensors all = copy.tensors();
        BOOST_TEST(all.size() > 10u);
        for (const auto& [missing, tensor] : all) {
            StoredTensors tensors = all;
            tensors.erase(missing);
            copy.set_tensors(tensors);
            refused(copy, "'" + missing + "'");
        }
    }
}

BOOST_AUTO_TEST_CASE(missing_unknown_misshapen) {
    const StoredTensors all = ModelCopy("odd_heads").tensors();
    const std::string name = "model.layers.1.mlp.up_proj.weight";
    StoredTensors tensors = all;
    tensors.erase(name);
    refused_weights("odd_heads", tensors, name + "' [100, 48] is missing");

    tensors = all;
    tensors["model.layers.3.mlp.up_proj.weight"] = tensors[name];
    refused_weights("odd_heads", tensors, "unknown tensors 'model.layers.3.mlp.up_proj.weight'");
    for (int i = 0; i < 7; ++i)
        tensors["stray." + std::to_string(i)] = tensors[name];
    refused_weights("odd_heads", tensors, "'stray.3' and 3 more");

    tensors = all;
    std::swap(tensors[name].shape[0], tensors[name].shape[1]);
    refused_weights("odd_heads", tensors, name);
    refused_weights("odd_heads", tensors, "[48, 100]");
    tensors[name].shape = {4800};
    refused_weights("odd_heads", tensors, "[4800]");

    for (const std::string dtype : {"I32", "U32"}) {
        tensors = all;
        tensors[name].dtype = dtype;
        refused_weights("odd_heads", tensors, dtype);
    }
    tensors = all;
    tensors[name].dtype = "F64";
    tensors[name].bytes += tensors[name].bytes;
    refused_weights("odd_heads", tensors, "F64");
}

// A layer less in config.json leaves tensors over, one more misses some.
BOOST_AUTO_TEST_CASE(another_number_of_layers) {
    for (const std::string name : {"neox_serial", "mistral_window"}) {
        const ModelCopy copy(name);
        copy.set("num_hidden_layers", 2);
        refused(copy, "unknown tensors");
        copy.set("num_hidden_layers", 4);
        refused(copy, "layers.3.");
    }
}

BOOST_AUTO_TEST_CASE(values_that_are_not_finite) {
    const ModelCopy copy("odd_heads");
    const StoredTensors all = copy.tensors();
    const std::string name = "model.layers.1.mlp.up_proj.weight";
    const auto with_value = [&](at::ScalarType type, const std::string& dtype, std::int64_t at_index, float value) {
        at::Tensor values = at::linspace(-1, 1, 4800).to(type);
        values[at_index].fill_(value);
        StoredTensors tensors = all;
        tensors[name] = of(values.view({100, 48}), dtype);
        copy.set_tensors(tensors);
    };
    const float infinity = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const auto& [type, dtype] : {std::pair{at::kFloat, "F32"}, {at::kHalf, "F16"}, {at::kBFloat16, "BF16"}}) {
        for (const std::int64_t index : {0, 10, 2403, 4799}) {
            for (const float bad : {infinity, -infinity, nan, -nan}) {
                with_value(type, dtype, index, bad);
                refused(copy, "'" + name + "' holds values that are not finite");
            }
        }
        with_value(type, dtype, 7, 3.0F);
        BOOST_CHECK_NO_THROW(copy.load());
    }
}

BOOST_AUTO_TEST_CASE(values_too_large_for_float16) {
    const ModelCopy copy("odd_heads");
    StoredTensors tensors = copy.tensors();
    const std::string name = "model.layers.1.input_layernorm.weight";
    for (const float large : {70000.0F, -70000.0F}) {
        std::memcpy(tensors[name].bytes.data() + 12, &large, 4);
        copy.set_tensors(tensors);
        refused(copy, "'" + name + "' holds values that float16 cannot hold",
                {model::Dtype::float16, model::Device::cpu, -1});
        for (const model::Dtype dtype : {model::Dtype::float32, model::Dtype::bfloat16, model::Dtype::float64})
            BOOST_CHECK_NO_THROW(copy.load({dtype, model::Device::cpu, -1}));
    }
    const float largest = 65504.0F;
    std::memcpy(tensors[name].bytes.data() + 12, &largest, 4);
    copy.set_tensors(tensors);
    BOOST_CHECK_NO_THROW(copy.load({model::Dtype::float16, model::Device::cpu, -1}));
    const float beyond = 3.4e38F;  // the largest bfloat16 is 3.39e38
    std::memcpy(tensors[name].bytes.data() + 12, &beyond, 4);
    copy.set_tensors(tensors);
    refused(copy, "bfloat16 cannot hold", {model::Dtype::bfloat16, model::Device::cpu, -1});
}

BOOST_AUTO_TEST_CASE(stored_numbers_are_read_exactly) {
    const ModelCopy copy("odd_heads");
    for (const auto& [type, dtype] : {std::pair{at::kHalf, "F16"}, {at::kBFloat16, "BF16"}, {at::kFloat, "F32"}}) {
        StoredTensors tensors = copy.tensors();
        const at::Tensor values = at::linspace(-2, 2, 48).to(type);
        tensors["model.norm.weight"] = of(values, dtype);
        copy.set_tensors(tensors);
        const io::SafetensorsSet files((copy.path / "model.safetensors").string());
        for (const model::Dtype wanted : {model::Dtype::float32, model::Dtype::float64}) {
            model::WeightReader reader(files, {wanted, model::Device::cpu, -1});
            const at::Tensor norm = reader.take("model.norm.weight", {48});
            BOOST_TEST((norm.scalar_type() == model::scalar_type(wanted)));
            BOOST_TEST(at::equal(norm, values.to(model::scalar_type(wanted))));
            BOOST_TEST(reader.parameters() == 48);
            BOOST_TEST(reader.bytes() == 48 * model::dtype_bytes(wanted));
            BOOST_CHECK_THROW(reader.check_all_taken(), InputError);
        }
        model::WeightReader half(files, {model::Dtype::bfloat16, model::Device::cpu, -1});
        BOOST_TEST(at::equal(half.take("model.norm.weight", {48}), values.to(at::kBFloat16)));
        BOOST_TEST(!half.take_if(false, "model.norm.weight", {48}).defined());
    }
}

BOOST_AUTO_TEST_CASE(tied_and_untied) {
    // Tied: a stored output matrix has to be the embedding, and counts once.
    const ModelCopy tied("odd_heads");
    StoredTensors tensors = tied.tensors();
    const model::Model without = tied.load();
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"];
    tied.set_tensors(tensors);
    const model::Model with = tied.load();
    BOOST_TEST(same_bits(with.forward(rows), without.forward(rows)));
    BOOST_TEST(with.parameters() == without.parameters());
    BOOST_TEST(with.weight_bytes() == without.weight_bytes());
    tensors["lm_head.weight"].bytes[3] ^= 1;
    tied.set_tensors(tensors);
    refused(tied, "'lm_head.weight' differs from the embedding");
    // The same file of a model that says it is untied is right.
    tied.set("tie_word_embeddings", false);
    BOOST_TEST(tied.load().parameters() == without.parameters() + 384 * 48);
    BOOST_TEST(!same_bits(tied.load().forward(rows), without.forward(rows)));
    tensors["lm_head.weight"].shape = {383, 48};
    tensors["lm_head.weight"].bytes.resize(383 * 48 * 4);
    tied.set_tensors(tensors);
    refused(tied, "[383, 48]");

    for (const auto& [name, head] :
         {std::pair<std::string, std::string>{"neox_serial", "embed_out.weight"}, {"llama_biases", "lm_head.weight"}}) {
        const ModelCopy untied(name);
        StoredTensors all = untied.tensors();
        BOOST_TEST(all.contains(head));
        const model::Model before = untied.load();
        all.erase(head);
        untied.set_tensors(all);
        refused(untied, "'" + head + "'");
        refused(untied, "tie_word_embeddings");
        untied.set("tie_word_embeddings", true);
        const std::int64_t matrix = before.config().vocab_size * before.config().hidden_size;
        BOOST_TEST(untied.load().parameters() == before.parameters() - matrix);
    }
    // GPT-NeoX of transformers 5 may call it lm_head; both at once are one too many.
    const ModelCopy neox("neox_serial");
    StoredTensors all = neox.tensors();
    const at::Tensor before = neox.load().forward(rows);
    all["lm_head.weight"] = all["embed_out.weight"];
    neox.set_tensors(all);
    refused(neox, "unknown tensors 'lm_head.weight'");
    all.erase("embed_out.weight");
    neox.set_tensors(all);
    BOOST_TEST(same_bits(neox.load().forward(rows), before));
}

BOOST_AUTO_TEST_CASE(buffers_of_old_files_are_left_aside) {
    const auto with = [](const std::string& name, const std::vector<std::pair<std::string, StoredTensor>>& buffers) {
        const ModelCopy copy(name);
        const model::Model before = copy.load();
        StoredTensors tensors = copy.tensors();
        for (const auto& [buffer, tensor] : buffers) {
            BOOST_TEST(!tensors.contains(buffer));
            tensors[buffer] = tensor;
        }
        copy.set_tensors(tensors);
        const model::Model after = copy.load();
        BOOST_TEST(same_bits(after.forward(rows), before.forward(rows)));
        BOOST_TEST(after.parameters() == before.parameters());
    };
    const StoredTensor mask = of(at::ones({1, 1, 4, 4}, at::kBool), "BOOL");
    const StoredTensor bytes = of(at::ones({1, 1, 4, 4}, at::kByte), "U8");
    const StoredTensor number = of(at::full({}, -1e9), "F32");
    const StoredTensor frequencies = of(at::ones({6}), "F32");
    with("neox_serial", {{"gpt_neox.layers.0.attention.bias", mask},
                         {"gpt_neox.layers.1.attention.bias", bytes},
                         {"gpt_neox.layers.0.attention.masked_bias", number},
                         {"gpt_neox.layers.2.attention.rotary_emb.inv_freq", frequencies}});
    with("llama2_mha", {{"model.layers.0.self_attn.rotary_emb.inv_freq", frequencies},
                        {"model.layers.2.self_attn.rotary_emb.inv_freq", frequencies}});
    // But not of a layer that is not there, and not under another name.
    const ModelCopy copy("llama2_mha");
    const StoredTensors all = copy.tensors();
    for (const std::string stray : {"model.layers.3.self_attn.rotary_emb.inv_freq", "model.layers.0.self_attn.inv_freq",
                                    "model.layers.0.self_attn.q_proj.bias"}) {
        StoredTensors tensors = all;
        tensors[stray] = frequencies;
        copy.set_tensors(tensors);
        refused(copy, "'" + stray + "'");
    }
}

BOOST_AUTO_TEST_CASE(parameters_and_bytes_are_counted) {
    for (const std::string& name : one_of_each) {
        const ModelCopy copy(name);
        std::int64_t numbers = 0;
        for (const auto& [tensor, stored] : copy.tensors())
            numbers += static_cast<std::int64_t>(stored.bytes.size() / (stored.dtype == "F32" ? 4 : 2));
        for (const model::Dtype dtype :
             {model::Dtype::float32, model::Dtype::bfloat16, model::Dtype::float16, model::Dtype::float64}) {
            const model::Model loaded = copy.load({dtype, model::Device::cpu, -1});
            BOOST_TEST(loaded.parameters() == numbers);
            BOOST_TEST(loaded.weight_bytes() == numbers * model::dtype_bytes(dtype));
            BOOST_TEST((loaded.placement().dtype == dtype));
            BOOST_TEST((loaded.forward(rows).scalar_type() == model::scalar_type(dtype)));
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
