// The way of a convolution's sums to memory: what is done with them on the way, and in which order.
//
//   y = act(sum * scale + shift + residual)     or     y = sum + bias     (+ what y holds, for gradients that add up)
//
// A warp's results go through its own piece of shared memory, 16 rows at a time, so that a lane gets 8 neighbouring
// channels of one pixel: one or two instructions of 128 bits load the residual and store the result.
#pragma once
#include "kernels/cuda/conv_axes.cuh"
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/products.cuh"

namespace skipway::cuda {

struct Epilogue {
  const void* bias = nullptr;                      // of the data's type, may be null
  const float *scale = nullptr, *shift = nullptr;  // per channel, may be null
  const void* residual = nullptr;                  // like the result, may be null
  FusedAct act = FusedAct::None;
  bool add = false;
};

inline constexpr int kLaneChannels = 8;

template <int kN>
struct Strip {
  float v[16][kN + 4];
};

// What a lane does with its channels [c, c + 8), the same for all of its pixels.
template <class T>
struct LaneEpilogue {
  float scale[kLaneChannels], shift[kLaneChannels];

  __device__ __forceinline__ LaneEpilogue(const Epilogue& e, int64_t c, bool inside) {
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) {
      scale[k] = inside && e.scale ? e.scale[c + k] : 1.0f;
      shift[k] = inside && e.shift  ? e.shift[c + k]
                 : inside && e.bias ? float(static_cast<const T*>(e.bias)[c + k])
                                    : 0.0f;
    }
  }
  __device__ __forceinline__ void finish(const Epilogue& e, const float* sums, T* to, int64_t at) const {
    float v[kLaneChannels];
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) v[k] = e.scale ? fmaf(sums[k], scale[k], shift[k]) : sums[k] + shift[k];
    if (e.residual) add_pack(v, static_cast<const T*>(e.residual) + at);
    if (e.add) add_pack(v, to + at);
    Pack<T, kLaneChannels> result;
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) result.v[k] = T(fused_act(e.act, v[k]));
    store_lane(to + at, result);
  }

 private:
  static constexpr int kEach = kLaneChannels < kPack<T> ? kLaneChannels : kPack<T>;
  static __device__ __forceinline__ void add_pack(float (&v)[kLaneChannels], const T* from) {
#pragma unroll
    for (int k = 0; k < kLaneChannels; k += kEach) {
      const auto more = load_pack<kEach>(from + k);
#pragma unroll
      for (int i = 0; i < kEach; ++i) v[k + i] += float(more.v[i]);
    }
  }
  static __device__ __forceinline__ void store_lane(T* to, const Pack<T, kLaneChannels>& result) {
#pragma unroll
    for (int k = 0; k < kLaneChannels; k += kEach) {
      Pack<T, kEach> part;
#pragma unroll
      for (int i = 0; i < kEach; ++i) part.v[i] = result.v[k + i];
      store_pack(to + k, part);
    }
  }
};

// The warp's kM x kN results, of which this warp's first column is the group's channel n0, channel `first` + n0 in all.
// place(row) says where a row's results begin (the group's first channel), as an element of `to`, or -1. All lanes
// call.
template <int kM, int kN, class T, class P, class Place>
__device__ __forceinline__ void write_results(const P& products, Strip<kN>& strip, const Epilogue& e, T* to, int n0,
                                              int channels, int64_t first, const Place& place) {
  constexpr int kLanes = kN / kLaneChannels, kRows = kWarp / kLanes;  // lanes of a row, rows at a time
  static_assert(kRows <= 16);
  const int lane = threadIdx.x % kWarp, column = lane % kLanes * kLaneChannels;
  const bool inside = n0 + column < channels;
  const LaneEpilogue<T> mine(e, first + n0 + column, inside);
#pragma unroll
  for (int i = 0; i < kM / 16; ++i) {
    products.strip(i, [&](int r, int c, float value) { strip.v[r][c] = value; });
    __syncwarp();
#pragma unroll
    for (int r = lane / kLanes; r < 16; r += kRows) {
      const int64_t at = inside ? place(i * 16 + r) : -1;
      if (at >= 0) mine.finish(e, &strip.v[r][column], to, at + n0 + column);
    }
    __syncwarp();  // the strip has been read
  }
}

// Where the results of position m begin.
__device__ __forceinline__ int64_t element_of_position(const Phase& phase, const Image& to, const Position& at) {
  const int h = phase.h.first + at.h * phase.h.to_step, w = phase.w.first + at.w * phase.w.to_step;
  return to.pixel(at.image, h, w) * to.pitch;
}

}  // namespace skipway::cuda
