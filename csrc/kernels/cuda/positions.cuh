// Walks over channels-last tensors: a work item is a pack of N channels at one position of one image.
#pragma once
#include "kernels/cuda/walk.cuh"

namespace skipway::cuda {

struct Position {
  int64_t image, at[3], channel;
};

struct Positions {
  int64_t size[3], packs, total;
  bool small;
  Divider by_size[3], by_packs;

  Positions(int64_t images, int64_t a, int64_t b, int64_t c, int64_t channels, int pack)
      : size{a, b, c}, packs(channels / pack), total(images * a * b * c * packs), small(total < (int64_t(1) << 31)) {
    if (!small) return;
    for (int d = 0; d < 3; ++d) by_size[d] = Divider(uint32_t(size[d] ? size[d] : 1));
    by_packs = Divider(uint32_t(packs ? packs : 1));
  }

  template <int N>
  __device__ __forceinline__ Position decode(int64_t i) const {
    Position p;
    if (small) {
      uint32_t rest = uint32_t(i), outer = by_packs.divide(rest);
      p.channel = int64_t(rest - outer * by_packs.divisor) * N;
      rest = outer;
#pragma unroll
      for (int d = 2; d >= 0; --d) {
        outer = by_size[d].divide(rest);
        p.at[d] = rest - outer * by_size[d].divisor;
        rest = outer;
      }
      p.image = rest;
      return p;
    }
    int64_t outer = i / packs;
    p.channel = (i - outer * packs) * N;
#pragma unroll
    for (int d = 2; d >= 0; --d) {
      const int64_t rest = outer;
      outer = rest / size[d];
      p.at[d] = rest - outer * size[d];
    }
    p.image = outer;
    return p;
  }
};

// f(position, its number) for each, over a grid of any size.
template <int N, class F>
__device__ __forceinline__ void for_positions(const Positions& p, const F& f) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < p.total; i += stride)
    f(p.template decode<N>(i), i);
}

}  // namespace skipway::cuda
