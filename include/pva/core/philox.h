// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011, by Random123): the value depends on the key and the
// counter alone, so it is the same on any rank, in any order, after any restart.
#pragma once

#include <array>
#include <cstdint>

namespace pva {

/// One Philox4x32-10 block: 128 random bits for a 64-bit key and a 128-bit counter.
std::array<std::uint32_t, 4> philox_block(std::uint64_t key, const std::array<std::uint32_t, 4>& counter);

/// A stream of numbers for one place in a run, named by (seed, stream, item): successive draws count upwards.
class PhiloxStream {
  public:
    /// stream: what the numbers are for (task id, ...); item: which one of them (sample, position, ...).
    PhiloxStream(std::uint64_t seed, std::uint64_t stream, std::uint32_t item) : seed_(seed), stream_(stream), item_(item) {}

    std::uint32_t next_u32();
    /// Uniform in [0, n), without bias (rejection). n > 0.
    std::uint32_t below(std::uint32_t n);
    /// Uniform in [0, 1), 53 bits.
    double uniform();

  private:
    std::uint64_t seed_;
    std::uint64_t stream_;
    std::uint32_t item_;
    std::uint32_t block_ = 0;
    int used_ = 4;
    std::array<std::uint32_t, 4> bits_{};
};

}  // namespace pva
