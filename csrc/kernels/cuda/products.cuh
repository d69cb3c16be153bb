// Products of tiles, on tensor cores and by plain multiply-adds: the innermost layer of a convolution.
//
// A stage of the pipeline holds two operands in shared memory, cut into chunks of 16 bytes (8 elements of 16 bits, 4 of
// float32), which is what cp.async copies and what ldmatrix reads. There are two layouts:
//
//   Rows      a row holds 4 chunks along k (the index that is summed over), for kM rows of a and kN rows of b
//   Columns   a row holds one k; its chunks lie along m or n. A panel is 8 chunks (128 bytes) wide
//
// Eight threads read a chunk each from 8 neighbouring rows at once, so chunks are exchanged within a row (swizzled)
// such that those 8 lie in different banks.
//
// A Products class holds the results of one warp, kM x kN, in registers:
//   add(a, m, b, n)   += a b of one stage; the warp's results begin at row m of a (Columns: chunk m) and n of b
//   strip(i, f)       f(row, column, value) for each of this lane's results in rows [16 i, 16 i + 16), row from 16 i
//   each(f)           for all of this lane's results
//   at(i, j)          the one in this lane's row i, which is row g + 8 i of the warp's, and in its column j,
//   column_of(j)
#pragma once
#include <type_traits>

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/ptx.cuh"

namespace skipway::cuda {

struct alignas(16) Chunk {
  uint32_t word[4];
};

template <class T>
inline constexpr int kChunk = 16 / int(sizeof(T));  // elements
inline constexpr int kRowChunks = 4;                // of a row in the layout Rows
template <class T>
inline constexpr int kStageK = kRowChunks * kChunk<T>;  // k of a stage: 32 elements of 16 bits, 16 of float32
inline constexpr int kPanelChunks = 8;                  // of a row in the layout Columns

// Where a chunk lies: of a row in the layout Rows; of a row (k) in the layout Columns with kStageK rows.
__device__ __forceinline__ int rows_at(int row, int chunk) { return row * kRowChunks + (chunk ^ ((row >> 1) & 3)); }
template <class T>
__device__ __forceinline__ int columns_at(int row, int chunk) {
  const int panel = chunk / kPanelChunks, inside = chunk % kPanelChunks;
  return (panel * kStageK<T> + row) * kPanelChunks + (inside ^ (row & 7));
}

enum class Layout { Rows, Columns };

// How elements are multiplied.
struct PlainFloat {};   // float32, exactly
struct TensorFloat {};  // float32 rounded to tf32 (10 bits of fraction), summed in float32

template <class How>
struct element_of {
  using type = How;
};
template <>
struct element_of<PlainFloat> {
  using type = float;
};
template <>
struct element_of<TensorFloat> {
  using type = float;
};

__device__ __forceinline__ void mma(bfloat16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ptx::mma_bf16_16816(d, a, b0, b1);
}
__device__ __forceinline__ void mma(float16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ptx::mma_f16_16816(d, a, b0, b1);
}
__device__ __forceinline__ void mma(TensorFloat, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ptx::mma_tf32_1688(d, a, b0, b1);
}
template <class How, int N>
__device__ __forceinline__ void round_fragment([[maybe_unused]] uint32_t (&r)[N]) {
  if constexpr (std::is_same_v<How, TensorFloat>) {
#pragma unroll
    for (int i = 0; i < N; ++i) r[i] = ptx::to_tf32(__uint_as_float(r[i]));
  }
}

// mma.sync: 16 x 8 results and 2 chunks of k at a time. Lane t = 4 g + q holds, of such a tile, the results
// (g, 2 q), (g, 2 q + 1), (g + 8, 2 q), (g + 8, 2 q + 1).
template <class How, Layout kLayout, int kM, int kN>
struct Products {
  static_assert(kM % 16 == 0 && kN % 16 == 0);
  using T = typename element_of<How>::type;
  float sum[kM / 16][kN / 8][4] = {};

  __device__ __forceinline__ void add(const Chunk* a, int m, const Chunk* b, int n) {
#pragma unroll
    for (int step = 0; step < kRowChunks / 2; ++step) {
      uint32_t x[kM / 16][4], y[kN / 16][4];
#pragma unroll
      for (int i = 0; i < kM / 16; ++i) load_a(x[i], a, m, step, i);
#pragma unroll
      for (int j = 0; j < kN / 16; ++j) load_b(y[j], b, n, step, j);
      multiply(x, y);
    }
  }
  // One step of 2 chunks, from fragments.
  __device__ __forceinline__ void multiply(const uint32_t (&x)[kM / 16][4], const uint32_t (&y)[kN / 16][4]) {
#pragma unroll
    for (int i = 0; i < kM / 16; ++i)
#pragma unroll
      for (int j = 0; j < kN / 8; ++j) mma(How{}, sum[i][j], x[i], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
  }
  __device__ __forceinline__ float at(int i, int j) const { return sum[i / 2][j / 2][i % 2 * 2 + j % 2]; }
  static __device__ __forceinline__ int column_of(int j) { return j / 2 * 8 + int(threadIdx.x) % 4 * 2 + j % 2; }
  template <class F>
  __device__ __forceinline__ void strip(int i, const F& f) const {
    const int g = threadIdx.x % kWarp / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int s = 0; s < kM / 16; ++s) {  // i is known when this is unrolled
      if (s != i) continue;
#pragma unroll
      for (int j = 0; j < kN / 8; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) f(g + e / 2 * 8, j * 8 + q * 2 + e % 2, sum[s][j][e]);
    }
  }

