// Resizing. Formulas: ops/interpolate.h. A thread computes a pack of channels of one output from the taps of three
// axes; neighbours' inputs come from cache. Memory-bound.
#include "kernels/cuda/positions.cuh"
#include "ops/interpolate.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) resample(ResampleArgs a, Positions positions) {
  using A = math_type<T>;
  for_positions<N>(positions, [&](const Position& p, int64_t item) {
    const ResampleAxis* axis = a.axis;
    const T* x = static_cast<const T*>(a.x) + p.image * axis[0].in * axis[1].in * axis[2].in * a.c + p.channel;
    A total[N] = {};
    for (int32_t i = axis[0].start[p.at[0]]; i < axis[0].start[p.at[0] + 1]; ++i) {
      for (int32_t j = axis[1].start[p.at[1]]; j < axis[1].start[p.at[1] + 1]; ++j) {
        const T* line = x + (axis[0].index[i] * axis[1].in + axis[1].index[j]) * axis[2].in * a.c;
        A sum[N] = {};
        for (int32_t k = axis[2].start[p.at[2]]; k < axis[2].start[p.at[2] + 1]; ++k) {
          const auto v = load_pack<N>(line + axis[2].index[k] * a.c);
          const A weight = A(axis[2].weight[k]);
#pragma unroll
          for (int e = 0; e < N; ++e) sum[e] += A(v.v[e]) * weight;
        }
        const A weight = A(axis[0].weight[i] * axis[1].weight[j]);
#pragma unroll
        for (int e = 0; e < N; ++e) total[e] += sum[e] * weight;
      }
    }
    Pack<T, N> y;
#pragma unroll
    for (int e = 0; e < N; ++e) y.v[e] = T(total[e]);
    store_pack(static_cast<T*>(a.y) + item * N, y);
  });
}

}  // namespace

SW_CUDA_KERNEL(resample_kernel, a, stream) {
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const bool packs = packs_at<T>(a.x, a.c) && packs_at<T>(a.y, a.c);
    const Positions p(a.n, a.axis[0].out, a.axis[1].out, a.axis[2].out, a.c, packs ? kPack<T> : 1);
    if (p.total == 0) return;
    rt::launch(packs ? resample<T, kPack<T>> : resample<T, 1>,
               {grid_for(p.total, kThreads, stream), kThreads, 0, stream.handle}, a, p);
  });
}

}  // namespace skipway::cuda
