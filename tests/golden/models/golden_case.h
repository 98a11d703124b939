// A model with what Hugging Face transformers computes on it: golden.safetensors of tests/reference/model, read whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "../../unit/scratch.h"
#include "pva/io/safetensors.h"
#include "pva/model/load.h"
#include "pva/model/sites.h"

namespace golden {

struct Sequence {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> positions;
    std::vector<std::int32_t> greedy;
    std::vector<float> greedy_gap;  ///< best logit minus the second best, a step; empty in files without it
    std::vector<float> logits;      ///< [positions, vocab]
    std::vector<float> bf16_logits;
    std::vector<float> bf16_resid_post;
    std::map<pva::model::Site, std::vector<float>> sites;  ///< [layers, positions, width]; [positions, width] without layers
};

struct Case {
    std::string name;
    std::string family;
    std::filesystem::path folder;
    std::vector<Sequence> sequences;

    pva::model::Model load(const pva::model::Placement& placement = {}) const {
        return pva::model::load_model(folder.string(), placement);
    }
    std::vector<std::vector<std::int32_t>> rows() const;
};

/// Every model of tests/golden/models and tests/golden/gemma2, and the demo model where it is there.
std::vector<Case> all_cases();
Case case_of(const std::string& name);

/// A value that is not finite counts as infinitely far away, so that no maximum hides it. Logits above 10 count
/// relatively: the difference is divided by |golden| / 10 there.
double largest_logit_difference(std::span<const float> ours, std::span<const float> golden);

/// Norm of the difference over the norm of the golden row.
double row_difference(std::span<const float> ours, std::span<const float> golden);

/// Row [slot, position] of a tensor [slots, T, width] as float32 on CPU.
std::vector<float> row_of(const at::Tensor& values, std::size_t slot, std::int64_t position);

/// Largest difference of logits [rows, T, vocab] at the golden positions of every sequence of the case.
double logit_difference(const Case& one, const at::Tensor& logits);

/// A copy of a case's model whose files can be changed, removed at the end.
class Altered {
  public:
    explicit Altered(const Case& original);

    /// Replaces a field of config.json; `json` is the value's text, empty removes the field.
    void set_config(const std::string& field, const std::string& json);
    std::string config_field(const std::string& field) const;
    /// Changes the float32 values of a tensor, wherever its file is. Errors: fails the test for another stored type.
    void change_tensor(const std::string& name,
                       const std::function<void(std::span<float> values, const std::vector<std::int64_t>& shape)>& change);
    std::vector<std::string> tensor_names() const;
    void swap_tensors(const std::string& a, const std::string& b);

    pva::model::Model load() const { return pva::model::load_model(folder_.path); }

  private:
    Scratch folder_;
};

}  // namespace golden
