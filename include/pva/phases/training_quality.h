// How good SAEs in training are on text and prompts that they are not trained on.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include "pva/kernels/thread_pool.h"
#include "pva/model/model.h"
#include "pva/mpi/communicator.h"
#include "pva/phases/training_rows.h"
#include "pva/sae/quality.h"

namespace pva::phases {

/// An SAE as it would be written now.
struct MeasuredSae {
    sae::Sae sae;
    std::size_t place = 0;
};

struct SaeQuality {
    sae::Quality all;           ///< every measured position of text
    sae::Quality first;         ///< the first 8 positions after position 0
    sae::Quality rest;
    sae::Quality last_prompt;   ///< NaN without prompts
    double clean_loss = 0;      ///< nats a predicted token; NaN where there is none
    double spliced_loss = 0;
    double ablated_loss = 0;
    double loss_recovered = 0;  ///< (ablated - spliced) / (ablated - clean); NaN for sites that are not residual
};

/// Measures on the first `sequences` held-out sequences (0: all), losses on the first `loss_sequences` of them. Sequences are
/// shared among ranks and their sums added in their order, so nothing depends on the number of ranks.
class QualityMeasure {
  public:
    QualityMeasure(const mpi::Communicator& comm, const model::Model& model, const TrainingText& text, std::span<const TrainingPlace> places, std::size_t loss_sequences)
        : comm_(comm), model_(model), text_(text), places_(places), loss_sequences_(loss_sequences) {}

    /// Collective. One result an SAE, the same on every rank. Errors (AgreedError): as encode and capture.
    std::vector<SaeQuality> measure(std::span<const MeasuredSae> saes, std::size_t sequences, const kernels::ThreadPool& pool);

  private:
    double loss_of(std::size_t sequence, std::optional<std::size_t> place, const sae::Sae* sae, const kernels::ThreadPool& pool) const;

    const mpi::Communicator& comm_;
    const model::Model& model_;
    const TrainingText& text_;
    std::span<const TrainingPlace> places_;
    std::size_t loss_sequences_;
    std::vector<double> clean_;                  ///< losses of this rank's sequences, once known
    std::vector<std::vector<double>> ablated_;   ///< of each place
};

nlohmann::ordered_json to_json(const SaeQuality& quality);

}  // namespace pva::phases
