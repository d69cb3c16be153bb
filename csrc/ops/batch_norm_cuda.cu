// Channel normalisation, forward: sums of the data, statistics (small), result. Formulas: ops/batch_norm.h; how the
// data is cut: channel_tiles.cuh. Memory-bound: training reads x twice (the second time in the opposite order: its end
// may be in cache still) and the residual once, and writes y once; inference is one pass.
#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/batch_norm.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;

// Sums of d and d * d, d = x - x0, x0 being the channel's first value. A thread's sums are of differences from its own
// first value, in float32 where T has no more bits: the mean of n values is within sqrt(n) standard deviations of each.
// Squares that leave float32's range are summed again in float64. 3 blocks of 256 threads per multiprocessor.
template <class T, int N>
__global__ void __launch_bounds__(kTileBlock, 3) channel_stats(ChannelTiles t, const T* x, double* partial) {
  using A = math_type<T>;
  auto& sums = rt::static_shared<TileSums<N>>();
  for (int64_t task = blockIdx.x; task < t.tasks(); task += gridDim.x) {
    const TilePlace p(t, task);
    double a[N] = {}, b[N] = {};
    if (p.count > 0) {
      A own[N], s[N] = {}, q[N] = {};
      const auto first = load_pack<N>(x + p.at);
#pragma unroll
      for (int k = 0; k < N; ++k) own[k] = A(first.v[k]);
      for_rows<4>(p, [&]<int rows>(int64_t i, Type<char[rows]>) {
        Pack<T, N> v[rows];
#pragma unroll
        for (int r = 0; r < rows; ++r) v[r] = load_pack<N>(x + i + r * p.step);
#pragma unroll
        for (int r = 0; r < rows; ++r) {
#pragma unroll
          for (int k = 0; k < N; ++k) {
            const A d = A(v[r].v[k]) - own[k];
            s[k] += d;
            q[k] += d * d;
          }
        }
      });
      int64_t c = p.column % t.channels;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const double origin = double(x[p.sample * t.rows * t.channels + c]);
        if (++c == t.channels) c = 0;
        const double e = double(own[k]) - origin, n = double(p.count);
        a[k] = double(s[k]) + n * e;
        b[k] = double(q[k]) + e * (2 * double(s[k]) + n * e);
        const bool beyond = !(q[k] < A(1e37)) || (q[k] < A(1e-30) && s[k] != A(0));
        if (sizeof(A) == sizeof(double) || !beyond) continue;
        a[k] = b[k] = 0;
        for (int i = 0; i < p.count; ++i) {
          const double d = double(x[p.at + i * p.step + k]) - origin;
          a[k] += d;
          b[k] += d * d;
        }
      }
    }
    sums.add_rows(t, p, a, b);
    sums.store(t, p, partial);
  }
}

struct Statistics {  // what the small kernels need
  int64_t samples, rows, channels, groups;
  DType dtype, weight_dtype, bias_dtype, running_dtype;
  double eps, momentum;
  const void *x, *weight, *bias;
  void *running_mean, *running_var;
  ChannelConstants k;
  float* apply;  // may be null

  explicit Statistics(const ChannelNormArgs& a)
      : samples(a.samples),
        rows(a.rows),
        channels(a.channels),
        groups(a.groups),
        dtype(a.dtype),
        weight_dtype(a.weight_dtype),
        bias_dtype(a.bias_dtype),
        running_dtype(a.running_dtype),
        eps(a.eps),
        momentum(a.momentum),
        x(a.x),
        weight(a.weight),
        bias(a.bias),
        running_mean(a.running_mean),
        running_var(a.running_var),
        k(a.coefficients, a.samples, a.channels),
        apply(a.apply) {}

