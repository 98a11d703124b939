// Rows at sites of given token sequences, without generation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "pva/model/model.h"
#include "pva/model/sites.h"

namespace pva::capture {

/// The rows of one sequence at one site and layer, valid during the callback only.
struct CapturedRows {
    std::size_t sequence = 0;  ///< index into the sequences given
    model::Site site = model::Site::resid_post;
    int layer = 0;                           ///< block index; 0 for sites without layers
    std::span<const std::int64_t> positions;  ///< of the rows in the sequence, ascending; may be empty
    std::span<const float> rows;              ///< [positions, width], float32
};

using RowsCallback = std::function<void(const CapturedRows& captured)>;

/// Positions of a sequence that are wanted, ascending. `length` is its number of tokens.
using PositionChoice = std::function<std::vector<std::int64_t>(std::size_t sequence, std::size_t length)>;

struct CaptureSettings {
    int batch_rows = 8;        ///< sequences per forward pass, cut by index
    bool skip_bos = true;      ///< leave out position 0 where it holds the BOS token (an attention sink of huge norm)
    PositionChoice positions;  ///< empty: all
    /// Called when memory ended and the rest is read `batch_rows` sequences at a time; may be empty.
    std::function<void(int batch_rows)> on_smaller_batch = {};
};

/// Runs each sequence (token ids, usually with BOS) as deep as the requests need, once for all of them, and hands on the
/// rows: sequence by sequence, within one in the order of the requests and their layers. No logits are computed. The
/// result is a function of the sequences and settings at a fixed number of threads. Errors: InputError for an empty or
/// too long sequence or an unknown token id; UsageError for sites and layers that do not exist; OutOfMemory, but with the fast
/// engine, whose rows do not depend on one another, only when not even one sequence can be read at a time.
void capture_rows(const model::Model& model, std::span<const std::vector<std::int32_t>> sequences,
                  std::span<const model::CaptureRequest> requests, const CaptureSettings& settings,
                  const RowsCallback& callback);

}  // namespace pva::capture
