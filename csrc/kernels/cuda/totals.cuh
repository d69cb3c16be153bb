// The second pass of sums per channel or column: partial sums of blocks, added up in a fixed order.
#pragma once
#include "kernels/cuda/launch.cuh"

namespace skipway::cuda {

// A block of kTotalsBlock threads adds up the terms of kTotalsChannels channels.
inline constexpr int kTotalsBlock = 256, kTotalsChannels = 8, kTotalsRows = kTotalsBlock / kTotalsChannels;

struct Totals {
  double a[kTotalsBlock], b[kTotalsBlock];

  // f(i, a, b) adds the i-th of n terms of this thread's channel (threadIdx.x % kTotalsChannels) to its sums; all
  // threads must call, those of row 0 (threadIdx.x < kTotalsChannels) get the result.
  template <class F>
  __device__ __forceinline__ void operator()(int64_t n, double& first, double& second, const F& f) {
    const int me = threadIdx.x;
    first = second = 0;
    for (int64_t i = me / kTotalsChannels; i < n; i += kTotalsRows) f(i, first, second);
    __syncthreads();
    a[me] = first;
    b[me] = second;
    __syncthreads();
    for (int half = kTotalsBlock / 2; half >= kTotalsChannels; half /= 2) {
      if (me < half) {
        a[me] += a[me + half];
        b[me] += b[me + half];
      }
      __syncthreads();
    }
    first = a[me];
    second = b[me];
  }
};

inline unsigned limited_grid(int64_t blocks) {
  return unsigned(blocks < 1 ? 1 : blocks < (int64_t(1) << 30) ? blocks : int64_t(1) << 30);
}

}  // namespace skipway::cuda