  __device__ __forceinline__ void finish(int64_t i, int64_t c, double mean, double var) const {
    const double rstd = 1 / ::sqrt(var + eps);
    const double scale = rstd * (weight ? read_as<double>(weight, weight_dtype, c) : 1);
    const double shift = bias ? read_as<double>(bias, bias_dtype, c) : 0;
    k.mean[i] = mean;
    k.rstd[i] = rstd;
    k.scale[i] = scale;
    k.bias[i] = shift;
    if (!apply) return;
    const ApplyConstants<float> to(mean, scale, shift);
    apply[c] = to.mean;
    apply[channels + c] = to.scale;
    apply[2 * channels + c] = to.shift;
  }
  // A channel whose statistics are not finite, in the running type, is left alone.
  __device__ __forceinline__ void move_running(int64_t c, double mean, double var) const {
    var *= rows > 1 ? double(rows) / double(rows - 1) : 1;
    const double limit = running_dtype == DType::Float64   ? 1.7976931348623157e308
                         : running_dtype == DType::Float16 ? 65504
                                                           : 3.3895e38;
    if (!(::fabs(mean) <= limit && var <= limit)) return;
    const double m = read_as<double>(running_mean, running_dtype, c);
    const double v = read_as<double>(running_var, running_dtype, c);
    write_as<double>(running_mean, running_dtype, c, m + momentum * (mean - m));
    write_as<double>(running_var, running_dtype, c, v + momentum * (var - v));
  }
};

// Means and variances from the partial sums. With `last`, everything is done; else variances stay in rstd's place.
__global__ void __launch_bounds__(kTotalsBlock, 2)
    channel_means(ChannelTiles t, const double* partial, Statistics stats, bool last) {
  const int64_t per_sample = (t.channels + kTotalsChannels - 1) / kTotalsChannels;
  for (int64_t task = blockIdx.x; task < t.samples * per_sample; task += gridDim.x) {
    const int64_t sample = task / per_sample;
    const int64_t c = (task - sample * per_sample) * kTotalsChannels + threadIdx.x % kTotalsChannels;
    double sum, squares;
    channel_totals(t, partial, sample, c, sum, squares);
    if (threadIdx.x >= kTotalsChannels || c >= t.channels) continue;
    const double n = double(t.rows), m = sum / n, variance = squares / n - m * m;
    const double mean = m + read_as<double>(stats.x, stats.dtype, sample * t.rows * t.channels + c);
    const double var = variance < 0 ? 0 : variance;  // NaN stays
    const int64_t i = sample * t.channels + c;
    if (last) {
      if (stats.running_mean) stats.move_running(c, mean, var);
      stats.finish(i, c, mean, var);
    } else {
      stats.k.mean[i] = mean;
      stats.k.rstd[i] = var;
    }
  }
}

// The same from what a convolution has left.
__global__ void __launch_bounds__(kThreads, 2) ready_means(Statistics stats, const double* moments) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x; c < stats.channels; c += stride) {
    const double mean = moments[c], var = moments[stats.channels + c] / double(stats.rows);
    if (stats.running_mean) stats.move_running(c, mean, var);
    stats.finish(c, c, mean, var);
  }
}

// A warp joins the channels of a group: the group's variance is the mean of theirs and of their means' distances.
__global__ void __launch_bounds__(kThreads) join_groups(Statistics stats) {
  const int lane = threadIdx.x % kWarp, warps = kThreads / kWarp;
  const int64_t size = stats.channels / stats.groups, groups = stats.samples * stats.groups;
  for (int64_t g = int64_t(blockIdx.x) * warps + threadIdx.x / kWarp; g < groups; g += int64_t(gridDim.x) * warps) {
    const double *means = stats.k.mean + g * size, *vars = stats.k.rstd + g * size;
    const double origin = means[0];
    double d = 0, spread = 0;
    for (int64_t i = lane; i < size; i += kWarp) d += means[i] - origin;
    const double centre = origin + warp_sum(d) / double(size);
    for (int64_t i = lane; i < size; i += kWarp) spread += vars[i] + (means[i] - centre) * (means[i] - centre);
    const double var = warp_sum(spread) / double(size);
    const int64_t first = g % stats.groups * size;
    __syncwarp();  // all have read means[0]
    for (int64_t i = lane; i < size; i += kWarp) stats.finish(g * size + i, first + i, centre, var);
  }
}

