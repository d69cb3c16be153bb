// The register-blocked kernel that matrix products and convolutions share. It computes a tile of `rows` times `vecs`
// vectors, keeping all of it in registers:
//   c[i][j] = start[i][j] + sum over o < outer, k < inner of
//             a[a_outer[o] + i * a_row + k * a_step] * b[b_outer[o] + k * b_step + j]
// Elements of a are broadcast, rows of b are vectors. The tables of offsets are what lets one kernel read filter taps,
// image rows or images in place, so that nothing is ever unfolded (im2col).
#pragma once
#include "kernels/simd.h"

namespace skipway::SW_ISA {

SW_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
SW_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
SW_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
SW_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
SW_INLINE int64_t clamped(int64_t x, int64_t low, int64_t high) { return larger(low, smaller(x, high)); }

template <class T, class S>
SW_INLINE void convert(const S* from, T* to, int64_t n) {
  constexpr int lanes = Lanes<S>::n;
  if constexpr (sizeof(T) == sizeof(S)) {
    __builtin_memcpy(to, from, size_t(n) * sizeof(T));
  } else {
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) vstore(to + i, vload(from + i));
    for (; i < n; ++i) to[i] = T(from[i]);
  }
}

template <class T>
SW_INLINE void clear(T* p, int64_t n) {
  if (n > 0) __builtin_memset(static_cast<void*>(p), 0, size_t(n) * sizeof(T));
}

template <class T>
struct MicroArgs {
  const T* a;
  int64_t a_row, a_step;
  const int64_t* a_outer;  // null: outer is 1, at offset 0
  const T* b;
  int64_t b_step;
  const int64_t* b_outer;  // null: each outer step continues where the one before ended
  int64_t inner, outer;
  T* c;
  int64_t c_row;
  const T* start;  // null: zeros. A bias has start_row 0; accumulating onto c is start = c, start_row = c_row.
  int64_t start_row;
};
template <class T>
using MicroKernel = void (*)(const MicroArgs<T>&);

// Tiles that fit the registers, and of which kernels exist. float with AVX-512 is the one tuned; double only serves to
// check gradients.
template <class T>
struct MicroTile {
  static constexpr bool kWide = sizeof(T) == 4 && kVecBytes == 64;
  static constexpr int kLanes = Lanes<T>::n;
  static constexpr int kMaxVecs = kWide ? 4 : 2;        // by rows: 1, 2 (or 4) vectors
  static constexpr int kMaxColumnVecs = kWide ? 3 : 2;  // by columns: 1, 2 (or 3)
  static constexpr int kMaxColumnRows = kWide ? 8 : 6;
  static constexpr int kMaxRows = kWide ? 16 : 8;
  static constexpr int kMaxElements = kWide ? 28 * kLanes : 12 * kLanes;
  SW_INLINE static constexpr int rows(int vecs) { return kWide ? (vecs == 1 ? 16 : 28 / vecs) : vecs == 1 ? 8 : 6; }
};

// rows in [1, MicroTile<T>::rows(vecs)]; requires a_step == 1.
template <class T>
MicroKernel<T> micro_by_rows(int rows, int vecs);
// rows in [1, kMaxColumnRows], vecs in [1, kMaxColumnVecs]; requires a_row == 1.
template <class T>
MicroKernel<T> micro_by_columns(int rows, int vecs);

}  // namespace skipway::SW_ISA
