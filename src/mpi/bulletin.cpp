// Small eager messages between ranks, and the stop signal.
#include "pva/mpi/bulletin.h"

#include <csignal>
#include <exception>
#include <numeric>
#include <thread>
#include <utility>

#include "pva/core/error.h"
#include "pva/mpi/check.h"

namespace pva::mpi {
namespace {

constexpr int tag = 7;
constexpr std::chrono::milliseconds between_messages{50};
constexpr std::chrono::milliseconds between_looks{1};
constexpr std::int64_t kind_done = 1;
constexpr std::int64_t kind_stop = 2;
constexpr std::int64_t kind_work = 3;

// A signal handler can reach nothing else; it is set once and only read elsewhere.
volatile std::sig_atomic_t stop_signal = 0;

void on_stop_signal(int) { stop_signal = 1; }

}  // namespace

void watch_stop_signal() {
    struct sigaction action {};
    action.sa_handler = on_stop_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGUSR1, &action, nullptr) != 0) throw InternalError("sigaction(SIGUSR1) failed");
}

bool stop_signal_seen() { return stop_signal != 0; }

Bulletin::Bulletin(const Communicator& comm, double max_minutes)
    : comm_(comm.handle()),
      start_(std::chrono::steady_clock::now()),
      max_minutes_(max_minutes),
      running_(static_cast<std::size_t>(comm.size()), 0),
      sent_to_(static_cast<std::size_t>(comm.size()), 0) {}

Bulletin::~Bulletin() = default;

void Bulletin::send(const Message& message, int target) {
    auto sent = std::make_unique<Sent>(Sent{message, MPI_REQUEST_NULL});
    PVA_MPI(MPI_Isend(&sent->message, 3, MPI_INT64_T, target, tag, comm_.handle(), &sent->request));
    ++sent_to_[static_cast<std::size_t>(target)];
    in_flight_.push_back(std::move(sent));
    // Requests of small messages complete on their own; drop the finished ones so that the list stays short.
    while (!in_flight_.empty()) {
        int complete = 0;
        PVA_MPI(MPI_Test(&in_flight_.front()->request, &complete, MPI_STATUS_IGNORE));
        if (complete == 0) break;
        in_flight_.pop_front();
    }
}

void Bulletin::receive_all() {
    while (true) {
        int waiting = 0;
        PVA_MPI(MPI_Iprobe(MPI_ANY_SOURCE, tag, comm_.handle(), &waiting, MPI_STATUS_IGNORE));
        if (waiting == 0) return;
        Message message{};
        MPI_Status status{};
        PVA_MPI(MPI_Recv(&message, 3, MPI_INT64_T, MPI_ANY_SOURCE, tag, comm_.handle(), &status));
        ++received_;
        if (message.kind == kind_stop) stop_ = true;
        if (message.kind == kind_done) {
            done_ += message.first;
            good_ += message.second;
        }
        if (message.kind == kind_work) {
            work_ += message.first;
            running_[static_cast<std::size_t>(status.MPI_SOURCE)] = message.second;
        }
    }
}

void Bulletin::add_done(std::int64_t done, std::int64_t good) {
    done_ += done;
    good_ += good;
    if (comm_.rank() == 0) return;
    untold_done_ += done;
    untold_good_ += good;
    if (std::chrono::steady_clock::now() - told_ >= between_messages) tell_done();
}

void Bulletin::tell_done() {
    if (untold_done_ == 0 && untold_good_ == 0) return;
    send({kind_done, std::exchange(untold_done_, 0), std::exchange(untold_good_, 0)}, 0);
    told_ = std::chrono::steady_clock::now();
}

void Bulletin::tell_work(std::int64_t work, std::int64_t running) {
    work_ += work;
    running_[static_cast<std::size_t>(comm_.rank())] = running;
    if (comm_.rank() != 0) send({kind_work, work, running}, 0);
}

std::int64_t Bulletin::running() const { return std::accumulate(running_.begin(), running_.end(), std::int64_t{0}); }

void Bulletin::request_stop() {
    if (stop_) return;
    stop_ = true;
    for (int target = 0; target < comm_.size(); ++target) {
        if (target != comm_.rank()) send({kind_stop, 0, 0}, target);
    }
}

bool Bulletin::stop_requested() {
    const auto now = std::chrono::steady_clock::now();
    if (now - looked_ >= between_looks) {
        receive_all();
        looked_ = now;
    }
    if (untold_done_ > 0 && now - told_ >= between_messages) tell_done();
    const double minutes = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count() / 60;
    if (stop_signal_seen() || (max_minutes_ > 0 && minutes >= max_minutes_)) request_stop();
    return stop_;
}

bool Bulletin::finish(const std::function<void()>& waiting) {
    tell_done();
    // A barrier that can be waited for while messages still come in.
    MPI_Request all_here = MPI_REQUEST_NULL;
    PVA_MPI(MPI_Ibarrier(comm_.handle(), &all_here));
    int complete = 0;
    while (true) {
        PVA_MPI(MPI_Test(&all_here, &complete, MPI_STATUS_IGNORE));
        receive_all();
        if (complete != 0) break;
        if (waiting) waiting();
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    // How many messages each rank was sent in all; then wait for the last of them.
    std::vector<std::int64_t> expected(sent_to_.size());
    PVA_MPI(MPI_Allreduce(sent_to_.data(), expected.data(), static_cast<int>(expected.size()), MPI_INT64_T, MPI_SUM, comm_.handle()));
    while (received_ < expected[static_cast<std::size_t>(comm_.rank())]) receive_all();
    for (auto& sent : in_flight_) PVA_MPI(MPI_Wait(&sent->request, MPI_STATUS_IGNORE));
    in_flight_.clear();
    return comm_.all_max(stop_ ? 1 : 0) != 0;
}

}  // namespace pva::mpi
