// Loaders: what brings the operands of a convolution from global memory into the stages of the pipeline, by cp.async.
// A thread copies one chunk of several rows of each stage, and keeps what these rows are in registers, so that a stage
// costs it no division.
//
// A prologue, act((x - mean) * scale + shift) of the pixels inside the image, is done by the thread that copied a
// chunk, in shared memory, once its copy has arrived and before others may read it: what pads the image stays zero.
#pragma once
#include "kernels/conv_fused_args.h"
#include "kernels/cuda/conv_axes.cuh"
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/products.cuh"

namespace skipway::cuda {

inline constexpr int kStages = 3;  // of the pipeline

// A block's tile of results, and the part of it that is a warp's.
template <int kM_, int kN_, int kWarpM_, int kWarpN_>
struct Tile {
  static constexpr int kM = kM_, kN = kN_, kWarpM = kWarpM_, kWarpN = kWarpN_;
  static constexpr int kWarpsM = kM / kWarpM, kThreads = kWarpsM * (kN / kWarpN) * kWarp;
};
using SmallTile = Tile<64, 64, 32, 32>;    // 4 warps, 24 KB of stages
using LargeTile = Tile<128, 128, 64, 32>;  // 8 warps, 48 KB

// f(Type<How>, Type<Tile>): how elements of this dtype are multiplied, and the tile; float32 has no large one.
template <class F>
void dispatch_tiles(DType d, bool tf32, bool large, const F& f) {
  if (d == DType::BFloat16)
    return large ? f(Type<bfloat16>{}, Type<LargeTile>{}) : f(Type<bfloat16>{}, Type<SmallTile>{});
  if (d == DType::Float16) return large ? f(Type<float16>{}, Type<LargeTile>{}) : f(Type<float16>{}, Type<SmallTile>{});
  return tf32 ? f(Type<TensorFloat>{}, Type<SmallTile>{}) : f(Type<PlainFloat>{}, Type<SmallTile>{});
}

// The chunks at(i), i < kRows, of those pixels for which bit i says that they are in the image: all of channels c, c +
// 1, ..., a multiple of kChunk. Four channels at a time, as registers are scarce.
template <class T, int kRows, class At>
__device__ __forceinline__ void apply_prologue(const ConvPrologue& p, int64_t c, unsigned in_image, const At& at) {
#pragma unroll
  for (int k = 0; k < kChunk<T>; k += 4) {
    const auto scale = load_pack<4>(p.scale + c + k), shift = load_pack<4>(p.shift + c + k);
    Pack<float, 4> mean{};
    if (p.mean) mean = load_pack<4>(p.mean + c + k);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (!(in_image >> i & 1)) continue;
      T* x = reinterpret_cast<T*>(at(i)) + k;
      auto v = load_pack<4>(x);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        v.v[e] = T(fused_act(p.act, affine(float(v.v[e]), mean.v[e], scale.v[e], shift.v[e])));
      store_pack(x, v);
    }
  }
}

// The index k of the sum is (tap row, tap column, channel); a chunk stays within a tap, as channels are a multiple of
// it. A thread's chunks are 4 chunks apart.
template <class T>
struct TapCursor {
  int h, w, c;  // h == taps: past the end
  __device__ __forceinline__ TapCursor(int chunk, const Phase& p, int channels)
      : h(p.w.taps > 0 ? 0 : p.h.taps), w(0), c(chunk * kChunk<T>) {
    settle(p, channels);
  }
  __device__ __forceinline__ void advance(const Phase& p, int channels) {
    c += kStageK<T>;
    settle(p, channels);
  }

 private:
  __device__ __forceinline__ void settle(const Phase& p, int channels) {
    while (c >= channels && h < p.h.taps) {
      c -= channels;
      if (++w == p.w.taps) w = 0, ++h;
    }
  }
};

// Operand a of a correlation: row m holds position m's values at (tap, channel).
template <class T, int kRows, int kThreads>
struct ImageRows {
  static constexpr int kEach = kRows * kRowChunks / kThreads;  // rows of a thread
  const T* image[kEach];
  int y[kEach], x[kEach];

  __device__ __forceinline__ ImageRows(const Phase& p, const Image& from, const T* data, int m0) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int m = m0 + row(i);
      const bool inside = m < p.positions;
      const Position at = decode(p, inside ? m : 0);
      image[i] = data + from.pixel(at.image, 0, 0) * from.pitch;
      y[i] = inside ? at.h * p.h.from_step + p.h.shift : -(1 << 30);  // above the image, whatever the tap
      x[i] = at.w * p.w.from_step + p.w.shift;
    }
  }
  static __device__ __forceinline__ int row(int i) {
    return int(threadIdx.x) / kRowChunks + i * (kThreads / kRowChunks);
  }
  static __device__ __forceinline__ int chunk() { return int(threadIdx.x) % kRowChunks; }

  __device__ __forceinline__ void load(const Phase& p, const Image& from, const TapCursor<T>& at, Chunk* stage) const {
    const int dy = at.h * p.h.shift_step, dx = at.w * p.w.shift_step;
    const bool some = at.h < p.h.taps;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int r = y[i] + dy, s = x[i] + dx;
      const bool inside = some && unsigned(r) < unsigned(from.h) && unsigned(s) < unsigned(from.w);
      const T* source = inside ? image[i] + (int64_t(r) * from.w + s) * from.pitch + at.c : image[i];
      ptx::cp_async16(&stage[rows_at(row(i), chunk())], source, inside);
    }
  }
  // For the chunks that load() of the same cursor copied; first: the group's first channel.
  __device__ __forceinline__ void prologue(const Phase& p, const Image& from, const TapCursor<T>& at,
                                           const ConvPrologue& f, int64_t first, Chunk* stage) const {
    const int dy = at.h * p.h.shift_step, dx = at.w * p.w.shift_step;
    if (at.h >= p.h.taps) return;
    unsigned in_image = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      in_image |= unsigned(unsigned(y[i] + dy) < unsigned(from.h) && unsigned(x[i] + dx) < unsigned(from.w)) << i;
    apply_prologue<T, kEach>(f, first + at.c, in_image, [&](int i) { return &stage[rows_at(row(i), chunk())]; });
  }
};

// Operand b of a correlation: row n holds the filter of result channel n, packed as [n][tap][channel].
template <class T, int kRows, int kThreads>
struct FilterRows {
  static constexpr int kEach = kRows * kRowChunks / kThreads;
  const T* filter;
  int n0, rows;  // rows: result channels
  int length;    // of a filter

  __device__ __forceinline__ void load(const Phase& p, int kernel_w, int channels, const TapCursor<T>& at,
                                       Chunk* stage) const {
    const int tap = (p.h.tap + at.h * p.h.tap_step) * kernel_w + p.w.tap + at.w * p.w.tap_step;
    const bool some = at.h < p.h.taps;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int row = int(threadIdx.x) / kRowChunks + i * (kThreads / kRowChunks), n = n0 + row;
      const bool inside = some && n < rows;
      const T* source = inside ? filter + int64_t(n) * length + tap * channels + at.c : filter;
      ptx::cp_async16(&stage[rows_at(row, int(threadIdx.x) % kRowChunks)], source, inside);
    }
  }
};

}  // namespace skipway::cuda
