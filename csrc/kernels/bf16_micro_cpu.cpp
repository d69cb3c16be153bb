#include "kernels/bf16_micro.h"

#ifdef SW_AMX
#include "kernels/amx_tile.h"
#else
#include <immintrin.h>
#endif

namespace skipway::SW_ISA {
namespace {

#ifdef SW_AMX

template <int T>
struct Number {};

// Sums are tiles 0 to 3, a is loaded into tiles 4 and 5, b into 6 and 7. What is loaded last is used last, so that
// loads and products overlap.
template <int PARTS, int VECS, bool STORE>
SW_INLINE void move_sums(const Bf16Tile& t) {
  const int64_t row = t.c_row * int64_t(sizeof(float));
  const auto one = [&]<int T>(Number<T>) {
    if constexpr (T < PARTS * VECS) {
      float* c = t.c[T / VECS] + T % VECS * kBf16Lanes;
      if constexpr (STORE) {
        amx_tile::store<T>(c, row);
      } else {
        t.onto ? amx_tile::load<T>(c, row) : amx_tile::zero<T>();
      }
    }
  };
  one(Number<0>{});
  one(Number<1>{});
  one(Number<2>{});
  one(Number<3>{});
}

template <int PARTS, int VECS>
void tiles(const Bf16Tile& t) {
  using namespace amx_tile;
  const int64_t a_row = t.a_row * 2, b_row = t.b_step * 2, chunk_b = t.chunks.size / 2 * t.b_step;
  move_sums<PARTS, VECS, false>(t);
  const bfloat16* b = t.b;
  for (int64_t o = 0; o < t.outer; ++o) {
    if (t.b_outer) b = t.b + t.b_outer[o];
    const int64_t a_run = t.a_outer ? t.a_outer[o] : 0;
    for (int64_t chunk = 0; chunk < t.chunks.count; ++chunk, b += chunk_b) {
      const int64_t at = a_run + t.chunks.start(chunk);
      load<6>(b, b_row);
      load<4>(t.a[0] + at, a_row);
      dpbf16ps<0, 4, 6>();
      if constexpr (VECS == 2) {
        load<7>(b + 2 * kBf16Lanes, b_row);
        dpbf16ps<1, 4, 7>();
        if constexpr (PARTS == 2) {
          load<5>(t.a[1] + at, a_row);
          dpbf16ps<2, 5, 6>();
          dpbf16ps<3, 5, 7>();
        }
      } else {
        if constexpr (PARTS > 1) load<5>(t.a[1] + at, a_row), dpbf16ps<1, 5, 6>();
        if constexpr (PARTS > 2) load<4>(t.a[2] + at, a_row), dpbf16ps<2, 4, 6>();
        if constexpr (PARTS > 3) load<5>(t.a[3] + at, a_row), dpbf16ps<3, 5, 6>();
      }
    }
  }
  move_sums<PARTS, VECS, true>(t);
}

#else

// The scheme of kernels/gemm_cpu.cpp, with pairs of bfloat16 in place of floats: row 5p + {0, ..., 4} is read at
// pointer[p] + {0, ..., 4} * row.
template <int ROWS, int VECS>
void registers(const Bf16Tile& t) {
  constexpr int pointers = (ROWS + 4) / 5;
  __m512 acc[ROWS][VECS];
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < VECS; ++j)
      acc[i][j] = t.onto ? _mm512_loadu_ps(t.c[0] + i * t.c_row + j * kBf16Lanes) : _mm512_setzero_ps();

  const int64_t row = t.a_row * 2, row3 = row * 3, b_step = t.b_step * 2, pairs = t.chunks.inner / 2;
  const char* b = reinterpret_cast<const char*>(t.b);
  for (int64_t o = 0; o < t.outer; ++o) {
    const char* a[pointers];
    a[0] = reinterpret_cast<const char*>(t.a[0] + (t.a_outer ? t.a_outer[o] : 0));
    for (int p = 1; p < pointers; ++p) a[p] = a[p - 1] + 5 * row;
    if (t.b_outer) b = reinterpret_cast<const char*>(t.b + t.b_outer[o]);
    for (int64_t k = pairs; k > 0; --k) {
      for (int p = 0; p < pointers; ++p) asm("" : "+r"(a[p]));
      __m512bh bv[VECS];
#pragma GCC unroll 4
      for (int j = 0; j < VECS; ++j) bv[j] = (__m512bh)_mm512_loadu_si512(b + j * 64);
#pragma GCC unroll 32
      for (int i = 0; i < ROWS; ++i) {
        int32_t pair;
        __builtin_memcpy(&pair, a[i / 5] + (i % 5 == 3 ? row3 : (i % 5) * row), 4);
        const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (int j = 0; j < VECS; ++j) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], bv[j], x);
      }
      for (int p = 0; p < pointers; ++p) a[p] += 4;
      b += b_step;
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < VECS; ++j) _mm512_storeu_ps(t.c[0] + i * t.c_row + j * kBf16Lanes, acc[i][j]);
}

using Micro = void (*)(const Bf16Tile&);
template <int... I>
struct Indices {};
template <int N, int... I>
struct IndicesUpTo : IndicesUpTo<N - 1, N - 1, I...> {};
template <int... I>
struct IndicesUpTo<0, I...> {
  using type = Indices<I...>;
};
template <int VECS, int... I>
SW_INLINE Micro pick(int rows, Indices<I...>) {
  static constexpr Micro table[] = {registers<I + 1, VECS>...};
  return table[rows - 1];
}

#endif

}  // namespace

#ifdef SW_AMX

Bf16Session::~Bf16Session() {
  if (rows_) amx_tile::release();
}

void Bf16Session::multiply(const Bf16Tile& t) {
  if (rows_ != t.rows || chunk_ != t.chunks.size) {
    rows_ = t.rows, chunk_ = t.chunks.size;
    amx_tile::Config config{};
    config.palette = 1;
    for (int i = 0; i < 8; ++i) {
      config.rows[i] = uint8_t(i < 6 ? rows_ : chunk_ / 2);
      config.row_bytes[i] = uint16_t(i == 4 || i == 5 ? chunk_ * 2 : 64);
    }
    amx_tile::configure(config);
  }
  if (t.vecs == 2) return (t.parts == 2 ? tiles<2, 2> : tiles<1, 2>)(t);
  using Micro = void (*)(const Bf16Tile&);
  static constexpr Micro table[] = {tiles<1, 1>, tiles<2, 1>, tiles<3, 1>, tiles<4, 1>};
  table[t.parts - 1](t);
}

#else

Bf16Session::~Bf16Session() {}

void Bf16Session::multiply(const Bf16Tile& t) {
  using U = Bf16Unit;
  const Micro micro = t.vecs == 1   ? pick<1>(t.rows, IndicesUpTo<U::rows(1)>::type{})
                      : t.vecs == 2 ? pick<2>(t.rows, IndicesUpTo<U::rows(2)>::type{})
                      : t.vecs == 3 ? pick<3>(t.rows, IndicesUpTo<U::rows(3)>::type{})
                                    : pick<4>(t.rows, IndicesUpTo<U::rows(4)>::type{});
  micro(t);
}

#endif

}  // namespace skipway::SW_ISA
