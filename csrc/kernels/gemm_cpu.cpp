#include "kernels/gemm.h"

namespace skipway::SW_ISA {
namespace {

// Rows 5p to 5p + 4 are read at pointer[p] + {0, 1, 2, 3, 4} * a_row: x86 addresses hold a multiple of 1, 2 or 4 of a
// register, so a tile of 14 rows needs three pointers. The empty asm keeps the compiler from undoing this.
template <class T, int ROWS, int VECS, bool BY_COLUMNS>
void micro(const MicroArgs<T>& g) {
  using V = typename Lanes<T>::vec;
  constexpr int n = Lanes<T>::n;
  constexpr int pointers = BY_COLUMNS ? 1 : (ROWS + 4) / 5;
  V acc[ROWS][VECS];
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < VECS; ++j) acc[i][j] = g.start ? vload(g.start + i * g.start_row + j * n) : V{};

  const int64_t row = g.a_row, row3 = row * 3, step = BY_COLUMNS ? g.a_step : 1, b_step = g.b_step;
  const T* b = g.b;
  for (int64_t o = 0; o < g.outer; ++o) {
    const T* a[pointers];
    a[0] = g.a + (g.a_outer ? g.a_outer[o] : 0);
    for (int p = 1; p < pointers; ++p) a[p] = a[p - 1] + 5 * row;
    if (g.b_outer) b = g.b + g.b_outer[o];
    for (int64_t k = g.inner; k > 0; --k) {
      for (int p = 0; p < pointers; ++p) asm("" : "+r"(a[p]));
      V bv[VECS];
#pragma GCC unroll 4
      for (int j = 0; j < VECS; ++j) bv[j] = vload(b + j * n);
#pragma GCC unroll 32
      for (int i = 0; i < ROWS; ++i) {
        const T x = BY_COLUMNS ? a[0][i] : a[i / 5][i % 5 == 3 ? row3 : (i % 5) * row];
#pragma GCC unroll 4
        for (int j = 0; j < VECS; ++j) acc[i][j] += x * bv[j];
      }
      for (int p = 0; p < pointers; ++p) a[p] += step;
      b += b_step;
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < VECS; ++j) vstore(g.c + i * g.c_row + j * n, acc[i][j]);
}

template <int... I>
struct Indices {};
template <int N, int... I>
struct IndicesUpTo : IndicesUpTo<N - 1, N - 1, I...> {};
template <int... I>
struct IndicesUpTo<0, I...> {
  using type = Indices<I...>;
};
template <int N>
using indices = typename IndicesUpTo<N>::type;

template <class T, int VECS, bool BY_COLUMNS, int... I>
MicroKernel<T> pick(int rows, Indices<I...>) {
  static constexpr MicroKernel<T> table[] = {micro<T, I + 1, VECS, BY_COLUMNS>...};
  return table[rows - 1];
}

}  // namespace

template <class T>
MicroKernel<T> micro_by_rows(int rows, int vecs) {
  using Tile = MicroTile<T>;
  if constexpr (Tile::kWide) {
    if (vecs == 4) return pick<T, 4, false>(rows, indices<Tile::rows(4)>());
  }
  if (vecs == 2) return pick<T, 2, false>(rows, indices<Tile::rows(2)>());
  return pick<T, 1, false>(rows, indices<Tile::rows(1)>());
}

template <class T>
MicroKernel<T> micro_by_columns(int rows, int vecs) {
  using Tile = MicroTile<T>;
  if constexpr (Tile::kWide) {
    if (vecs == 3) return pick<T, 3, true>(rows, indices<Tile::kMaxColumnRows>());
  }
  if (vecs == 2) return pick<T, 2, true>(rows, indices<Tile::kMaxColumnRows>());
  return pick<T, 1, true>(rows, indices<Tile::kMaxColumnRows>());
}

template MicroKernel<float> micro_by_rows<float>(int, int);
template MicroKernel<double> micro_by_rows<double>(int, int);
template MicroKernel<float> micro_by_columns<float>(int, int);
template MicroKernel<double> micro_by_columns<double>(int, int);

}  // namespace skipway::SW_ISA
