// Checked collectives.
#include "pva/mpi/communicator.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "pva/core/error.h"
#include "pva/mpi/check.h"

namespace pva::mpi {
namespace {
constexpr std::size_t piece_bytes = std::size_t{256} << 20;  // counts of MPI calls are ints
constexpr int gather_tag = 11;
constexpr int exchange_tag = 12;
}  // namespace

Communicator::Communicator(MPI_Comm parent) : uncaught_(std::uncaught_exceptions()) {
    PVA_MPI(MPI_Comm_dup(parent, &handle_));
    PVA_MPI(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN));
    PVA_MPI(MPI_Comm_rank(handle_, &rank_));
    PVA_MPI(MPI_Comm_size(handle_, &size_));
}

Communicator::Communicator(Communicator&& other) noexcept
    : handle_(std::exchange(other.handle_, MPI_COMM_NULL)), rank_(other.rank_), size_(other.size_), uncaught_(other.uncaught_) {}

Communicator& Communicator::operator=(Communicator&& other) noexcept {
    std::swap(handle_, other.handle_);
    rank_ = other.rank_;
    size_ = other.size_;
    uncaught_ = other.uncaught_;
    return *this;
}

Communicator::~Communicator() {
    if (handle_ == MPI_COMM_NULL || std::uncaught_exceptions() > uncaught_) return;  // freeing is collective: it could hang
    int finalized = 0;
    if (MPI_Finalized(&finalized) == MPI_SUCCESS && finalized == 0) MPI_Comm_free(&handle_);
}

void Communicator::barrier() const { PVA_MPI(MPI_Barrier(handle_)); }

std::int64_t Communicator::all_sum(std::int64_t value) const {
    std::int64_t result = 0;
    PVA_MPI(MPI_Allreduce(&value, &result, 1, MPI_INT64_T, MPI_SUM, handle_));
    return result;
}

std::int64_t Communicator::all_max(std::int64_t value) const {
    std::int64_t result = 0;
    PVA_MPI(MPI_Allreduce(&value, &result, 1, MPI_INT64_T, MPI_MAX, handle_));
    return result;
}

std::int64_t Communicator::all_min(std::int64_t value) const {
    std::int64_t result = 0;
    PVA_MPI(MPI_Allreduce(&value, &result, 1, MPI_INT64_T, MPI_MIN, handle_));
    return result;
}

std::string Communicator::broadcast(const std::string& text, int root) const {
    std::uint64_t size = text.size();
    PVA_MPI(MPI_Bcast(&size, 1, MPI_UINT64_T, root, handle_));
    std::string result = rank_ == root ? text : std::string(size, '\0');
    for (std::size_t at = 0; at < size; at += piece_bytes) {
        const std::size_t count = std::min<std::size_t>(piece_bytes, size - at);
        PVA_MPI(MPI_Bcast(result.data() + at, static_cast<int>(count), MPI_CHAR, root, handle_));
    }
    return result;
}

std::vector<std::string> Communicator::all_gather(const std::string& text) const {
    if (text.size() > piece_bytes) throw InternalError("Communicator::all_gather is meant for short texts");
    const int size = static_cast<int>(text.size());
    std::vector<int> sizes(static_cast<std::size_t>(size_));
    PVA_MPI(MPI_Allgather(&size, 1, MPI_INT, sizes.data(), 1, MPI_INT, handle_));
    std::vector<int> offsets(sizes.size());
    int total = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        offsets[i] = total;
        total += sizes[i];
    }
    std::string all(static_cast<std::size_t>(total), '\0');
    PVA_MPI(MPI_Allgatherv(text.data(), size, MPI_CHAR, all.data(), sizes.data(), offsets.data(), MPI_CHAR, handle_));
    std::vector<std::string> result;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        result.push_back(all.substr(static_cast<std::size_t>(offsets[i]), static_cast<std::size_t>(sizes[i])));
    }
    return result;
}

