// Longest-processing-time-first dealing.
#include "pva/mpi/share.h"

#include <algorithm>
#include <numeric>

#include "pva/core/error.h"

namespace pva::mpi {

std::vector<std::vector<std::int64_t>> share_by_cost(std::span<const double> costs, int n_ranks) {
    if (n_ranks < 1) throw InternalError("share_by_cost: no ranks");
    std::vector<std::int64_t> order(costs.size());
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return costs[static_cast<std::size_t>(a)] > costs[static_cast<std::size_t>(b)];
    });
    std::vector<std::vector<std::int64_t>> shares(static_cast<std::size_t>(n_ranks));
    std::vector<double> load(static_cast<std::size_t>(n_ranks), 0.0);
    for (const std::int64_t unit : order) {
        const auto least = static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
        shares[least].push_back(unit);
        load[least] += costs[static_cast<std::size_t>(unit)];
    }
    return shares;
}

Block contiguous_block(std::int64_t n, int n_ranks, int rank) {
    const std::int64_t base = n / n_ranks;
    const std::int64_t extra = n % n_ranks;
    const std::int64_t first = rank * base + std::min<std::int64_t>(rank, extra);
    return {first, first + base + (rank < extra ? 1 : 0)};
}

}  // namespace pva::mpi
