// A copy of a model that can no longer write one direction into its residual stream.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "pva/model/load.h"

namespace pva::model {

/// What was changed, for the log and the result.
struct Orthogonalization {
    std::vector<std::string> tensors;     ///< that were changed
    double largest_product = 0;           ///< largest |d^T W| over the columns of all of them as stored, d being the direction of each
    double frobenius_change = 0;          ///< root of the sum of all squared changes
    double relative_change = 0;           ///< the same over the root of the sum of all squared numbers before
    bool untied = false;                  ///< the unembedding was kept as it was and stands on its own now
};

/// Writes config.json and model.safetensors of a model whose embedding rows, attention output matrices and MLP output matrices
/// (and their biases) have no part along `direction` [hidden_size]: W - d (d^T W), in float64, stored as float32 (Arditi et
/// al. 2024, section 4). Where a norm with gain g stands between a matrix and the stream (Gemma-2's 1 + g), what the matrix
/// has to avoid is (1 + g) * d, renormalized: then the norm's output has no part along d. Where unembedding and embedding
/// are one matrix, the unembedding keeps its old numbers as a matrix of its own, so that only what writes to the stream
/// changes; with `keep_tied` the one matrix is changed. All other tensors keep their bytes. The result names the files of
/// `files` otherwise (tokenizer, generation settings).
/// Errors: UsageError for a direction of another width or of length 0; InputError as load_config, and for a tensor that is missing; IoError.
Orthogonalization write_orthogonalized_model(const ModelFiles& files, std::span<const float> direction, const std::string& folder, bool keep_tied = false);

/// The files of that copy, the rest as in `files`.
ModelFiles orthogonalized_files(const ModelFiles& files, const std::string& folder);

}  // namespace pva::model
