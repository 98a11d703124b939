// Dealing units of known cost to ranks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pva::mpi {

/// Longest first, each to the rank with the least so far (ties: lower unit, lower rank). Every rank computes the same.
/// Result: the units of each rank, most expensive first. Ranks without work get an empty list.
std::vector<std::vector<std::int64_t>> share_by_cost(std::span<const double> costs, int n_ranks);

/// Contiguous block [first, last) of rank `rank` when n items are cut into n_ranks nearly equal blocks.
struct Block {
    std::int64_t first = 0;
    std::int64_t last = 0;
};
Block contiguous_block(std::int64_t n, int n_ranks, int rank);

}  // namespace pva::mpi
