// The way of a convolution's sums to memory, and what is done with them on it. With z = sum + bias:
//
//   moments of z per channel, for the batch normalisation that follows
//   y = act(z * scale + shift + residual)     (+ what y holds, for gradients that add up)
//   or, of a data gradient, sums for the backward pass of a batch normalisation (ConvGradSums)
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
  float* moments = nullptr;    // out, see Moments; may be null
  ConvGradSums sums;           // then nothing of the above
  float* grad_sums = nullptr;  // out, see GradientSums; may be null
};

inline constexpr int kLaneChannels = 8;

template <int kN>
struct Strip {
  float v[16][kN + 4];
};

template <class T>
__device__ __forceinline__ Pack<T, kLaneChannels> load_lane(const T* from) {
  constexpr int kEach = kLaneChannels < kPack<T> ? kLaneChannels : kPack<T>;
  Pack<T, kLaneChannels> result;
#pragma unroll
  for (int k = 0; k < kLaneChannels; k += kEach) {
    const auto part = load_pack<kEach>(from + k);
#pragma unroll
    for (int i = 0; i < kEach; ++i) result.v[k + i] = part.v[i];
  }
  return result;
}
template <class T>
__device__ __forceinline__ void store_lane(T* to, const Pack<T, kLaneChannels>& result) {
  constexpr int kEach = kLaneChannels < kPack<T> ? kLaneChannels : kPack<T>;
#pragma unroll
  for (int k = 0; k < kLaneChannels; k += kEach) {
    Pack<T, kEach> part;
#pragma unroll
    for (int i = 0; i < kEach; ++i) part.v[i] = result.v[k + i];
    store_pack(to + k, part);
  }
}

// What a lane does with its channels [c, c + 8), the same for all of its pixels.
template <class T>
struct LaneEpilogue {
  const Epilogue& e;
  float scale[kLaneChannels], shift[kLaneChannels];

  __device__ __forceinline__ LaneEpilogue(const Epilogue& epilogue, int64_t c, bool inside) : e(epilogue) {
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) {
      const float bias = inside && e.bias ? float(static_cast<const T*>(e.bias)[c + k]) : 0.0f;
      scale[k] = inside && e.map.scale ? e.map.scale[c + k] : 1.0f;
      shift[k] = inside && e.map.shift ? fmaf(bias, scale[k], e.map.shift[c + k]) : bias;
    }
  }
  __device__ __forceinline__ void finish(const float* sums, T* to, int64_t at) const {
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
  static __device__ __forceinline__ void add_pack(float (&v)[kLaneChannels], const T* from) {
    const auto more = load_lane(from);
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) v[k] += float(more.v[k]);
  }
};

// The same for a gradient d that is summed as ConvGradSums says; x: of the group's first channel. The numbers of the
// norm are read again for each pixel, as registers are scarce.
template <class T>
struct LaneGradient {
  const ConvGradSums& s;
  const T* x;
  int64_t c;
  float first[kLaneChannels] = {}, second[kLaneChannels] = {};

  __device__ __forceinline__ LaneGradient(const ConvGradSums& sums, const T* from, int64_t channel)
      : s(sums), x(from), c(channel) {}
  __device__ __forceinline__ void finish(const float* sums, T* to, int64_t at) {
    Pack<T, kLaneChannels> d;
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) d.v[k] = T(sums[k]);
    const auto v = load_lane(x + at);
    store_lane(to + at, d);
#pragma unroll
    for (int k = 0; k < kLaneChannels; k += 4) {
      const auto mean = load_pack<4>(s.mean + c + k), scale = load_pack<4>(s.scale + c + k);
      const auto shift = load_pack<4>(s.shift + c + k);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float from = float(v.v[k + e]), z = affine(from, mean.v[e], scale.v[e], shift.v[e]);
        const float dz = stored_act_grad<T>(s.act, float(d.v[k + e]), z);
        first[k + e] += dz;
        second[k + e] += dz * (from - mean.v[e]);
      }
    }
  }
};

// The first of a lane's columns.
template <int kN>
__device__ __forceinline__ int lane_column() {
  return int(threadIdx.x) % (kN / kLaneChannels) * kLaneChannels;
}

// The warp's kM x kN results, of which this warp's first column is the group's channel n0, through `mine`, which is a
// LaneEpilogue or a LaneGradient. place(row) says where a row's results begin (the group's first channel), as an
// element of `to`, or -1. All lanes call.
template <int kM, int kN, class T, class P, class Lane, class Place>
__device__ __forceinline__ void write_rows(const P& products, Strip<kN>& strip, Lane& mine, T* to, int n0, int channels,
                                           const Place& place) {
  constexpr int kLanes = kN / kLaneChannels, kRows = kWarp / kLanes;  // lanes of a row, rows at a time
  static_assert(kRows <= 16);
  const int lane = threadIdx.x % kWarp, column = lane_column<kN>();
  const bool inside = n0 + column < channels;
#pragma unroll
  for (int i = 0; i < kM / 16; ++i) {
    products.strip(i, [&](int r, int c, float value) { strip.v[r][c] = value; });
    __syncwarp();
#pragma unroll
    for (int r = lane / kLanes; r < 16; r += kRows) {
      const int64_t at = inside ? place(i * 16 + r) : -1;
      if (at >= 0) mine.finish(&strip.v[r][column], to, at + n0 + column);
    }
    __syncwarp();  // the strip has been read
  }
}

// With the epilogue; the warp's first column is channel `first` + n0 in all.
template <int kM, int kN, class T, class P, class Place>
__device__ __forceinline__ void write_results(const P& products, Strip<kN>& strip, const Epilogue& e, T* to, int n0,
                                              int channels, int64_t first, const Place& place) {
  const int column = n0 + lane_column<kN>();
  const LaneEpilogue<T> mine(e, first + column, column < channels);
  write_rows<kM, kN>(products, strip, mine, to, n0, channels, place);
}

// The sums of a LaneGradient over a tile, to be joined by PartialSums (conv_sums_cuda.cu): of tile `part` of a result
// with `channels` channels in all, partial[part][2][channels].
template <int kWarps, int kColumns>
struct GradientSums {
  float of_warp[kWarps][2][kColumns];

  // The warp's columns from column n of the tile; warp: of those that share columns.
  template <int kN, class T>
  __device__ __forceinline__ void add(const LaneGradient<T>& mine, int warp, int n) {
    constexpr int kLanes = kN / kLaneChannels;
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) {
      float a = mine.first[k], b = mine.second[k];
#pragma unroll
      for (int distance = kLanes; distance < kWarp; distance *= 2) {
        a += __shfl_xor_sync(kFullWarp, a, distance);
        b += __shfl_xor_sync(kFullWarp, b, distance);
      }
      if (lane >= kLanes) continue;
      of_warp[warp][0][n + lane * kLaneChannels + k] = a;
      of_warp[warp][1][n + lane * kLaneChannels + k] = b;
    }
  }
  // After a barrier: all columns, of which the tile's first is channel `first` and `left` exist.
  __device__ __forceinline__ void store(float* partial, int64_t part, int64_t channels, int64_t first, int left,
                                        int warps) const {
    float* to = partial + part * 2 * channels + first;
    for (int c = int(threadIdx.x); c < kColumns && c < left; c += int(blockDim.x)) {
      float a = 0, b = 0;
      for (int w = 0; w < warps; ++w) {
        a += of_warp[w][0][c];
        b += of_warp[w][1][c];
      }
      to[c] = a;
      to[channels + c] = b;
    }
  }
};

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

// Moments of the tiles' sums (without the bias), to be joined by PartialMoments: of tile `part` of a result with
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