std::vector<std::vector<std::byte>> Communicator::gather(std::span<const std::byte> bytes) const {
    const std::uint64_t size = bytes.size();
    std::vector<std::uint64_t> sizes(static_cast<std::size_t>(size_));
    PVA_MPI(MPI_Gather(&size, 1, MPI_UINT64_T, sizes.data(), 1, MPI_UINT64_T, 0, handle_));
    std::vector<std::vector<std::byte>> result;
    if (rank_ != 0) {
        for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
            const std::size_t count = std::min(piece_bytes, bytes.size() - at);
            PVA_MPI(MPI_Send(bytes.data() + at, static_cast<int>(count), MPI_BYTE, 0, gather_tag, handle_));
        }
        return result;
    }
    result.resize(sizes.size());
    result[0].assign(bytes.begin(), bytes.end());
    for (int source = 1; source < size_; ++source) {
        std::vector<std::byte>& target = result[static_cast<std::size_t>(source)];
        target.resize(sizes[static_cast<std::size_t>(source)]);
        for (std::size_t at = 0; at < target.size(); at += piece_bytes) {
            const std::size_t count = std::min(piece_bytes, target.size() - at);
            PVA_MPI(MPI_Recv(target.data() + at, static_cast<int>(count), MPI_BYTE, source, gather_tag, handle_, MPI_STATUS_IGNORE));
        }
    }
    return result;
}

void Communicator::exchange(std::span<const std::span<const std::byte>> send,
                            std::span<const std::span<std::byte>> receive) const {
    if (send.size() != static_cast<std::size_t>(size_) || receive.size() != send.size())
        throw InternalError("Communicator::exchange wants one span a rank");
    std::vector<MPI_Request> requests;
    // Pieces of one pair of ranks arrive in the order they were sent.
    for (int step = 1; step < size_; ++step) {
        const int source = (rank_ + size_ - step) % size_;
        const std::span<std::byte> target = receive[static_cast<std::size_t>(source)];
        for (std::size_t at = 0; at < target.size(); at += piece_bytes) {
            const std::size_t count = std::min(piece_bytes, target.size() - at);
            requests.emplace_back();
            PVA_MPI(MPI_Irecv(target.data() + at, static_cast<int>(count), MPI_BYTE, source, exchange_tag, handle_, &requests.back()));
        }
    }
    for (int step = 1; step < size_; ++step) {
        const int target = (rank_ + step) % size_;
        const std::span<const std::byte> bytes = send[static_cast<std::size_t>(target)];
        for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
            const std::size_t count = std::min(piece_bytes, bytes.size() - at);
            requests.emplace_back();
            PVA_MPI(MPI_Isend(bytes.data() + at, static_cast<int>(count), MPI_BYTE, target, exchange_tag, handle_, &requests.back()));
        }
    }
    const std::span<const std::byte> own = send[static_cast<std::size_t>(rank_)];
    if (own.size() != receive[static_cast<std::size_t>(rank_)].size()) throw InternalError("Communicator::exchange: sizes disagree");
    if (own.data() != receive[static_cast<std::size_t>(rank_)].data()) std::copy(own.begin(), own.end(), receive[static_cast<std::size_t>(rank_)].begin());
    PVA_MPI(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE));
}

void Communicator::share_blocks(std::span<std::byte> whole, std::span<const std::size_t> offsets) const {
    if (offsets.size() != static_cast<std::size_t>(size_) + 1 || offsets.back() > whole.size())
        throw InternalError("Communicator::share_blocks: offsets do not fit");
    std::vector<std::span<const std::byte>> send;
    std::vector<std::span<std::byte>> receive;
    const auto block = [&](int rank) {
        const auto r = static_cast<std::size_t>(rank);
        return whole.subspan(offsets[r], offsets[r + 1] - offsets[r]);
    };
    for (int rank = 0; rank < size_; ++rank) {
        send.push_back(block(rank_));
        receive.push_back(block(rank));
    }
    exchange(send, receive);
}

LocalPlace local_place(const Communicator& comm) {
    MPI_Comm local = MPI_COMM_NULL;
    PVA_MPI(MPI_Comm_split_type(comm.handle(), MPI_COMM_TYPE_SHARED, comm.rank(), MPI_INFO_NULL, &local));
    LocalPlace place;
    PVA_MPI(MPI_Comm_rank(local, &place.rank));
    PVA_MPI(MPI_Comm_size(local, &place.size));
    PVA_MPI(MPI_Comm_free(&local));
    return place;
}

}  // namespace pva::mpi
