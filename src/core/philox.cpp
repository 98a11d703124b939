// Philox4x32-10 through Random123.
#include "pva/core/philox.h"

#include <Random123/philox.h>

#include "pva/core/error.h"

namespace pva {

std::array<std::uint32_t, 4> philox_block(std::uint64_t key, const std::array<std::uint32_t, 4>& counter) {
    r123::Philox4x32 generator;
    r123::Philox4x32::ctr_type c = {{counter[0], counter[1], counter[2], counter[3]}};
    r123::Philox4x32::key_type k = {{static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)}};
    const auto bits = generator(c, k);
    return {bits[0], bits[1], bits[2], bits[3]};
}

std::uint32_t PhiloxStream::next_u32() {
    if (used_ == 4) {
        bits_ = philox_block(seed_, {static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32), item_, block_});
        ++block_;
        used_ = 0;
    }
    return bits_[static_cast<std::size_t>(used_++)];
}

std::uint32_t PhiloxStream::below(std::uint32_t n) {
    if (n == 0) throw InternalError("PhiloxStream::below(0)");
    // Reject the incomplete last interval, so that every value is equally likely.
    const std::uint32_t limit = 0xFFFFFFFFu - (0xFFFFFFFFu % n + 1u) % n;
    std::uint32_t value = next_u32();
    while (value > limit) value = next_u32();
    return value % n;
}

double PhiloxStream::uniform() {
    const std::uint64_t high = next_u32() >> 5;
    const std::uint64_t low = next_u32() >> 6;
    return static_cast<double>(high * 67108864u + low) / 9007199254740992.0;
}

}  // namespace pva
