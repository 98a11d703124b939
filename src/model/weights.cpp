// Loading Gemma-2 weights from a safetensors file.
#include "pva/model/weights.h"

#include <cstring>
#include <set>
#include <string>

#include "pva/core/error.h"

namespace pva::model {

namespace {

std::string shape_text(at::IntArrayRef shape) {
    std::string text = "[";
    for (std::size_t i = 0; i < shape.size(); ++i)
        text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
}

// Takes tensors by name and remembers which it took, so that what is left over can be named.
class TensorReader {
  public:
    explicit TensorReader(const io::SafetensorsFile& file) : file_(file) {}

    at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape) {
        if (!file_.contains(name)) {
            refuse("tensor '" + name + "' " + shape_text(shape) +
                   " is missing. The file is incomplete or of another model.");
        }
        const io::TensorEntry& entry = file_.entry(name);
        if (entry.shape != shape) {
            refuse("tensor '" + name + "' has the shape " + shape_text(entry.shape) + ", config.json asks for " +
                   shape_text(shape) + ". Take config.json and weights of the same model.");
        }
        at::ScalarType type = at::kFloat;
        if (entry.dtype == "F16") {
            type = at::kHalf;
        } else if (entry.dtype == "BF16") {
            type = at::kBFloat16;
        } else if (entry.dtype != "F32") {
            refuse("tensor '" + name + "' has the dtype " + entry.dtype +
                   "; F32, F16 and BF16 are read. Convert the weights.");
        }
        taken_.insert(name);
        // Copied, not viewed: a tensor in the file need not be aligned, and results must not depend on where it lies.
        at::Tensor stored = at::empty(shape, at::TensorOptions().dtype(type));
        const auto bytes = file_.bytes(name);
        std::memcpy(stored.data_ptr(), bytes.data(), bytes.size());
        at::Tensor values = stored.to(at::kFloat);
        const auto [low, high] = at::aminmax(values);
        if (!std::isfinite(low.item<float>()) || !std::isfinite(high.item<float>())) {
            refuse("tensor '" + name +
                   "' holds values that are not finite. The weights are damaged; fetch them again.");
        }
        return values;
    }

    void check_all_taken() const {
        std::string unknown;
        std::size_t count = 0;
        for (const std::string& name : file_.names()) {
            if (taken_.contains(name)) continue;
            if (count < 5) unknown += (count > 0 ? ", '" : "'") + name + "'";
            ++count;
        }
        if (count == 0) return;
        if (count > 5) unknown += " and " + std::to_string(count - 5) + " more";
        refuse("unknown tensors " + unknown +
               ". Leaving them out could change the result; take the weights of a plain Gemma-2 model.");
    }

    bool contains(const std::string& name) const { return file_.contains(name); }

    [[noreturn]] void refuse(const std::string& reason) const {
        throw InputError("model weights " + file_.path() + ": " + reason);
    }

  private:
    const io::SafetensorsFile& file_;
    std::set<std::string> taken_;
};

}  // namespace

Gemma2Weights load_gemma2_weights(const Gemma2Config& config, const io::SafetensorsFile& file) {
    const std::int64_t d = config.hidden_size;
    const std::int64_t query_width = config.num_attention_heads * config.head_dim;
    const std::int64_t key_width = config.num_key_value_heads * config.head_dim;
    const std::int64_t ff = config.intermediate_size;

    TensorReader reader(file);
    Gemma2Weights weights;
    weights.embed_tokens = reader.take("model.embed_tokens.weight", {config.vocab_size, d});
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
        const std::string prefix = "model.layers." + std::to_string(i) + ".";
        Gemma2LayerWeights layer;
        layer.input_layernorm = reader.take(prefix + "input_layernorm.weight", {d});
        layer.q_proj = reader.take(prefix + "self_attn.q_proj.weight", {query_width, d});
        layer.k_proj = reader.take(prefix + "self_attn.k_proj.weight", {key_width, d});
        layer.v_proj = reader.take(prefix + "self_attn.v_proj.weight", {key_width, d});
        layer.o_proj = reader.take(prefix + "self_attn.o_proj.weight", {d, query_width});
        layer.post_attention_layernorm = reader.take(prefix + "post_attention_layernorm.weight", {d});
        layer.pre_feedforward_layernorm = reader.take(prefix + "pre_feedforward_layernorm.weight", {d});
        layer.gate_proj = reader.take(prefix + "mlp.gate_proj.weight", {ff, d});
        layer.up_proj = reader.take(prefix + "mlp.up_proj.weight", {ff, d});
        layer.down_proj = reader.take(prefix + "mlp.down_proj.weight", {d, ff});
        layer.post_feedforward_layernorm = reader.take(prefix + "post_feedforward_layernorm.weight", {d});
        weights.layers.push_back(std::move(layer));
    }
    weights.norm = reader.take("model.norm.weight", {d});
    if (reader.contains("lm_head.weight")) {
        const at::Tensor head = reader.take("lm_head.weight", {config.vocab_size, d});
        if (!at::equal(head, weights.embed_tokens)) {
            reader.refuse(
                "tensor 'lm_head.weight' differs from 'model.embed_tokens.weight', but Gemma-2 ties them. "
                "Untied output weights are not implemented.");
        }
    }
    reader.check_all_taken();
    return weights;
}

}  // namespace pva::model
