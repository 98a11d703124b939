// A direction taken out of the weights: against the formula on every tensor, and by what the model then writes.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <cstring>

#include <ATen/ATen.h>

#include "model_copy.h"
#include "pva/core/error.h"
#include "pva/model/orthogonalize.h"

using namespace pva;
using model_copy::ModelCopy;
using model_copy::StoredTensor;

namespace {

at::Tensor values(const StoredTensor& tensor) {
    const at::ScalarType type = tensor.dtype == "F32" ? at::kFloat : tensor.dtype == "BF16" ? at::kBFloat16 : at::kHalf;
    at::Tensor stored = at::empty(tensor.shape, at::TensorOptions().dtype(type));
    std::memcpy(stored.data_ptr(), tensor.bytes.data(), tensor.bytes.size());
    return stored.to(at::kDouble);
}

std::vector<float> some_direction(std::int64_t width) {
    std::vector<float> direction;
    for (std::int64_t i = 0; i < width; ++i)
        direction.push_back(0.3F * static_cast<float>((i * 7) % 11) - 1.0F);
    return direction;
}

// Largest part of the values at `site` along d.
double largest_part(const model::Model& model, model::Site wanted, const at::Tensor& d) {
    double largest = 0;
    model.forward(std::vector<std::vector<std::int32_t>>{{2, 7, 11, 30, 5, 6}, {2, 9}}, [&](const model::SiteContext& context, at::Tensor& shown) {
        if (context.site != wanted) return;
        for (std::size_t b = 0; b < context.rows.size(); ++b) {
            const at::Tensor rows = shown[static_cast<std::int64_t>(b)].narrow(0, 0, context.valid_tokens[b]).to(at::kDouble);
            largest = std::max(largest, at::matmul(rows, d).abs().max().item<double>());
        }
    });
    return largest;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(orthogonalize)

BOOST_AUTO_TEST_CASE(nothing_writes_along_the_direction_any_more) {
    for (const std::string name : {"odd_heads", "bf16_uncapped", "gemma2_final_cap", "llama_biases", "llama3_tied_v5", "neox_pythia", "neox_tied_sharded", "qwen2_unused_window"}) {
        BOOST_TEST_CONTEXT(name) {
            const ModelCopy original(name);
            const ModelCopy changed(name);
            const model::ModelFiles files = model::find_model_files(original.folder());
            const model::ModelConfig config = model::load_config(files);
            const std::vector<float> direction = some_direction(config.hidden_size);
            at::Tensor d = at::tensor(at::ArrayRef<float>(direction)).to(at::kDouble);
            d = d / d.norm();
            const model::Orthogonalization report = model::write_orthogonalized_model(files, direction, changed.folder());
            BOOST_TEST(report.largest_product < 1e-6);
            BOOST_TEST(report.relative_change > 0);
            BOOST_TEST(report.untied == config.tie_word_embeddings);
            const auto before = original.tensors();
            const model_copy::StoredTensors after = [&] {
                std::filesystem::remove(changed.path / "model.safetensors.index.json");
                return changed.tensors();
            }();
            // By the formula, in float64, tensor by tensor.
            const bool gemma = original.config().at("model_type") == "gemma2";
            std::size_t found = 0;
            for (const auto& [tensor, stored] : before) {
                const bool embedding = tensor.find("embed_tokens") != std::string::npos || tensor.find("embed_in") != std::string::npos;
                const bool attention = tensor.find("o_proj") != std::string::npos || tensor.find("attention.dense.") != std::string::npos;
                const bool mlp = tensor.find("down_proj") != std::string::npos || tensor.find("dense_4h_to_h") != std::string::npos;
                if (!embedding && !attention && !mlp) {
                    BOOST_TEST((!after.contains(tensor) || (after.at(tensor).bytes == stored.bytes && after.at(tensor).dtype == stored.dtype)));
                    continue;
                }
                ++found;
                at::Tensor avoided = d;
                if (gemma && !embedding) {
                    const std::string prefix = tensor.substr(0, tensor.find(attention ? "self_attn" : "mlp"));
                    const at::Tensor gain = values(before.at(prefix + (attention ? "post_attention_layernorm" : "post_feedforward_layernorm") + ".weight"));
                    avoided = d * (1 + gain);
                    avoided = avoided / avoided.norm();
                }
                const at::Tensor w = values(stored);
                const at::Tensor expected = embedding ? w - at::outer(at::matmul(w, avoided), avoided) : w.dim() == 1 ? w - avoided * at::dot(avoided, w) : w - at::outer(avoided, at::matmul(avoided, w));
                BOOST_TEST((values(after.at(tensor)) - expected).abs().max().item<double>() < 1e-6);
            }
            BOOST_TEST(found == report.tensors.size());
            // And in the running model: no site of the stream has a part along it (Gemma's norms included), which it had before.
            const model::Model model = model::load_model(model::orthogonalized_files(files, changed.folder()));
            const model::Model plain = original.load();
            for (const model::Site site : {model::Site::embedding, model::Site::attn_out, model::Site::mlp_out, model::Site::resid_post}) {
                BOOST_TEST(largest_part(plain, site, d) > 1e-3);
                BOOST_TEST(largest_part(model, site, d) < 1e-4);
            }
            if (!config.tie_word_embeddings) continue;
            // The unembedding is the old embedding; kept tied, it is the new one.
            BOOST_TEST(!model.config().tie_word_embeddings);
            const std::string embedding = gemma || before.contains("model.embed_tokens.weight") ? "model.embed_tokens.weight" : "gpt_neox.embed_in.weight";
            const std::string unembedding = after.contains("lm_head.weight") ? "lm_head.weight" : "embed_out.weight";
            BOOST_TEST((after.at(unembedding).bytes == before.at(embedding).bytes));
            model::write_orthogonalized_model(files, direction, changed.folder(), /*keep_tied=*/true);
            BOOST_TEST(!changed.tensors().contains(unembedding));
            BOOST_TEST(model::load_model(model::orthogonalized_files(files, changed.folder())).config().tie_word_embeddings);
        }
    }
}

BOOST_AUTO_TEST_CASE(directions_that_are_none_are_refused) {
    const ModelCopy copy("odd_heads");
    const model::ModelFiles files = model::find_model_files(copy.folder());
    BOOST_CHECK_THROW(model::write_orthogonalized_model(files, std::vector<float>{1, 2}, copy.folder() + "/x"), UsageError);
    const auto width = static_cast<std::size_t>(model::load_config(files).hidden_size);
    BOOST_CHECK_THROW(model::write_orthogonalized_model(files, std::vector<float>(width, 0.0F), copy.folder() + "/x"), UsageError);
}

BOOST_AUTO_TEST_SUITE_END()
