// 64-bit checksums (XXH3) of stored units: found again after a crash, they tell finished data from torn data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace pva {

/// Checksum of bytes given in pieces. Never 0: in a `done` map 0 means "not done".
class Checksum {
  public:
    Checksum();
    Checksum(Checksum&&) noexcept;
    Checksum& operator=(Checksum&&) noexcept;
    ~Checksum();
    void add(std::span<const std::byte> bytes);
    std::uint64_t value() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// The same of one piece.
std::uint64_t checksum(std::span<const std::byte> bytes);

}  // namespace pva
