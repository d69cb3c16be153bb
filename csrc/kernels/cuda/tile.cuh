// One tile of a matrix product, c[m][n] = sum_k a[m][k] b[k][n], whose operands are read by functors: so matrix
// products and the three passes of a convolution share one kernel body, and nothing is unfolded in memory.
//
// A block of 256 threads computes kTileM x kTileN results, kTileK steps at a time through shared memory; a thread holds
// 4 x 4 of them in registers. Plain multiply-adds in the math type: every dtype, every device.
//
// An operand has
//   Fixed at(int64_t i) const;                   // decodes its row (of a) or column (of b)
//   Moving step(int64_t k) const;                // decodes k
//   A value(const Fixed&, const Moving&) const;  // the element; zero outside
//   static constexpr bool kAlongK;               // neighbours in memory differ in k (else in m or n)
#pragma once
#include "kernels/cuda/pack.cuh"

namespace skipway::cuda {

inline constexpr int kTileM = 64, kTileN = 64, kTileK = 16, kTileThreads = 256;

template <class A>
struct TileBuffers {
  A a[kTileK][kTileM + 4], b[kTileK][kTileN + 4];  // 4 more: writes along k spread over the banks
};

// Element e of the 4 that thread t brings: its place along the tile's 64 rows or columns, and along k.
template <bool kAlongK>
__device__ __forceinline__ int tile_place(int t, int e) {
  return kAlongK ? t / kTileK + e * (kTileThreads / kTileK) : t % kTileM;
}
template <bool kAlongK>
__device__ __forceinline__ int tile_step(int t, int e) {
  return kAlongK ? t % kTileK : t / kTileM + e * (kTileThreads / kTileM);
}

template <class A, class Operand>
struct TileReader {
  static constexpr bool kAlongK = Operand::kAlongK;
  static constexpr int kFixed = kAlongK ? 4 : 1;
  const Operand& operand;
  typename Operand::Fixed fixed[kFixed];
  bool inside[kFixed];

  // first: the tile's first row or column, of `size` in all
  __device__ __forceinline__ TileReader(const Operand& o, int64_t first, int64_t size) : operand(o) {
#pragma unroll
    for (int e = 0; e < kFixed; ++e) {
      const int64_t i = first + tile_place<kAlongK>(threadIdx.x, e);
      inside[e] = i < size;
      fixed[e] = operand.at(inside[e] ? i : 0);
    }
  }
  __device__ __forceinline__ void read(int64_t k0, int64_t end, A (&to)[kTileK][kTileM + 4]) const {
    if constexpr (kAlongK) {
      const int64_t k = k0 + tile_step<true>(threadIdx.x, 0);
      const bool some = k < end;
      const auto moving = operand.step(some ? k : k0);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        to[tile_step<true>(threadIdx.x, e)][tile_place<true>(threadIdx.x, e)] =
            some && inside[e] ? operand.value(fixed[e], moving) : A(0);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t k = k0 + tile_step<false>(threadIdx.x, e);
        to[tile_step<false>(threadIdx.x, e)][tile_place<false>(threadIdx.x, e)] =
            k < end && inside[0] ? operand.value(fixed[0], operand.step(k)) : A(0);
      }
    }
  }
};

// store(m, n, sum) is called once for every result of the tile at (m0, n0) inside (m_size, n_size); k runs over
// [k_begin, k_end). All 256 threads must call.
template <class A, class OperandA, class OperandB, class Store>
__device__ __forceinline__ void tile_product(const OperandA& a, const OperandB& b, int64_t m0, int64_t m_size,
                                             int64_t n0, int64_t n_size, int64_t k_begin, int64_t k_end,
                                             const Store& store) {
  auto& s = rt::static_shared<TileBuffers<A>>();
  const TileReader<A, OperandA> read_a(a, m0, m_size);
  const TileReader<A, OperandB> read_b(b, n0, n_size);
  const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
  A sum[4][4] = {};
  for (int64_t k0 = k_begin; k0 < k_end; k0 += kTileK) {
    __syncthreads();  // the step before has been read
    read_a.read(k0, k_end, s.a);
    read_b.read(k0, k_end, s.b);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kTileK; ++k) {
      A x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = s.a[k][row + i], y[i] = s.b[k][column + i];
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] += x[i] * y[j];
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (m0 + row + i < m_size && n0 + column + j < n_size) store(m0 + row + i, n0 + column + j, sum[i][j]);
}

}  // namespace skipway::cuda
