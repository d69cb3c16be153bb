// The numerically safe pieces of softmax along lines: elements that are read once and kept, max(x), sum(exp(x - max)).
#pragma once
#include "kernels/cuda/lines.cuh"
#include "kernels/cuda/math.cuh"

namespace skipway::cuda {

// A block's dynamic shared memory for the packs of its lines: each thread keeps its own, [step of the thread][thread].
inline constexpr size_t kLineCacheBytes = 48 * 1024;

// Blocks on a multiprocessor: float64 takes twice the registers.
template <class T>
inline constexpr int kLineBlocksOf = sizeof(T) == 8 ? 2 : 4;

// Bytes for `arrays` arrays of lines with packs of `pack_bytes`; 0: they do not fit.
inline size_t line_cache_bytes(const Lines& l, size_t pack_bytes, int arrays = 1) {
  const int64_t steps = ceil_div(l.steps, int64_t(1) << l.log_y);
  const size_t bytes = size_t(steps) * pack_bytes * kLineThreads * size_t(arrays);
  return steps * kLineThreads < int64_t(kLineCacheBytes) && bytes <= kLineCacheBytes ? bytes : 0;
}
template <class P>
struct LineCache {
  P v[1];  // as many as there is dynamic shared memory
};

// max and sum(exp(x - max)) of what has been seen.
template <class A>
struct SoftSum {
  A max = A(-__builtin_inf()), sum = A(0);

  template <int N>
  __device__ __forceinline__ void take(const A (&v)[N]) {
    A most = v[0];
#pragma unroll
    for (int k = 1; k < N; ++k) most = Largest{}(most, v[k]);
    most = Largest{}(max, most);
    if (most == A(-__builtin_inf())) return;
    A here = A(0);
#pragma unroll
    for (int k = 0; k < N; ++k) here += dexp(v[k] - most);
    sum = most == max ? sum + here : sum * dexp(max - most) + here;
    max = most;
  }
  // Over the threads of a line. A line of -inf alone, or with NaN, has the sum NaN.
  __device__ __forceinline__ void merge(const Lines& l) {
    const A most = merge_line(l, max, Largest{});
    sum = sum_line(l, sum == A(0) && most == most ? A(0) : sum * dexp(max - most));
    if (most == A(-__builtin_inf())) sum = most - most;
    max = most;
  }
};

}  // namespace skipway::cuda
