// Which instruction sets the kernels are compiled for. To be included before any header of Highway.
//
// Equal bits on all machines rest on fused multiply-add, so the sets of x86 without it (SSE) are left out. So is SVE,
// whose vectors cannot be elements of arrays; such machines run the NEON code. The portable fallback, one number at a
// time with std::fma, is compiled where the compiler's own baseline has no fused multiply-add. It gives the same bits
// and is far too slow to work with: tests compare with it, require_supported_cpu() refuses it.
#pragma once

#define HWY_BROKEN_EMU128 1  // the fallback is HWY_SCALAR then
// Bit 14 is SSE2 in later versions of Highway.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | (1LL << 14) | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
