// Channel normalisation, backward: sums over the data, constants of dx (small), dx. Formulas: ops/batch_norm.h; how the
// data is cut: channel_tiles.cuh. Memory-bound: x and dy are read twice (dz in dy's place the second time, where it is
// an output), dx and dz are written once, and act's mask costs a bit per element or nothing.
#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/batch_norm.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
struct GradStreams {
  const T *x, *dy;
  T* out;               // dz or dx
  GradMode mode;        // of out
  FusedAct act;         // None: dy is dz
  const uint8_t* mask;  // null: from y, or else from x
  int mask_shift;       // log2 of the elements of a byte
  const T* y;           // act's result, may be null
};

template <class A>
struct GradColumns {
  A mean[kTileColumns], rstd[kTileColumns], scale[kTileColumns], shift[kTileColumns], b[kTileColumns], c[kTileColumns];
};

// The constants of a tile's columns. bc: b and c of dx, [2][samples][channels], or null.
template <class A>
__device__ __forceinline__ void load_columns(const ChannelTiles& t, const TilePlace& p, const ChannelConstants& k,
                                             const double* bc, GradColumns<A>& to) {
  __syncthreads();
  for (int j = threadIdx.x; j < t.across * t.pack && p.tile_column + j < t.columns; j += kTileBlock) {
    const int64_t i = p.sample * t.channels + (p.tile_column + j) % t.channels;
    const double mean = k.mean[i], rstd = k.rstd[i], rest = mean - double(A(mean));
    const ApplyConstants<A> apply(mean, k.scale[i], k.bias[i]);
    to.mean[j] = apply.mean;
    to.rstd[j] = A(rstd);
    to.scale[j] = apply.scale;
    to.shift[j] = apply.shift;
    const double b = bc ? bc[i] : 0;
    to.b[j] = A(b);
    to.c[j] = bc ? A(bc[t.samples * t.channels + i] - b * rest * rstd) : A(0);
  }
  __syncthreads();
}

// dz = dy * act'(z) of N neighbours.
template <class T, int N>
__device__ __forceinline__ void masked(const GradStreams<T>& s, int64_t i, const Pack<T, N>& x, const Pack<T, N>& dy,
                                       const GradColumns<math_type<T>>& k, int column, math_type<T> (&dz)[N]) {
  using A = math_type<T>;
#pragma unroll
  for (int e = 0; e < N; ++e) dz[e] = A(dy.v[e]);
  if (s.act == FusedAct::None) return;
  if (s.mask || s.y) {
    unsigned bits = 0;
    if (s.mask) {
      bits = unsigned(s.mask[i >> s.mask_shift]) >> (i & ((1 << s.mask_shift) - 1));
    } else {
      const auto y = load_pack<N>(s.y + i);
#pragma unroll
      for (int e = 0; e < N; ++e) bits |= unsigned(fused_act_passes(s.act, A(y.v[e]))) << e;
    }
#pragma unroll
    for (int e = 0; e < N; ++e) dz[e] = fused_act_grad_bit(s.act, dz[e], bits >> e & 1);
    return;
  }
#pragma unroll
  for (int e = 0; e < N; ++e) {
    const A z = affine(A(x.v[e]), k.mean[column + e], k.scale[column + e], k.shift[column + e]);
    dz[e] = stored_act_grad<T>(s.act, dz[e], z);
  }
}

template <class T, int N>
__device__ __forceinline__ void store_grad(T* to, const Pack<T, N>& old, GradMode mode, const math_type<T> (&g)[N]) {
  using A = math_type<T>;
  Pack<T, N> out;
#pragma unroll
  for (int e = 0; e < N; ++e) out.v[e] = T(mode == GradMode::Add ? A(old.v[e]) + A(T(g[e])) : g[e]);
  store_pack(to, out);
}

