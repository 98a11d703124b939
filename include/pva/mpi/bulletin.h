// What ranks tell each other while they work apart: how much is done (to rank 0), and that all should stop (to everyone).
// Nothing here waits for a rank that is busy.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "pva/mpi/communicator.h"

namespace pva::mpi {

/// Installs the SIGUSR1 handler: from then on the signal only sets a flag. Call before work starts.
void watch_stop_signal();
/// Whether SIGUSR1 has come to this process.
bool stop_signal_seen();

class Bulletin {
  public:
    /// Collective. max_minutes: ask for a stop once that much time has passed since construction; 0: never.
    Bulletin(const Communicator& comm, double max_minutes);
    ~Bulletin();
    Bulletin(const Bulletin&) = delete;
    Bulletin& operator=(const Bulletin&) = delete;

    /// Adds to the counts of the whole job (done units, and a second count such as solved ones), kept on rank 0. Short units are
    /// told together, so that rank 0 is not kept from its own work.
    void add_done(std::int64_t done, std::int64_t good);
    /// Adds to a third count, such as tokens, and says how many items this rank has in hand now.
    void tell_work(std::int64_t work, std::int64_t running);
    /// Asks every rank to stop at its next unit.
    void request_stop();
    /// Takes in what has arrived (at most once a millisecond: a look can give the processor away where ranks share one), looks at the
    /// signal and the clock. True once anybody asked for a stop.
    bool stop_requested();
    /// Counts so far; of the whole job on rank 0, of this rank elsewhere.
    std::int64_t done() const { return done_; }
    std::int64_t good() const { return good_; }
    std::int64_t work() const { return work_; }
    /// Items in hand: of all ranks, as they last said, on rank 0; of this rank elsewhere.
    std::int64_t running() const;

    /// Collective; call once, when this rank's work is over. Waits until all ranks are here; `waiting` is called now and
    /// then meanwhile (rank 0 shows progress). Afterwards every message has been received. Returns whether a stop was asked for by any rank.
    bool finish(const std::function<void()>& waiting);

  private:
    struct Message {
        std::int64_t kind;
        std::int64_t first;
        std::int64_t second;
    };
    struct Sent {
        Message message;
        MPI_Request request;
    };
    void send(const Message& message, int target);
    void tell_done();
    void receive_all();

    Communicator comm_;
    std::chrono::steady_clock::time_point start_;
    double max_minutes_;
    std::int64_t done_ = 0;
    std::int64_t good_ = 0;
    std::int64_t untold_done_ = 0;  ///< counted here, not yet on rank 0
    std::int64_t untold_good_ = 0;
    std::chrono::steady_clock::time_point told_;
    std::chrono::steady_clock::time_point looked_;  ///< for messages
    std::int64_t work_ = 0;
    std::vector<std::int64_t> running_;  ///< by rank
    bool stop_ = false;
    std::vector<std::int64_t> sent_to_;
    std::int64_t received_ = 0;
    std::deque<std::unique_ptr<Sent>> in_flight_;
};

}  // namespace pva::mpi
