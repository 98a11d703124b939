// Residual-stream rows of given texts, without generation: general text for SAE statistics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "pva/model/gemma2.h"
#include "pva/model/sites.h"

namespace pva::capture {

/// The rows of one sequence at one layer, valid during the callback only.
struct CapturedRows {
    std::size_t sequence = 0;        ///< index into the sequences given
    int layer = 0;                   ///< block index
    std::size_t first_position = 0;  ///< position of the first row in the sequence
    std::span<const float> rows;     ///< [positions, d_model], float32; may be empty
};

using RowsCallback = std::function<void(const CapturedRows& captured)>;

struct CaptureSettings {
    int batch_rows = 8;    ///< sequences per forward pass, cut by index
    bool skip_bos = true;  ///< leave out position 0 where it holds the BOS token (an attention sink of huge norm)
};

/// Runs each sequence (token ids, usually with BOS) up to the deepest layer asked for and hands on the rows at the
/// site: sequence by sequence, within one in the order of request.layers. No logits are computed. The result is a
/// function of the sequences and settings at a fixed number of threads. Errors: InputError for an empty or too long
/// sequence or an unknown token id; UsageError for layers that do not exist.
void capture_rows(const model::Gemma2& model, std::span<const std::vector<std::int32_t>> sequences,
                  const model::CaptureRequest& request, const CaptureSettings& settings, const RowsCallback& callback);

}  // namespace pva::capture
