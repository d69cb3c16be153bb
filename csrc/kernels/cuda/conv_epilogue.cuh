// The way of a convolution's sums to memory, and what is done with them on it. With z = sum + bias:
//
//   moments of z per channel, for the batch normalisation that follows
//   y = act(z * scale + shift + residual)     (+ what y holds, for gradients that add up)
//
// A warp's results go through its own piece of shared memory, 16 rows at a time, so that a lane gets 8 neighbouring
// channels of one pixel: one or two instructions of 128 bits load the residual and store the result.
#pragma once
#include "kernels/conv_fused_args.h"
#include "kernels/cuda/conv_axes.cuh"
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/products.cuh"

namespace skipway::cuda {

struct Epilogue {
  const void* bias = nullptr;  // of the data's type, may be null
  ConvEpilogue map;            // scale, shift, residual, act
  bool add = false;
  float* moments = nullptr;  // out, see Moments; may be null
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
      const float bias = inside && e.bias ? float(static_cast<const T*>(e.bias)[c + k]) : 0.0f;
      scale[k] = inside && e.map.scale ? e.map.scale[c + k] : 1.0f;
      shift[k] = inside && e.map.shift ? fmaf(bias, scale[k], e.map.shift[c + k]) : bias;
    }
  }
  __device__ __forceinline__ void finish(const Epilogue& e, const float* sums, T* to, int64_t at) const {
    float v[kLaneChannels];
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) v[k] = fmaf(sums[k], scale[k], shift[k]);
    if (e.map.residual) add_pack(v, static_cast<const T*>(e.map.residual) + at);
    if (e.add) add_pack(v, to + at);
    Pack<T, kLaneChannels> result;
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) result.v[k] = T(fused_act(e.map.act, v[k]));
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

// Mean and sum of squared deviations of n values; two of them join as in Chan, Golub and LeVeque, "Updating formulae
// and a pairwise algorithm for computing sample variances" (1979): no differences of large squares.
struct Moment {
  float n, mean, deviations;
  __device__ __forceinline__ void join(const Moment& o) {
    const float total = n + o.n, share = total > 0 ? o.n / total : 0.0f, d = o.mean - mean;
    mean += d * share;
    deviations += o.deviations + d * d * n * share;
    n = total;
  }
};

// Moments of the tiles' sums (without the bias), to be joined by join_moments: of tile `part` of a result with
// `channels` channels in all, partial[part][2 * channels + 1] = means, deviations, count.
template <int kWarps, int kColumns>
struct Moments {
  Moment of_warp[kWarps][kColumns];

  // The warp's results at column n of the tile; warp: of those that share columns. place: as in write_results.
  template <int kM, int kN, class P, class Place>
  __device__ __forceinline__ void add(const P& products, int warp, int n, const Place& place) {
    const int lane = threadIdx.x % kWarp;
    bool inside[kM / 8];
    float count = 0;
#pragma unroll
    for (int i = 0; i < kM / 8; ++i) {
      inside[i] = place(lane / 4 + 8 * i) >= 0;
      count += inside[i] ? 1.0f : 0.0f;
    }
#pragma unroll
    for (int j = 0; j < kN / 4; ++j) {
      float sum = 0, deviations = 0;
#pragma unroll
      for (int i = 0; i < kM / 8; ++i) sum += inside[i] ? products.at(i, j) : 0.0f;
      const float mean = count > 0 ? sum / count : 0.0f;
#pragma unroll
      for (int i = 0; i < kM / 8; ++i) {
        const float d = inside[i] ? products.at(i, j) - mean : 0.0f;
        deviations += d * d;
      }
      Moment m{count, mean, deviations};
#pragma unroll
      for (int distance = 4; distance < kWarp; distance *= 2)
        m.join({__shfl_xor_sync(kFullWarp, m.n, distance), __shfl_xor_sync(kFullWarp, m.mean, distance),
                __shfl_xor_sync(kFullWarp, m.deviations, distance)});
      if (lane < 4) of_warp[warp][n + P::column_of(j)] = m;
    }
  }
  // After a barrier: all columns to `partial`, of which the tile's first is channel `first` and `left` exist.
  __device__ __forceinline__ void store(float* partial, int64_t part, int64_t channels, int64_t first, int left,
                                        int warps) const {
    float* to = partial + part * (2 * channels + 1);
    for (int c = int(threadIdx.x); c < kColumns && c < left; c += int(blockDim.x)) {
      Moment m = of_warp[0][c];
      for (int w = 1; w < warps; ++w) m.join(of_warp[w][c]);
      to[first + c] = m.mean;
      to[channels + first + c] = m.deviations;
      if (first + c == 0) to[2 * channels] = m.n;
    }
  }
};

// Where the results of position m begin.
__device__ __forceinline__ int64_t element_of_position(const Phase& phase, const Image& to, const Position& at) {
  const int h = phase.h.first + at.h * phase.h.to_step, w = phase.w.first + at.w * phase.w.to_step;
  return to.pixel(at.image, h, w) * to.pitch;
}

}  // namespace skipway::cuda
