// The tile unit of AMX, one instruction per function: of the hardware, or (SW_AMX_MODEL) of a model in plain C++.
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

#ifndef SW_AMX_MODEL

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
template <int C, int A, int B>
SW_INLINE void dpbf16ps() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

#else

// What the manual says of TDPBF16PS: for each row m and column n of c, the even and the odd elements of the pairs k are
// summed on their own, from zero, by fused multiply-adds; the two sums are added, and that is added to c:
//   even = fma(a[m][2k], b[k][2n], even),  odd = fma(a[m][2k + 1], b[k][2n + 1], odd),   c[m][n] += even + odd
// Each operation rounds to nearest even; denormal operands and results are zero; MXCSR plays no part.
struct Unit {
  Config config;
  alignas(64) uint8_t tile[8][16][64];
};
inline Unit& unit() {
  static thread_local Unit state;
  return state;
}
SW_INLINE void fault_unless(bool fine) {  // what the hardware answers with #UD or #GP
  if (!fine) __builtin_trap();
}
SW_INLINE float flushed(float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x; }
SW_INLINE float widened(const uint8_t* bf16) {
  bfloat16 x;
  __builtin_memcpy(&x, bf16, 2);
  return flushed(float(x));
}

SW_INLINE void configure(const Config& config) {
  fault_unless(config.palette == 1 && config.start_row == 0);
  for (int i = 0; i < 14; ++i) fault_unless(config.reserved[i] == 0);
  for (int t = 0; t < 16; ++t) {
    const bool unused = config.rows[t] == 0 && config.row_bytes[t] == 0;
    fault_unless(t < 8 ? config.rows[t] <= 16 && config.row_bytes[t] <= 64 : unused);
    fault_unless((config.rows[t] == 0) == (config.row_bytes[t] == 0));
  }
  unit().config = config;
  __builtin_memset(unit().tile, 0, sizeof unit().tile);
}
SW_INLINE void release() { unit().config = Config{}; }
SW_INLINE int rows_of(int t) {
  fault_unless(unit().config.palette == 1 && unit().config.rows[t] > 0);
  return unit().config.rows[t];
}
template <int T>
SW_INLINE void zero() {
  rows_of(T);
  __builtin_memset(unit().tile[T], 0, sizeof unit().tile[T]);
}
template <int T>
SW_INLINE void load(const void* p, int64_t row_step) {
  const int rows = rows_of(T);
  zero<T>();
  for (int i = 0; i < rows; ++i)
    __builtin_memcpy(unit().tile[T][i], static_cast<const char*>(p) + i * row_step, unit().config.row_bytes[T]);
}
template <int T>
SW_INLINE void store(void* p, int64_t row_step) {
  const int rows = rows_of(T);
  for (int i = 0; i < rows; ++i)
    __builtin_memcpy(static_cast<char*>(p) + i * row_step, unit().tile[T][i], unit().config.row_bytes[T]);
}
template <int C, int A, int B>
SW_INLINE void dpbf16ps() {
  Unit& u = unit();
  const int rows = rows_of(C), pairs = u.config.row_bytes[A] / 4, columns = u.config.row_bytes[C] / 4;
  fault_unless(C != A && C != B && A != B && rows_of(A) == rows && rows_of(B) == pairs);
  fault_unless(u.config.row_bytes[A] % 4 == 0 && u.config.row_bytes[C] % 4 == 0);
  fault_unless(u.config.row_bytes[B] == u.config.row_bytes[C]);
  for (int m = 0; m < rows; ++m)
    for (int n = 0; n < columns; ++n) {
      float even = 0, odd = 0, c;
      for (int k = 0; k < pairs; ++k) {
        const uint8_t *a = u.tile[A][m] + 4 * k, *b = u.tile[B][k] + 4 * n;
        even = flushed(__builtin_fmaf(widened(a), widened(b), even));
        odd = flushed(__builtin_fmaf(widened(a + 2), widened(b + 2), odd));
      }
      __builtin_memcpy(&c, u.tile[C][m] + 4 * n, 4);
      c = flushed(flushed(c) + flushed(even + odd));
      __builtin_memcpy(u.tile[C][m] + 4 * n, &c, 4);
    }
}

#endif

}  // namespace skipway::SW_ISA::amx_tile
