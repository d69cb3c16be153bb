// What kernels of row normalisation share: a row lies in the registers of 8 to 256 threads of a block.
#pragma once
#include "kernels/cuda/pack.cuh"

namespace skipway::cuda {

inline constexpr int kRowThreads = 256;
template <class T>
inline constexpr int kRowValues = sizeof(math_type<T>) == 8 ? 8 : 16;  // of a thread
template <class T, int N>
inline constexpr int kRowBlocks =
    N == 1 || sizeof(T) == 8 ? 1 : 2;  // on a multiprocessor, of those that keep rows in registers

// Sums of K values over the threads that share a row: a power of two, side by side. All threads of the block call;
// each gets its row's sums. The buffers take turns, so that one barrier is enough.
template <class S, int K>
struct RowSums {
  S part[2][K][kRowThreads / kWarp];

  __device__ __forceinline__ void operator()(int sharers, int& turn, S (&v)[K]) {
    const int start = sharers < kWarp ? sharers / 2 : kWarp / 2;
    for (int distance = start; distance > 0; distance /= 2) {
#pragma unroll
      for (int k = 0; k < K; ++k) v[k] += __shfl_xor_sync(kFullWarp, v[k], distance);
    }
    if (sharers <= kWarp) return;
    const int warp = threadIdx.x / kWarp, warps = sharers / kWarp, first = warp / warps * warps;
    turn ^= 1;
    if (threadIdx.x % kWarp == 0) {
#pragma unroll
      for (int k = 0; k < K; ++k) part[turn][k][warp] = v[k];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < K; ++k) {
      v[k] = 0;
      for (int w = first; w < first + warps; ++w) v[k] += part[turn][k][w];
    }
  }
};

// The parameters of N columns in the math type: of T, or of float32 with a 16-bit T; `other` where there are none.
template <class T, int N>
__device__ __forceinline__ void load_parameters(const void* p, DType d, int64_t c, math_type<T> other,
                                                math_type<T>* to) {
  using A = math_type<T>;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    to[k] = !p ? other : d == dtype_of<T> ? A(static_cast<const T*>(p)[c + k]) : A(static_cast<const float*>(p)[c + k]);
  }
}

template <class A>
struct RowScale {  // xhat = (x - high) * rstd - rest
  A high, rstd, rest;

  __device__ __forceinline__ A xhat(A x) const { return (x - high) * rstd - rest; }
  static __device__ __forceinline__ RowScale of(double mean, double rstd) {
    const A high = A(mean), scale = A(rstd);
    return {high, scale, mean == double(high) ? A(0) : A((mean - double(high)) * rstd)};
  }
};

// Threads for a row; 0 when it is too long for registers.
template <class T>
inline int row_sharers(int64_t cols) {
  for (int sharers = 8; sharers <= kRowThreads; sharers *= 2)
    if (cols <= int64_t(sharers) * kRowValues<T>) return sharers;
  return 0;
}

}  // namespace skipway::cuda
