// Rows for the training of SAEs: the model's forward pass, the shuffle buffer, and every rank's part of every batch.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "pva/model/model.h"
#include "pva/model/sites.h"
#include "pva/mpi/communicator.h"
#include "pva/mpi/share.h"
#include "pva/phases/training_text.h"
#include "pva/train/contexts.h"

namespace pva::phases {

/// A place of the model whose rows SAEs are trained on.
struct TrainingPlace {
    model::Site site = model::Site::resid_post;
    int layer = 0;
    std::size_t width = 0;
    double scale = 1;  ///< 1 / mean norm of the sample's rows: what makes them unit rows
};

/// One request a site, layers ascending, for all places.
std::vector<model::CaptureRequest> requests_of(std::span<const TrainingPlace> places);

/// Rows of the sequences at all places: of each place [rows, width], sequence after sequence, positions as `positions` says.
std::vector<std::vector<float>> rows_of_sequences(const model::Model& model, std::span<const std::vector<std::int32_t>> sequences, std::span<const TrainingPlace> places,
                                                  const std::function<std::vector<std::int64_t>(std::span<const std::int32_t>)>& positions);

/// Every rank makes the rows of its share of the sequences and sends them to the ranks whose micro-batches they fall into.
class RowStream {
  public:
    /// Collective. Computes the last prompt rows, once. All arguments must outlive this object.
    RowStream(const mpi::Communicator& comm, const model::Model& model, const TrainingText& text, std::span<const TrainingPlace> places, const train::StreamSettings& settings, std::int64_t micro_batches);

    /// Collective. The rows of the first sequences of the stream, for scales and first values: of each place [rows, width],
    /// the same on every rank.
    std::vector<std::vector<float>> sample(std::size_t sequences) const;

    std::int64_t steps() const { return settings_.steps; }
    double epochs() const { return train::epochs(settings_, rows_of_); }

    /// Collective. This rank's rows of a step, of a place: its micro-batches one after another, unit rows. Fills the buffer
    /// when the step is not in it. Valid until the next filling.
    std::span<const float> rows(std::int64_t step, std::size_t place);

  private:
    void fill(std::size_t index);

    const mpi::Communicator& comm_;
    const model::Model& model_;
    const TrainingText& text_;
    std::span<const TrainingPlace> places_;
    train::StreamSettings settings_;
    std::int64_t micro_batches_;
    std::vector<std::uint32_t> rows_of_;
    std::vector<train::Filling> fillings_;
    std::vector<std::vector<float>> prompt_rows_;  ///< of each place, of this rank's block of the prompts
    std::vector<std::vector<float>> buffer_;       ///< of each place [steps of the filling, own rows of a step, width]
    std::size_t filled_ = static_cast<std::size_t>(-1);
};

}  // namespace pva::phases