// What is read of some rows, `step` elements apart, before any of it is waited for.
template <class T, int N, int rows>
struct GradRows {
  Pack<T, N> x[rows], dy[rows], old[rows];
  __device__ __forceinline__ GradRows(const GradStreams<T>& s, int64_t i, int64_t step) {
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      x[r] = load_pack<N>(s.x + i + r * step);
      dy[r] = load_pack<N>(s.dy + i + r * step);
      if (s.mode == GradMode::Add) old[r] = load_pack<N>(s.out + i + r * step);
    }
  }
};

// Sums of dz and dz * (x - mean); dz itself where it is an output. 2 blocks of 256 threads per multiprocessor.
template <class T, int N>
__global__ void __launch_bounds__(kTileBlock, 2)
    channel_grad_sums(ChannelTiles t, GradStreams<T> s, ChannelConstants constants, double* partial) {
  using A = math_type<T>;
  struct Shared {
    GradColumns<A> columns;
    TileSums<N> sums;
  };
  auto& shared = rt::dyn_shared<Shared>();
  for (int64_t task = blockIdx.x; task < t.tasks(); task += gridDim.x) {
    const TilePlace p(t, task);
    load_columns(t, p, constants, nullptr, shared.columns);
    const int column = p.x * N;
    A first[N] = {}, second[N] = {}, mean[N];
    if (p.count > 0) {
#pragma unroll
      for (int e = 0; e < N; ++e) mean[e] = shared.columns.mean[column + e];
    }
    for_rows<2>(p, [&]<int rows>(int64_t i, Type<char[rows]>) {
      const GradRows<T, N, rows> in(s, i, p.step);
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        A dz[N];
        masked(s, i + r * p.step, in.x[r], in.dy[r], shared.columns, column, dz);
#pragma unroll
        for (int e = 0; e < N; ++e) {
          first[e] += dz[e];
          second[e] += dz[e] * (A(in.x[r].v[e]) - mean[e]);
        }
        if (s.mode != GradMode::Skip) store_grad(s.out + i + r * p.step, in.old[r], s.mode, dz);
      }
    });
    double a[N], b[N];
#pragma unroll
    for (int e = 0; e < N; ++e) {
      a[e] = double(first[e]);
      b[e] = double(second[e]);
    }
    shared.sums.add_rows(t, p, a, b);
    shared.sums.store(t, p, partial);
  }
}

// dx = scale * dz + b * (x - mean) * rstd + c. 2 blocks of 256 threads per multiprocessor.
template <class T, int N>
__global__ void __launch_bounds__(kTileBlock, 2)
    channel_grad_input(ChannelTiles t, GradStreams<T> s, ChannelConstants constants, const double* bc) {
  using A = math_type<T>;
  auto& columns = rt::static_shared<GradColumns<A>>();
  const int64_t tasks = t.tasks();
  for (int64_t task = tasks - 1 - blockIdx.x; task >= 0; task -= gridDim.x) {
    const TilePlace p(t, task);
    load_columns(t, p, constants, bc, columns);
    const int column = p.x * N;
    for_rows<2>(p, [&]<int rows>(int64_t i, Type<char[rows]>) {
      const GradRows<T, N, rows> in(s, i, p.step);
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        A dz[N];
        masked(s, i + r * p.step, in.x[r], in.dy[r], columns, column, dz);
#pragma unroll
        for (int e = 0; e < N; ++e) {
          const int at = column + e;
          const A xhat = (A(in.x[r].v[e]) - columns.mean[at]) * columns.rstd[at];
          dz[e] = columns.scale[at] * dz[e] + (columns.b[at] * xhat + columns.c[at]);
        }
        store_grad(s.out + i + r * p.step, in.old[r], s.mode, dz);
      }
    });
  }
}

struct GradStatistics {
  int64_t samples, rows, channels, groups;
  DType weight_dtype, bias_dtype;
  bool batch_stats, float64;
  void *dweight, *dbias;  // may be null
  ChannelConstants k;
  double* sums;  // [2][samples][channels]: dbias and dweight of each sample
  double* bc;    // [2][samples][channels]

