// XXH3 64 bits by libxxhash.
#include "pva/core/checksum.h"

#define XXH_STATIC_LINKING_ONLY  // XXH3_state_t by value
#include <xxhash.h>

#include "pva/core/error.h"

namespace pva {

struct alignas(64) Checksum::State {
    XXH3_state_t xxh;
};

Checksum::Checksum() : state_(std::make_unique<State>()) {
    if (XXH3_64bits_reset(&state_->xxh) != XXH_OK) throw InternalError("XXH3_64bits_reset failed");
}
Checksum::Checksum(Checksum&&) noexcept = default;
Checksum& Checksum::operator=(Checksum&&) noexcept = default;
Checksum::~Checksum() = default;

void Checksum::add(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    if (XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size()) != XXH_OK) throw InternalError("XXH3_64bits_update failed");
}

std::uint64_t Checksum::value() const {
    const std::uint64_t sum = XXH3_64bits_digest(&state_->xxh);
    return sum == 0 ? 1 : sum;
}

std::uint64_t checksum(std::span<const std::byte> bytes) {
    Checksum sum;
    sum.add(bytes);
    return sum.value();
}

}  // namespace pva
