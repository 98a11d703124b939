// Memory check, sharing among the ranks of a node, loading.
#include "pva/phases/model_setup.h"

#include <algorithm>
#include <optional>
#include <string>

#include "pva/core/error.h"
#include "pva/model/out_of_memory.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/node_memory.h"

namespace pva::phases {

namespace {

// The weights of a node's ranks.
class NodeWeights : public model::WeightMemory {
  public:
    NodeWeights(const mpi::Communicator& comm, const mpi::NodeMemory& node, bool shared)
        : comm_(comm), node_(node), shared_(shared) {}

    int process() const override { return shared_ ? node_.rank() : 0; }
    int processes() const override { return shared_ ? node_.ranks() : 1; }

    std::shared_ptr<void> allocate(std::size_t bytes) override {
        return mpi::agreed(comm_, [&] {
            if (shared_) {
                if (std::shared_ptr<void> memory = node_.allocate(bytes)) return memory;
                shared_ = false;
            }
            return model::WeightMemory::allocate(bytes);
        });
    }

    void together(const std::function<void()>& work) override { mpi::agreed(comm_, work); }

    bool shared() const { return shared_; }

  private:
    const mpi::Communicator& comm_;
    const mpi::NodeMemory& node_;
    bool shared_;
};

std::string gibibytes(double bytes) { return fixed(bytes / (1024.0 * 1024.0 * 1024.0), bytes < 1e8 ? 3 : 2) + " GiB"; }

/// What a run needs of the memory that its ranks share: a node's, or a GPU's for its rank alone. The same on every rank.
struct Plan {
    bool share = false;      ///< one copy of the weights for the ranks of a node
    double wanted = 0;
    double available = 0;
    bool known = true;       ///< false: a GPU that does not say how much is free
    bool fits = true;        ///< on every node
    std::string line;
};

/// Collective.
Plan plan_memory(Context& context, const mpi::NodeMemory& node, const model::ModelFiles& files, const model::Placement& placement,
                 const PlacementOptions& options, const model::PassSize& size) {
    const mpi::Communicator& comm = context.comm;
    const model::MemoryNeed need = mpi::agreed(comm, [&] { return model::estimate_memory(files, placement, size); });
    const bool on_cpu = placement.device == model::Device::cpu;
    const double ranks = on_cpu ? static_cast<double>(node.ranks()) : 1.0;
    Plan plan;
    const std::optional<std::int64_t> free = on_cpu ? static_cast<std::int64_t>(mpi::available_memory()) : mpi::agreed(comm, [&] { return model::free_gpu_memory(placement); });
    plan.known = comm.all_min(free || options.memory_gb > 0 ? 1 : 0) == 1;
    double mine = free ? static_cast<double>(*free) : 1e18;
    if (options.memory_gb > 0) mine = std::min(mine, options.memory_gb * 1e9);
    plan.available = static_cast<double>(comm.all_min(static_cast<std::int64_t>(mine)));
    const auto weights = static_cast<double>(need.weights);
    const bool can_share = on_cpu && placement.engine == model::Engine::fast && node.ranks() > 1;
    const bool share = can_share && (options.share_weights == "yes" || (options.share_weights == "auto" && weights * ranks > plan.available / 8));
    plan.share = comm.all_max(share ? 1 : 0) == 1 && can_share;
    const double own = static_cast<double>(comm.all_max(need.cache)) + static_cast<double>(comm.all_max(need.pass));
    plan.wanted = (plan.share ? 1.0 : ranks) * weights + ranks * own;
    plan.fits = comm.all_min(!plan.known || plan.wanted <= plan.available ? 1 : 0) == 1;
    plan.line = "weights " + gibibytes(weights);
    if (on_cpu && node.ranks() > 1) plan.line += (plan.share ? " (one copy for the node's " : " for each of the node's ") + std::to_string(node.ranks()) + (plan.share ? " ranks)" : " ranks");
    plan.line += ", cache " + gibibytes(static_cast<double>(need.cache)) + " and passes " + gibibytes(static_cast<double>(need.pass)) + " a rank; " + gibibytes(plan.wanted) +
                 (on_cpu ? " a node, " : " a GPU, ") +
                 (!plan.known ? "what is free is not known" : gibibytes(plan.available) + (options.memory_gb > 0 ? " may be taken" : on_cpu ? " are free" : " are free on it"));
    return plan;
}

/// The largest batch size below `batch_size` that fits, 0 where none does. Collective.
std::int64_t largest_that_fits(std::int64_t batch_size, const std::function<bool(std::int64_t)>& fits) {
    std::int64_t low = 0;
    std::int64_t high = batch_size;
    while (high - low > 1) {
        const std::int64_t middle = low + (high - low) / 2;
        (fits(middle) ? low : high) = middle;
    }
    return low;
}

[[noreturn]] void refuse(const Plan& plan, const model::Placement& placement, std::int64_t fitting) {
    const bool on_cpu = placement.device == model::Device::cpu;
    std::string advice = ". Take ";
    if (fitting > 0) advice += "--batch-size " + std::to_string(fitting) + ", ";
    advice += placement.dtype == model::Dtype::bfloat16 ? "" : "--dtype bfloat16, ";
    if (on_cpu) advice += std::string("fewer ranks a node, ") + (plan.share ? "" : "--share-weights yes, ");
    throw model::OutOfMemory("the run does not fit this " + std::string(on_cpu ? "node" : "GPU") + ": " + plan.line + advice + "or a larger " + (on_cpu ? "machine" : "GPU"));
}

}  // namespace

std::int64_t fit_batch_size(Context& context, const model::ModelFiles& files, const model::Placement& placement, const PlacementOptions& options,
                            std::int64_t asked, const std::function<model::PassSize(std::int64_t)>& pass_of) {
    const std::int64_t wanted = asked > 0 ? asked : usual_batch_size;
    const mpi::NodeMemory node(context.comm);
    const auto plan_of = [&](std::int64_t batch_size) { return plan_memory(context, node, files, placement, options, pass_of(batch_size)); };
    const Plan plan = plan_of(wanted);
    if (plan.fits) return wanted;
    const std::int64_t fitting = largest_that_fits(wanted, [&](std::int64_t batch_size) { return plan_of(batch_size).fits; });
    // Where rows depend on the batch its size is never a matter of the machine.
    if (asked > 0 || fitting == 0 || placement.engine != model::Engine::fast) {
        mpi::agreed(context.comm, [&] { refuse(plan, placement, fitting); });
    }
    if (context.first_rank()) context.log.info("memory: " + std::to_string(fitting) + (fitting == 1 ? " row" : " rows") + " generated together instead of " + std::to_string(wanted) + ", as many as fit");
    return fitting;
}

std::function<void(int)> smaller_batches(Context& context, int& batch_rows) {
    return [&context, &batch_rows](int fewer) {
        batch_rows = fewer;
        context.log.warning("out of memory: this rank goes on with " + std::to_string(fewer) + (fewer == 1 ? " text" : " texts") + " at a time; the results are the same");
    };
}

model::Model load_model(Context& context, const model::ModelFiles& files, const model::Placement& placement,
                        const PlacementOptions& options, const model::PassSize& size, int threads) {
    const mpi::Communicator& comm = context.comm;
    const mpi::NodeMemory node(comm);
    const Plan plan = plan_memory(context, node, files, placement, options, size);
    if (context.first_rank()) context.log.info("memory: " + plan.line);
    mpi::agreed(comm, [&] {
        if (!plan.fits) refuse(plan, placement, 0);
    });
    NodeWeights memory(comm, node, plan.share);
    model::Model model = mpi::agreed(comm, [&] { return model::load_model(files, placement, memory, threads); });
    for (const std::string& warning : model.config().warnings) {
        if (context.first_rank()) context.log.warning(warning);
    }
    return model;
}

}  // namespace pva::phases