  __device__ __forceinline__ void store_parameters(int64_t c, double dbias_c, double dweight_c) const {
    if (dbias) write_as<double>(dbias, bias_dtype, c, dbias_c);
    if (dweight) write_as<double>(dweight, weight_dtype, c, dweight_c);
  }
  // For the values that share a statistic, from their sums of weight * rstd * dz and weight * rstd * dz * xhat
  __device__ __forceinline__ void store_bc(int64_t i, double sum, double dot) const {
    const double n = double(rows) * double(channels / groups);
    bc[i] = batch_stats ? -dot / n : 0;
    bc[samples * channels + i] = batch_stats ? -sum / n : 0;
  }
  // s1, s2: of dz and dz * (x - mean), the mean in the type that the data is computed in
  __device__ __forceinline__ void store_totals(int64_t i, int64_t c, double s1, double s2) const {
    const double mean = k.mean[i], rest = float64 ? 0 : mean - double(float(mean)), d = (s2 - rest * s1) * k.rstd[i];
    sums[i] = s1;
    sums[samples * channels + i] = d;
    if (samples == 1) store_parameters(c, s1, d);
    if (groups == channels) store_bc(i, k.scale[i] * s1, k.scale[i] * d);
  }
};

__global__ void __launch_bounds__(kTotalsBlock)
    channel_grad_totals(ChannelTiles t, const double* partial, GradStatistics stats) {
  const int64_t per_sample = (t.channels + kTotalsChannels - 1) / kTotalsChannels;
  for (int64_t task = blockIdx.x; task < t.samples * per_sample; task += gridDim.x) {
    const int64_t sample = task / per_sample;
    const int64_t c = (task - sample * per_sample) * kTotalsChannels + threadIdx.x % kTotalsChannels;
    double s1, s2;
    channel_totals(t, partial, sample, c, s1, s2);
    if (threadIdx.x >= kTotalsChannels || c >= t.channels) continue;
    stats.store_totals(sample * t.channels + c, c, s1, s2);
  }
}

// From sums that are ready, of one sample.
__global__ void __launch_bounds__(kThreads) ready_totals(const double* sums, GradStatistics stats) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x; c < stats.channels; c += stride)
    stats.store_totals(c, c, sums[c], sums[stats.channels + c]);
}

// A warp adds up the channels of a group.
__global__ void __launch_bounds__(kThreads) join_grad_groups(GradStatistics stats) {
  const int lane = threadIdx.x % kWarp, warps = kThreads / kWarp;
  const int64_t size = stats.channels / stats.groups, groups = stats.samples * stats.groups;
  const double* dots = stats.sums + stats.samples * stats.channels;
  for (int64_t g = int64_t(blockIdx.x) * warps + threadIdx.x / kWarp; g < groups; g += int64_t(gridDim.x) * warps) {
    double sum = 0, dot = 0;
    for (int64_t i = g * size + lane; i < (g + 1) * size; i += kWarp) {
      sum += stats.k.scale[i] * stats.sums[i];
      dot += stats.k.scale[i] * dots[i];
    }
    sum = warp_sum(sum);
    dot = warp_sum(dot);
    for (int64_t i = g * size + lane; i < (g + 1) * size; i += kWarp) stats.store_bc(i, sum, dot);
  }
}

// The parameters' gradients over the samples; zeros where there are none.
__global__ void __launch_bounds__(kTotalsBlock) parameter_grads(GradStatistics stats, int64_t samples) {
  const int64_t tasks = (stats.channels + kTotalsChannels - 1) / kTotalsChannels;
  for (int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int64_t c = task * kTotalsChannels + threadIdx.x % kTotalsChannels;
    double dbias, dweight;
    rt::static_shared<Totals>()(c < stats.channels ? samples : 0, dbias, dweight, [&](int64_t s, double& a, double& b) {
      a += stats.sums[s * stats.channels + c];
      b += stats.sums[(samples + s) * stats.channels + c];
    });
    if (threadIdx.x < kTotalsChannels && c < stats.channels) stats.store_parameters(c, dbias, dweight);
  }
}