// Instance norm with running statistics: they move towards the mean over the samples.
__global__ void __launch_bounds__(kThreads, 2) move_running_statistics(Statistics stats) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x; c < stats.channels; c += stride) {
    double mean = 0, var = 0;
    for (int64_t s = 0; s < stats.samples; ++s) {
      mean += stats.k.mean[s * stats.channels + c];
      var += stats.k.rstd[s * stats.channels + c];
    }
    stats.move_running(c, mean / double(stats.samples), var / double(stats.samples));
    for (int64_t s = 0; s < stats.samples; ++s) {
      const int64_t i = s * stats.channels + c;
      stats.finish(i, c, stats.k.mean[i], stats.k.rstd[i]);
    }
  }
}

// Inference's constants, where nothing is normalised yet.
__global__ void __launch_bounds__(kThreads) running_constants(Statistics stats) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x; c < stats.channels; c += stride)
    stats.finish(c, c, read_as<double>(stats.running_mean, stats.running_dtype, c),
                 read_as<double>(stats.running_var, stats.running_dtype, c));
}

template <class A>
struct TileConstants {
  A mean[kTileColumns], scale[kTileColumns], shift[kTileColumns];
};

template <class T>
struct Apply {
  const T *x, *residual;
  T* y;
  uint8_t* mask;  // may be null
  FusedAct act;
  bool constants;       // are there already; else they come from the running statistics
  bool rounds = false;  // to T what the sum and act are given
};

// y = act((x - mean) * scale + shift + residual). The constants of inference are worked out here. 3 blocks of 256
// threads per multiprocessor.
template <class T, int N>
__global__ void __launch_bounds__(kTileBlock, 3) channel_apply(ChannelTiles t, Statistics stats, Apply<T> a) {
  using A = math_type<T>;
  auto& tile = rt::static_shared<TileConstants<A>>();
  const int64_t tasks = t.tasks();
  for (int64_t task = tasks - 1 - blockIdx.x; task >= 0; task -= gridDim.x) {
    const TilePlace p(t, task);
    __syncthreads();
    for (int j = threadIdx.x; j < t.across * t.pack && p.tile_column + j < t.columns; j += kTileBlock) {
      const int64_t column = p.tile_column + j, c = column % t.channels, i = p.sample * t.channels + c;
      double mean, scale, bias;
      if (a.constants) {
        mean = stats.k.mean[i];
        scale = stats.k.scale[i];
        bias = stats.k.bias[i];
      } else {
        mean = read_as<double>(stats.running_mean, stats.running_dtype, c);
        const double rstd = 1 / ::sqrt(read_as<double>(stats.running_var, stats.running_dtype, c) + stats.eps);
        scale = rstd * (stats.weight ? read_as<double>(stats.weight, stats.weight_dtype, c) : 1);
        bias = stats.bias ? read_as<double>(stats.bias, stats.bias_dtype, c) : 0;
        if (p.chunk == 0 && column < t.channels) {  // for the backward pass
          stats.k.mean[i] = mean;
          stats.k.rstd[i] = rstd;
          stats.k.scale[i] = scale;
          stats.k.bias[i] = bias;
        }
      }
      const ApplyConstants<A> to(mean, scale, bias);
      tile.mean[j] = to.mean;
      tile.scale[j] = to.scale;
      tile.shift[j] = to.shift;
    }
    __syncthreads();
    if (p.count == 0) continue;
    A mean[N], scale[N], shift[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      mean[k] = tile.mean[p.x * N + k];
      scale[k] = tile.scale[p.x * N + k];
      shift[k] = tile.shift[p.x * N + k];
    }
    for_rows<2>(p, [&]<int rows>(int64_t i, Type<char[rows]>) {
      Pack<T, N> x[rows], residual[rows];
#pragma unroll
      for (int r = 0; r < rows; ++r) x[r] = load_pack<N>(a.x + i + r * p.step);
      if (a.residual) {
#pragma unroll
        for (int r = 0; r < rows; ++r) residual[r] = load_pack<N>(a.residual + i + r * p.step);
      }
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        unsigned bits = 0;
#pragma unroll
        for (int k = 0; k < N; ++k) {
          A z = affine(A(x[r].v[k]), mean[k], scale[k], shift[k]);
          if (a.rounds) z = A(T(z));
          if (a.residual) {
            z += A(residual[r].v[k]);
            if (a.rounds) z = A(T(z));
          }
          x[r].v[k] = T(fused_act(a.act, z));
          bits |= unsigned(fused_act_passes(a.act, z)) << k;
        }
        store_pack(a.y + i + r * p.step, x[r]);
        if (a.mask) a.mask[(i + r * p.step) / N] = uint8_t(bits);
      }
    });
  }
}

