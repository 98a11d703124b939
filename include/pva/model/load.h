// A model folder in Hugging Face layout: which files it must hold, what the model is called, and loading it.
#pragma once

#include <string>

#include "pva/model/gemma2.h"

namespace pva::model {

/// The files of a model folder. `name` is the folder's last component as it enters the names of result files; for a
/// snapshot in a Hugging Face cache (models--google--gemma-2-2b/snapshots/...) it is the model's ("gemma-2-2b").
struct ModelFiles {
    std::string folder;
    std::string name;
    std::string config;     ///< config.json
    std::string weights;    ///< model.safetensors
    std::string tokenizer;  ///< tokenizer.model (SentencePiece)
};

/// Looks at the folder without reading the weights. Errors: InputError saying which of the three files is missing.
ModelFiles find_model_files(const std::string& folder);

/// SHA-256 of the two files that, with the prompt, decide every number; 64 hexadecimal digits each.
struct ModelHashes {
    std::string config;
    std::string weights;
};
/// Reads the whole weights file: about a second per gigabyte. Errors: InputError.
ModelHashes hash_model_files(const ModelFiles& files);

/// Reads configuration and weights. Errors: InputError naming file, field or tensor.
Gemma2 load_model(const ModelFiles& files);
/// The same with find_model_files before it.
Gemma2 load_model(const std::string& folder);

}  // namespace pva::model
