// A model folder in Hugging Face layout: which files it must hold, what the model is called, and loading it.
#pragma once

#include <string>
#include <vector>

#include "pva/model/model.h"
#include "pva/model/placement.h"
#include "pva/model/weight_memory.h"

namespace pva::model {

/// The files of a model. `name` enters the names of result files: the folder's last component, or the model's name in
/// a Hugging Face cache ("gemma-2-2b").
struct ModelFiles {
    std::string folder;
    std::string name;
    std::string revision;           ///< commit of a Hugging Face cache; empty for a plain folder
    std::string config;             ///< config.json
    std::string weights;            ///< model.safetensors or model.safetensors.index.json
    std::string tokenizer;          ///< tokenizer.json, else tokenizer.model; empty when there is neither
    std::string generation_config;  ///< generation_config.json; empty when there is none
    std::vector<std::string> notes;  ///< what the user should know about the choice of the folder, one line each
};

/// Looks at the folder, or for a name such as google/gemma-2-2b at the offline Hugging Face cache, without reading the
/// weights. Never uses the network. Errors: InputError saying which file is missing and how to get it.
ModelFiles find_model_files(const std::string& model);

/// Errors: InputError when the model has no tokenizer.
void require_tokenizer(const ModelFiles& files);

/// SHA-256 of the files that, with the prompt, decide every number; 64 hexadecimal digits each.
struct ModelHashes {
    std::string config;
    std::string weights;  ///< of the file; of several: of the lines "SHA-256  NAME" in the order of their names
};
/// Reads all weights: about a second per gigabyte. Errors: InputError.
ModelHashes hash_model_files(const ModelFiles& files);

/// The configuration with the ids that end a generation from generation_config.json added to those of config.json, as
/// chat models need it. Errors: InputError naming file and field.
ModelConfig load_config(const ModelFiles& files);

/// Reads configuration and weights. With the fast forward pass the weights lie in `memory`, which processes can share;
/// every process that shares it calls this. Errors: InputError naming file, field or tensor.
///
/// The model computes with `threads` threads; 0: with as many as the tensor library has. Those of the tensor library are set
/// to this number too, but to one where the fast forward pass, which has a pool of its own, is given a number: they would
/// wait busily beside it and take processors from it.
Model load_model(const ModelFiles& files, const Placement& placement, WeightMemory& memory, int threads = 0);
/// The same with weights in memory of this process alone.
Model load_model(const ModelFiles& files, const Placement& placement = {}, int threads = 0);
/// The same with find_model_files before it.
Model load_model(const std::string& model, const Placement& placement = {});

}  // namespace pva::model
