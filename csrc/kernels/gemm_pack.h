// Bringing the operands of a matrix product into the order that the shared tile (kernels/gemm.h) reads them in.
#pragma once
#include "core/parallel.h"
#include "kernels/bf16_transpose.h"
#include "kernels/fused.h"
#include "kernels/gemm.h"

namespace skipway::SW_ISA {

inline constexpr int kPackSlot = 4;  // of thread_scratch

// c[m][n] = act(a b + bias), computed in T from elements of S.
template <class T, class S>
struct Gemm {
  int64_t m, n, k;
  const S *a, *b, *bias;
  FusedAct act;
  int64_t am, ak, bk, bn;
};

// b[k0 .. k0 + depth)[j0 .. j0 + columns) as panels of `width` lanes, zeros after the last column. A few rows of all
// panels at a time: rows are read along, and panels, a power of two apart, do not drive each other out of the cache.
template <class T, class S>
SW_INLINE void pack_rows_of_b(const Gemm<T, S>& g, int64_t k0, int64_t depth, int64_t j0, int64_t columns,
                              int64_t width, T* panel) {
  constexpr int n = Lanes<T>::n;
  constexpr int64_t group = 8;
  for (int64_t first = 0; first < depth; first += group)
    for (int64_t j = 0; j < columns; j += width) {
      const int64_t lanes = smaller(width, columns - j);
      for (int64_t k = first; k < smaller(first + group, depth); ++k) {
        const S* from = g.b + (k0 + k) * g.bk + j0 + j;
        T* to = panel + j * depth + k * width;
        int64_t lane = 0;
        for (; lane + n <= lanes; lane += n) {
          __builtin_prefetch(from + 2 * group * g.bk + lane);
          vstore(to + lane, vload(from + lane));
        }
        for (; lane < lanes; ++lane) to[lane] = T(from[lane]);
        clear(to + lanes, width - lanes);
      }
    }
}

template <class T, class S>
SW_INLINE void pack_columns(const Gemm<T, S>& g, int64_t k0, int64_t depth, int64_t j0, int64_t columns, int64_t width,
                            T* panel) {
  if (g.bn == 1) return pack_rows_of_b(g, k0, depth, j0, columns, width, panel);
  constexpr int64_t block = 64, pitch = block + 1;
  T* buffer = static_cast<T*>(thread_scratch(kPackSlot, size_t(width * pitch) * sizeof(T)));
  for (int64_t j = 0; j < columns; j += width, panel += depth * width) {
    const int64_t lanes = smaller(width, columns - j);
    const S* from = g.b + k0 * g.bk + (j0 + j) * g.bn;
    int64_t start = 0;
    if constexpr (sizeof(S) == 4) {  // 16 by 16 transposes
      if (g.bk == 1 && lanes == width && width % 16 == 0) {
        for (; start + 16 <= depth; start += 16)
          for (int64_t lane = 0; lane < lanes; lane += 16) {
            vword16 words[16];
            for (int i = 0; i < 16; ++i) words[i] = load_raw<vword16>(from + start + (lane + i) * g.bn);
            transpose_words(words);
            for (int i = 0; i < 16; ++i) __builtin_memcpy(panel + (start + i) * width + lane, &words[i], 64);
          }
      }
    }
    for (int64_t k = start; k < depth; k += block) {
      const int64_t count = smaller(block, depth - k);
      // Columns that are contiguous go through a buffer: they are often a power of two apart and would drive each other
      // out of the cache.
      if (g.bk == 1)
        for (int64_t lane = 0; lane < lanes; ++lane) convert(from + k + lane * g.bn, buffer + lane * pitch, count);
      for (int64_t i = 0; i < count; ++i) {
        T* to = panel + (k + i) * width;
        for (int64_t lane = 0; lane < lanes; ++lane)
          to[lane] = g.bk == 1 ? buffer[lane * pitch + i] : T(from[(k + i) * g.bk + lane * g.bn]);
        clear(to + lanes, width - lanes);
      }
    }
  }
}

// a[i0 .. i0 + rows)[k0 .. k0 + depth), `pitch` elements per row.
template <class T, class S>
SW_INLINE void pack_rows(const Gemm<T, S>& g, int64_t i0, int64_t rows, int64_t k0, int64_t depth, int64_t pitch,
                         T* to) {
  const S* from = g.a + i0 * g.am + k0 * g.ak;
  if (g.ak == 1) {
    for (int64_t i = 0; i < rows; ++i) convert(from + i * g.am, to + i * pitch, depth);
    return;
  }
  for (int64_t i0 = 0; i0 < rows; i0 += 16)
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t i = i0; i < smaller(i0 + 16, rows); ++i) to[i * pitch + k] = T(from[i * g.am + k * g.ak]);
}

// The same as strips of `height` rows, [strip][k][height], where rows are side by side in memory (am is 1).
template <class T>
SW_INLINE void pack_strips(const T* a, int64_t step, int64_t rows, int64_t depth, T* to) {
  constexpr int64_t height = MicroTile<T>::kMaxColumnRows, group = 4;
  const int64_t strips = ceil_div(rows, height);
  for (int64_t first = 0; first < depth; first += group)
    for (int64_t strip = 0; strip < strips; ++strip) {
      const int64_t i = rows * strip / strips, count = rows * (strip + 1) / strips - i;
      for (int64_t k = first; k < smaller(first + group, depth); ++k) {
        const T* from = a + k * step + i;
        __builtin_prefetch(from + 2 * group * step);  // short pieces of long rows
        T* row = to + (strip * depth + k) * height;
        if (count == height) {
          __builtin_memcpy(row, from, height * sizeof(T));
        } else {
          for (int64_t r = 0; r < count; ++r) row[r] = from[r];
        }
      }
    }
}

}  // namespace skipway::SW_ISA