  template <class F>
  __device__ __forceinline__ void each(const F& f) const {
#pragma unroll
    for (int i = 0; i < kM / 16; ++i)
      strip(i, [&](int row, int column, float value) { f(i * 16 + row, column, value); });
  }

  // 16 rows (or columns, in pairs of 8) and 2 chunks of k as the four 8 x 8 matrices that mma wants (for tf32: 8 x 4).
  static __device__ __forceinline__ void load_a(uint32_t (&r)[4], const Chunk* a, int m, int step, int i) {
    const int t = threadIdx.x % kWarp;
    if constexpr (kLayout == Layout::Rows) {
      ptx::ldmatrix_x4(r, &a[rows_at(m + i * 16 + t % 16, step * 2 + t / 16)]);
    } else if constexpr (sizeof(T) == 2) {
      ptx::ldmatrix_x4_trans(r, &a[columns_at<T>(step * 16 + t % 8 + t / 16 * 8, m + i * 2 + t / 8 % 2)]);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) r[e] = word(a, m, step * 8 + t % 4 + e / 2 * 4, i * 16 + t / 4 + e % 2 * 8);
    }
    round_fragment<How>(r);
  }
  static __device__ __forceinline__ void load_b(uint32_t (&r)[4], const Chunk* b, int n, int step, int j) {
    const int t = threadIdx.x % kWarp;
    if constexpr (kLayout == Layout::Rows) {
      ptx::ldmatrix_x4(r, &b[rows_at(n + j * 16 + t % 8 + t / 16 * 8, step * 2 + t / 8 % 2)]);
    } else if constexpr (sizeof(T) == 2) {
      ptx::ldmatrix_x4_trans(r, &b[columns_at<T>(step * 16 + t % 16, n + j * 2 + t / 16)]);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) r[e] = word(b, n, step * 8 + t % 4 + e % 2 * 4, j * 16 + t / 4 + e / 2 * 8);
    }
    round_fragment<How>(r);
  }
  static __device__ __forceinline__ uint32_t word(const Chunk* p, int first, int k, int column) {
    return p[columns_at<T>(k, first + column / 4)].word[column % 4];
  }
};

// Multiply-adds: lane t = 4 g + q holds rows g + 8 i and columns q + 4 j (Rows), or rows 4 g + i % 4 + i / 4 * 32 and
// columns 4 q + j % 4 + j / 4 * 16 (Columns): either way it reads whole chunks.
template <Layout kLayout, int kM, int kN>
struct Products<PlainFloat, kLayout, kM, kN> {
  static_assert(kM % 32 == 0 && kN % 16 == 0);
  static constexpr int kRows = kM / 8, kColumns = kN / 4;
  float sum[kRows][kColumns] = {};

  static __device__ __forceinline__ float element(const Chunk& c, int i) { return __uint_as_float(c.word[i]); }

  __device__ __forceinline__ void add(const Chunk* a, int m, const Chunk* b, int n) {
    const int g = threadIdx.x % kWarp / 4, q = threadIdx.x % 4;
    if constexpr (kLayout == Layout::Rows) {
#pragma unroll 1
      for (int chunk = 0; chunk < kRowChunks; ++chunk) {
        Chunk y[kColumns];
#pragma unroll
        for (int j = 0; j < kColumns; ++j) y[j] = b[rows_at(n + q + 4 * j, chunk)];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const Chunk x = a[rows_at(m + g + 8 * i, chunk)];
#pragma unroll
          for (int k = 0; k < 4; ++k)
#pragma unroll
            for (int j = 0; j < kColumns; ++j) sum[i][j] += element(x, k) * element(y[j], k);
        }
      }
    } else {
#pragma unroll 4
      for (int k = 0; k < kStageK<float>; ++k) {
        Chunk x[kRows / 4], y[kColumns / 4];
#pragma unroll
        for (int i = 0; i < kRows / 4; ++i) x[i] = a[columns_at<float>(k, m + g + 8 * i)];
#pragma unroll
        for (int j = 0; j < kColumns / 4; ++j) y[j] = b[columns_at<float>(k, n + q + 4 * j)];
#pragma unroll
        for (int i = 0; i < kRows; ++i)
#pragma unroll
          for (int j = 0; j < kColumns; ++j) sum[i][j] += element(x[i / 4], i % 4) * element(y[j / 4], j % 4);
      }
    }
  }
  // Rows only: at, column_of and strip.
  __device__ __forceinline__ float at(int i, int j) const { return sum[i][j]; }
  static __device__ __forceinline__ int column_of(int j) { return int(threadIdx.x) % 4 + 4 * j; }
  template <class F>
  __device__ __forceinline__ void strip(int i, const F& f) const {
    const int g = threadIdx.x % kWarp / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int s = 0; s < kRows; ++s) {
      if (s / 2 != i) continue;
#pragma unroll
      for (int j = 0; j < kColumns; ++j) f(g + s % 2 * 8, q + 4 * j, sum[s][j]);
    }
  }
  template <class F>
  __device__ __forceinline__ void each(const F& f) const {
    const int g = threadIdx.x % kWarp / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        if constexpr (kLayout == Layout::Rows)
          f(g + 8 * i, q + 4 * j, sum[i][j]);
        else
          f(4 * g + i % 4 + i / 4 * 32, 4 * q + j % 4 + j / 4 * 16, sum[i][j]);
      }
  }
};

}  // namespace skipway::cuda
