// Elementwise kernels: operands read as packs of 128 bits where their walks allow it (dense, or broadcast or strided
// by whole packs), else element by element in any dtype.
#pragma once
#include "kernels/cuda/walk.cuh"

namespace skipway::cuda {

// All elementwise kernels are bound by the bytes they move, which takes about 1024 threads of a multiprocessor with 16
// bytes of each operand in flight: 4 blocks of 256 threads, at most 64 registers each.
inline constexpr int kElementThreads = 256, kElementBlocks = 4;

// May the operand be read (or the output be written) as packs of n elements of dtype d?
inline bool walks_in_packs(const Walk& w, DType d, int n, bool output = false) {
  const int inner = w.ndim - 1;
  if (!output && !w.data) return true;  // a number in the arguments
  if (w.dtype != d) return false;
  if (w.strides[inner] != 1) return !output && w.strides[inner] == 0 && (w.ndim == 1 || w.sizes[inner] % n == 0);
  if (reinterpret_cast<uintptr_t>(w.data) % uintptr_t(size_of(d) * n) != 0) return false;
  if (w.ndim > 1 && w.sizes[inner] % n != 0) return false;
  for (int i = 0; i < inner; ++i)
    if (w.strides[i] % n != 0) return false;
  return true;
}

// values[0..count) = elements i, i + 1, ...: a whole pack, or the last elements one by one (the rest is 0).
template <class T, int N, class A>
__device__ __forceinline__ void load_run(const DeviceWalk& w, int64_t i, int count, A (&values)[N]) {
  if (!w.data || w.repeats) {
    const A value = w.data ? A(static_cast<const T*>(w.data)[w.offset(i)]) : read_as<A>(&w.immediate, w.dtype, 0);
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = value;
    return;
  }
  const T* p = static_cast<const T*>(w.data) + w.offset(i);
  if (count == N) {
    const auto pack = load_pack<N>(p);
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = A(pack.v[k]);
  } else {  // the end of a dense operand
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = k < count ? A(p[k]) : A(0);
  }
}
template <class T, int N, class A>
__device__ __forceinline__ void store_run(const DeviceWalk& w, int64_t i, int count, const A (&values)[N]) {
  T* p = static_cast<T*>(w.data) + w.offset(i);
  if (count == N) {
    Pack<T, N> pack;
#pragma unroll
    for (int k = 0; k < N; ++k) pack.v[k] = T(values[k]);
    store_pack(p, pack);
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (k < count) p[k] = T(values[k]);
  }
}

// f(i, count) for runs of N elements; the last may be shorter.
template <int N, class F>
__device__ __forceinline__ void for_runs(int64_t n, const F& f) {
  const int64_t runs = (n + N - 1) / N, stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t run = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; run < runs; run += stride)
    f(run * N, n - run * N < N ? int(n - run * N) : N);
}

inline rt::At element_grid(int64_t n, int per_thread, const Stream& stream) {
  return {grid_for(ceil_div(n, per_thread), kElementThreads, stream), kElementThreads, 0, stream.handle};
}

}  // namespace skipway::cuda
