// Everything one forward pass shows of one sequence, and how well it predicts the sequence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pva/model/model.h"
#include "pva/model/sites.h"

namespace pva::capture {

struct Trace {
    std::vector<float> logits;              ///< [T, vocab_size]
    std::vector<std::vector<float>> sites;  ///< of each request [layers, T, width]
};

/// Runs one sequence alone, so that the result depends on it only, and keeps all positions as float32. Errors: as
/// capture_rows; an empty list of requests is fine.
Trace trace_sequence(const model::Model& model, std::span<const std::int32_t> tokens,
                     std::span<const model::CaptureRequest> requests);

/// Negative natural logarithms of the probabilities of tokens 1 to T - 1, each given those before it, summed in float64.
/// logits: [T, vocab_size]. 0 for one token.
double summed_loss(std::span<const float> logits, std::span<const std::int32_t> tokens);

}  // namespace pva::capture