template <class T, int N>
void forward(const ChannelNormArgs& a, const Stream& stream) {
  const ChannelTiles t(a.samples, a.rows, a.channels, N);
  const Statistics stats(a);
  const auto* x = static_cast<const T*>(a.x);
  if (a.batch_stats && a.moments) {
    rt::launch(ready_means, {limited_grid(ceil_div(a.channels, kThreads)), kThreads, 0, stream.handle}, stats,
               a.moments);
  } else if (a.batch_stats) {
    const Workspace partial(stream, t.partial_bytes());
    const bool groups = a.channels > a.groups, several = a.running_mean && a.samples > 1;
    rt::launch(channel_stats<T, N>, {t.grid(), kTileBlock, 0, stream.handle}, t, x, partial.as<double>());
    rt::launch(channel_means, {limited_grid(totals_blocks(t)), kTotalsBlock, 0, stream.handle}, t, partial.as<double>(),
               stats, !groups && !several);
    if (groups) {
      rt::launch(join_groups,
                 {limited_grid(ceil_div(a.samples * a.groups, kThreads / kWarp)), kThreads, 0, stream.handle}, stats);
    } else if (several) {
      rt::launch(move_running_statistics, {limited_grid(ceil_div(a.channels, kThreads)), kThreads, 0, stream.handle},
                 stats);
    }
  }
  if (!a.batch_stats && (a.apply || !a.y))
    rt::launch(running_constants, {limited_grid(ceil_div(a.channels, kThreads)), kThreads, 0, stream.handle}, stats);
  if (!a.y) return;
  const Apply<T> apply{x, static_cast<const T*>(a.residual), static_cast<T*>(a.y), a.mask, a.activation, a.batch_stats};
  rt::launch(channel_apply<T, N>, {t.grid(), kTileBlock, 0, stream.handle}, t, stats, apply);
}

}  // namespace

SW_CUDA_KERNEL(channel_norm_forward, a, stream) {
  if (a.samples * a.rows * a.channels == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    channel_pack(a) > 1 ? forward<T, kPack<T>>(a, stream) : forward<T, 1>(a, stream);
  });
}

SW_CUDA_KERNEL(channel_norm_apply, a, stream) {
  if (a.rows * a.channels == 0) return;
  ChannelNormArgs norm{};
  norm.samples = 1, norm.rows = a.rows, norm.channels = norm.groups = a.channels, norm.dtype = a.dtype;
  norm.x = a.x, norm.residual = a.residual, norm.y = a.y;
  norm.coefficients = const_cast<double*>(a.coefficients);
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const Apply<T> apply{static_cast<const T*>(a.x),
                         static_cast<const T*>(a.residual),
                         static_cast<T*>(a.y),
                         nullptr,
                         a.activation,
                         true,
                         a.rounds};
    const bool packs = channel_pack(norm) > 1;
    const ChannelTiles t(1, a.rows, a.channels, packs ? kPack<T> : 1);
    rt::launch(packs ? channel_apply<T, kPack<T>> : channel_apply<T, 1>, {t.grid(), kTileBlock, 0, stream.handle}, t,
               Statistics(norm), apply);
  });
}

}  // namespace skipway::cuda
