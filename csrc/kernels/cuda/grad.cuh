// Gradients on their way to memory.
#pragma once
#include "kernels/cuda/pack.cuh"

namespace skipway::cuda {

// N neighbouring elements, written or added to what is there; d is used up, as registers are scarce.
template <class T, int N>
__device__ __forceinline__ void store_grad(T* to, GradMode mode, math_type<T> (&d)[N]) {
  if (mode == GradMode::Skip) return;
  if (mode == GradMode::Add) {
    const auto old = load_pack<N>(to);
#pragma unroll
    for (int k = 0; k < N; ++k) d[k] += math_type<T>(old.v[k]);
  }
  Pack<T, N> out;
#pragma unroll
  for (int k = 0; k < N; ++k) out.v[k] = T(d[k]);
  store_pack(to, out);
}

}  // namespace skipway::cuda
