// One optimizer step of one SAE on all ranks.
//
// The batch's micro-batches are dealt to ranks in blocks. Gradients are summed along one binary tree over the micro-batches,
// whoever computed them, so a step has the same bits on any number of ranks. Every rank owns a block of latents: it gets
// their summed gradients, updates them, and shares the new values; moments exist once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pva/kernels/thread_pool.h"
#include "pva/mpi/communicator.h"
#include "pva/train/gradients.h"
#include "pva/train/state.h"

namespace pva::phases {

/// First latent of each rank, and at the end the number of latents: [ranks + 1].
std::vector<std::size_t> latent_offsets(std::size_t latents, int ranks);

/// Gradient sums that are not in use, so that memory is taken once.
class GradientStore {
  public:
    GradientStore(std::size_t latents, std::size_t d) : latents_(latents), d_(d) {}
    std::unique_ptr<train::Gradients> take();
    void give_back(std::unique_ptr<train::Gradients> gradients) { free_.push_back(std::move(gradients)); }

  private:
    std::size_t latents_;
    std::size_t d_;
    std::vector<std::unique_ptr<train::Gradients>> free_;
};

/// Collective. `rows`: this rank's micro-batches, one after another, unit rows. Returns the sums of the whole batch, the
/// same on every rank. Errors (AgreedError): as Packed::add_gradients.
train::StepSums training_step(const mpi::Communicator& comm, train::SaeState& state, std::span<const float> rows, GradientStore& store, const kernels::ThreadPool& pool);

}  // namespace pva::phases
