// The tile unit of AMX, one instruction per function. Where there is none, tests emulate the instructions that stand
// here, and no others (tests/amx_emulator).
//
// A tile is up to 16 rows of up to 64 bytes; the configuration gives each of the eight its rows and bytes per row. It
// belongs to the thread. The assembly is our own because it has to tell the compiler that memory is read and written.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace skipway::SW_ISA::amx_tile {

struct Config {  // as ldtilecfg reads it
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Config) == 64);

SW_INLINE void configure(const Config& config) { asm volatile("ldtilecfg %0" : : "m"(config) : "memory"); }
SW_INLINE void release() { asm volatile("tilerelease" : : : "memory"); }
template <int T>
SW_INLINE void zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(T));
}
template <int T>  // row_step: bytes
SW_INLINE void load(const void* p, int64_t row_step) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(row_step), "i"(T) : "memory");
}
template <int T>
SW_INLINE void store(void* p, int64_t row_step) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(row_step), "i"(T) : "memory");
}
// Of tdpbf16ps, for each row m and column n of c: the even and the odd elements of the pairs k are summed on their own,
// from zero, by fused multiply-adds; the two sums are added, and that is added to c:
//   even = fma(a[m][2k], b[k][2n], even),  odd = fma(a[m][2k + 1], b[k][2n + 1], odd),   c[m][n] += even + odd
// Each operation rounds to nearest even; denormal operands and results are zero; MXCSR plays no part.
template <int C, int A, int B>
SW_INLINE void dpbf16ps() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

}  // namespace skipway::SW_ISA::amx_tile
