// A communicator with the few collectives that pva needs, each checked. "Collective" in a comment means: every rank of
// the communicator must call it, in the same order.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace pva::mpi {

class Communicator {
  public:
    /// Collective. A duplicate of `parent`, so that messages of different users never mix.
    explicit Communicator(MPI_Comm parent);
    Communicator(Communicator&& other) noexcept;
    Communicator& operator=(Communicator&& other) noexcept;
    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;
    /// Frees the duplicate unless MPI is finalised already or an exception unwinds.
    ~Communicator();

    int rank() const { return rank_; }
    int size() const { return size_; }
    MPI_Comm handle() const { return handle_; }

    /// Collective.
    void barrier() const;
    /// Collective.
    std::int64_t all_sum(std::int64_t value) const;
    /// Collective.
    std::int64_t all_max(std::int64_t value) const;
    /// Collective.
    std::int64_t all_min(std::int64_t value) const;
    /// Collective. Every rank gets root's text.
    std::string broadcast(const std::string& text, int root = 0) const;
    /// Collective. Text of every rank, in rank order, on every rank.
    std::vector<std::string> all_gather(const std::string& text) const;
    /// Collective. Bytes of every rank, in rank order, on rank 0; an empty vector elsewhere. Any size (sent in pieces).
    std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) const;
    /// Collective. Rank r gets send[r] into its receive[this rank]; what a rank sends to itself is copied. Both have one
    /// span a rank, and sizes that agree on both sides, which may be 0. Any size (sent in pieces).
    void exchange(std::span<const std::span<const std::byte>> send, std::span<const std::span<std::byte>> receive) const;
    /// Collective. The blocks of `whole`, rank r's from offsets[r] to offsets[r + 1], each written by its rank: afterwards
    /// every rank has all. offsets: [ranks + 1], the same on every rank.
    void share_blocks(std::span<std::byte> whole, std::span<const std::size_t> offsets) const;

  private:
    MPI_Comm handle_ = MPI_COMM_NULL;
    int rank_ = 0;
    int size_ = 1;
    int uncaught_ = 0;
};

/// Place of a rank among those on its host, independent of the launcher.
struct LocalPlace {
    int rank = 0;
    int size = 1;
};
/// Collective.
LocalPlace local_place(const Communicator& comm);

}  // namespace pva::mpi
