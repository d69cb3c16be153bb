// Sums and extremes over a warp and a block, always in the same order.
#pragma once
#include "kernels/cuda/launch.cuh"

namespace skipway::cuda {

// All lanes get the result of combine(a, b) over the warp, pairwise: lane distance 16, 8, ... 1. Every lane must call.
template <class T, class F>
__device__ __forceinline__ T warp_reduce(T v, const F& combine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) v = combine(v, __shfl_xor_sync(kFullWarp, v, distance));
  return v;
}
struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
// NaN wins.
struct Largest {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a != a || a > b ? a : b;
  }
};
template <class T>
__device__ __forceinline__ T warp_sum(T v) {
  return warp_reduce(v, Sum{});
}

// Over a block of kThreads threads (a multiple of 32); all threads get the result, and all must call. `identity`
// combines with anything to the other.
template <class T, int kThreads>
struct BlockReduce {
  static_assert(kThreads % kWarp == 0 && kThreads <= 1024);
  T part[kThreads / kWarp];

  template <class F>
  __device__ __forceinline__ T operator()(T v, T identity, const F& combine) {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    v = warp_reduce(v, combine);
    __syncthreads();  // whoever read `part` last is done
    if (lane == 0) part[warp] = v;
    __syncthreads();
    return warp_reduce(lane < kThreads / kWarp ? part[lane] : identity, combine);
  }
  __device__ __forceinline__ T sum(T v) { return (*this)(v, T(0), Sum{}); }
};

}  // namespace skipway::cuda