template <class T, int N>
void backward(const ChannelNormGradArgs& a, GradStatistics stats, const Stream& stream) {
  const ChannelTiles t(a.samples, a.rows, a.channels, N);
  const int64_t n = a.samples * a.channels;
  const bool params = stats.dweight || stats.dbias;
  const bool sums_needed = params || a.dresidual.mode != GradMode::Skip || a.batch_stats;
  int shift = 0;
  while ((int64_t(1) << shift) < a.mask_unit) ++shift;
  GradStreams<T> s{static_cast<const T*>(a.x),
                   static_cast<const T*>(a.dy),
                   static_cast<T*>(a.dresidual.data),
                   a.dresidual.mode,
                   a.activation,
                   a.mask,
                   shift,
                   static_cast<const T*>(a.y)};
  const bool ready = a.sums && a.samples == 1 && a.dresidual.mode == GradMode::Skip;
  const Workspace partial(stream, sums_needed && !ready ? t.partial_bytes() : 0);
  const Workspace room(stream, sums_needed ? size_t(4 * n) * sizeof(double) : 0);
  if (sums_needed) {
    stats.sums = room.as<double>();
    stats.bc = stats.sums + 2 * n;
    if (ready) {
      rt::launch(ready_totals, {limited_grid(ceil_div(a.channels, kThreads)), kThreads, 0, stream.handle}, a.sums,
                 stats);
    } else {
      const size_t shared = sizeof(GradColumns<math_type<T>>) + sizeof(TileSums<N>);
      rt::launch(channel_grad_sums<T, N>, {t.grid(), kTileBlock, shared, stream.handle}, t, s, stats.k,
                 partial.as<double>());
      rt::launch(channel_grad_totals, {limited_grid(totals_blocks(t)), kTotalsBlock, 0, stream.handle}, t,
                 partial.as<double>(), stats);
    }
    if (a.groups < a.channels)
      rt::launch(join_grad_groups,
                 {limited_grid(ceil_div(a.samples * a.groups, kThreads / kWarp)), kThreads, 0, stream.handle}, stats);
    if (params && a.samples > 1)
      rt::launch(parameter_grads, {limited_grid(ceil_div(a.channels, kTotalsChannels)), kTotalsBlock, 0, stream.handle},
                 stats, a.samples);
  }
  if (a.dx.mode == GradMode::Skip) return;
  if (a.dresidual.mode == GradMode::Write) {  // dz stands there already
    s.dy = s.out;
    s.act = FusedAct::None;
  }
  s.out = static_cast<T*>(a.dx.data);
  s.mode = a.dx.mode;
  rt::launch(channel_grad_input<T, N>, {t.grid(), kTileBlock, 0, stream.handle}, t, s, stats.k, stats.bc);
}

}  // namespace

SW_CUDA_KERNEL(channel_norm_backward, a, stream) {
  if (a.channels == 0) return;
  GradStatistics stats{a.samples,
                       a.rows,
                       a.channels,
                       a.groups,
                       a.weight_dtype,
                       a.bias_dtype,
                       a.batch_stats,
                       a.dtype == DType::Float64,
                       a.dweight.mode == GradMode::Skip ? nullptr : a.dweight.data,
                       a.dbias.mode == GradMode::Skip ? nullptr : a.dbias.data,
                       ChannelConstants(const_cast<double*>(a.coefficients), a.samples, a.channels),
                       nullptr,
                       nullptr};
  if (a.samples * a.rows == 0) {
    if (stats.dweight || stats.dbias)
      rt::launch(parameter_grads, {limited_grid(ceil_div(a.channels, kTotalsChannels)), kTotalsBlock, 0, stream.handle},
                 stats, int64_t(0));
    return;
  }
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const int64_t pack = kPack<T>, size = a.rows * a.channels;
    const bool packs = packs_at<T>(a.x, size) && packs_at<T>(a.dy, size) && packs_at<T>(a.dx.data, size) &&
                       packs_at<T>(a.dresidual.data, size) && packs_at<T>(a.y, size) &&
                       (!a.mask || a.mask_unit == pack) && size % pack == 0;
    packs ? backward<T, kPack<T>>(a, stats, stream) : backward<T, 1>(a, stats, stream);
  });
}

}  // namespace skipway::cuda
