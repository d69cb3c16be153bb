// Layer and RMS normalisation. Formulas: ops/layer_norm.h. Memory-bound: one read and one write forward, two reads and
// one write backward, as a row stays in the registers of the 8 to 256 threads that share it (up to 4096 columns, 2048 of
// float64); longer rows stay in shared memory forward, and are read twice backward.
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/totals.cuh"
#include "ops/layer_norm.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;
constexpr size_t kStagedBytes = 64 * 1024;  // of a long row in shared memory
constexpr int64_t kBlocks = 512;            // of the backward pass, which keep partial sums
constexpr int64_t kSummedRows = 128;        // by a thread in the math type
template <class T>
constexpr int kValues = sizeof(math_type<T>) == 8 ? 8 : 16;  // of a thread
template <class T, int N>
constexpr int kRowBlocks = N == 1 || sizeof(T) == 8 ? 1 : 2;  // on a multiprocessor, of those that keep rows in registers

// Sums of K values over the threads that share a row: a power of two, side by side. All threads of the block call;
// each gets its row's sums. The buffers take turns, so that one barrier is enough.
template <class S, int K>
struct RowSums {
  S part[2][K][kThreads / kWarp];

  __device__ __forceinline__ void operator()(int sharers, int& turn, S (&v)[K]) {
    const int start = sharers < kWarp ? sharers / 2 : kWarp / 2;
    for (int distance = start; distance > 0; distance /= 2) {
#pragma unroll
      for (int k = 0; k < K; ++k) v[k] += __shfl_xor_sync(kFullWarp, v[k], distance);
    }
    if (sharers <= kWarp) return;
    const int warp = threadIdx.x / kWarp, warps = sharers / kWarp, first = warp / warps * warps;
    turn ^= 1;
    if (threadIdx.x % kWarp == 0) {
#pragma unroll
      for (int k = 0; k < K; ++k) part[turn][k][warp] = v[k];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < K; ++k) {
      v[k] = 0;
      for (int w = first; w < first + warps; ++w) v[k] += part[turn][k][w];
    }
  }
};

// The parameters of N columns in the math type: of T, or of float32 with a 16-bit T; `other` where there are none.
template <class T, int N>
__device__ __forceinline__ void load_parameters(const void* p, DType d, int64_t c, math_type<T> other,
                                                math_type<T>* to) {
  using A = math_type<T>;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    to[k] = !p                  ? other
            : d == dtype_of<T> ? A(static_cast<const T*>(p)[c + k])
                               : A(static_cast<const float*>(p)[c + k]);
  }
}

// The sum of squares of n values, again in float64 where they left float32's range: value(i) is the i-th less the mean.
template <class A, class F>
__device__ __forceinline__ double checked_squares(A squares, A sum, int64_t n, const F& value) {
  if (sizeof(A) == sizeof(double)) return double(squares);
  if (squares < A(1e37) && (squares > A(1e-30) || sum == A(0))) return double(squares);
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += double(value(i)) * double(value(i));
  return total;
}

template <class A>
struct RowScale {  // xhat = (x - high) * rstd - rest
  A high, rstd, rest;

  __device__ __forceinline__ A xhat(A x) const { return (x - high) * rstd - rest; }
  static __device__ __forceinline__ RowScale of(double mean, double rstd) {
    const A high = A(mean), scale = A(rstd);
    return {high, scale, mean == double(high) ? A(0) : A((mean - double(high)) * rstd)};
  }
};

template <class A>
__device__ __forceinline__ double reciprocal_root(double v) {
  if (sizeof(A) == sizeof(float) && v > 1e-30 && v < 1e37) return double(1.0f / sqrtf(float(v)));
  return 1 / ::sqrt(v);
}

// The row's scale from sums of (x - about) and its squares, and the statistics for the backward pass.
template <class A>
__device__ __forceinline__ RowScale<A> finish_row(const LayerNormArgs& a, int64_t row, double about, double sum,
                                                  double squares, bool store) {
  const double n = double(a.cols), m = a.centred ? sum / n : 0, var = squares / n - m * m;
  const double mean = about + m, rstd = reciprocal_root<A>((var < 0 ? 0 : var) + a.eps);
  if (store) {
    a.statistics[row] = mean;
    a.statistics[a.rows + row] = rstd;
  }
  return RowScale<A>::of(mean, rstd);
}

// A row in the registers of `sharers` threads: the mean from sums about the row's first value, then squares about the
// mean, corrected by what the mean was off.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kRowBlocks<T, N>) layer_norm_rows(LayerNormArgs a, int sharers) {
  using A = math_type<T>;
  constexpr int kItems = kValues<T> / N;
  struct Shared {
    RowSums<double, 1> one;
    RowSums<double, 2> two;
  };
  auto& shared = rt::static_shared<Shared>();
  int turn = 0, other_turn = 0;
  const int lane = int(threadIdx.x) % sharers, groups = kThreads / sharers;
  A weight[kItems][N], bias[kItems][N];
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int64_t c = int64_t(i * sharers + lane) * N;
    if (c >= a.cols) continue;
    load_parameters<T, N>(a.weight, a.weight_dtype, c, A(1), weight[i]);
    load_parameters<T, N>(a.bias, a.bias_dtype, c, A(0), bias[i]);
  }
  const int64_t stride = int64_t(gridDim.x) * groups;
  for (int64_t base = int64_t(blockIdx.x) * groups; base < a.rows; base += stride) {
    const int64_t row = base + threadIdx.x / sharers, last = row < a.rows ? a.cols : 0;
    const T* x = static_cast<const T*>(a.x) + row * a.cols;
    Pack<T, N> v[kItems];
    const A shift = a.centred && last > 0 ? A(x[0]) : A(0);
    A s = 0, q = 0;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int64_t c = int64_t(i * sharers + lane) * N;
      if (c < last) v[i] = load_pack<N>(x + c);
    }
    double about = 0;
    if (a.centred) {
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        if (int64_t(i * sharers + lane) * N >= last) continue;
#pragma unroll
        for (int k = 0; k < N; ++k) s += A(v[i].v[k]) - shift;
      }
      double sum[1] = {double(s)};
      shared.one(sharers, turn, sum);
      about = double(A(double(shift) + sum[0] / double(a.cols)));
      s = 0;
    }
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (int64_t(i * sharers + lane) * N >= last) continue;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A d = A(v[i].v[k]) - A(about);
        s += d;
        q += d * d;
      }
    }
    double sums[2] = {double(s), 0};
    sums[1] = checked_squares(q, s, last > 0 ? kValues<T> : 0, [&](int64_t i) {
      const int64_t c = (i / N * sharers + lane) * N + i % N;
      return c < last ? double(x[c]) - about : 0.0;
    });
    shared.two(sharers, other_turn, sums);
    if (last == 0) continue;
    const auto scale = finish_row<A>(a, row, about, sums[0], sums[1], lane == 0);
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int64_t c = int64_t(i * sharers + lane) * N;
      if (c >= last) continue;
#pragma unroll
      for (int k = 0; k < N; ++k) v[i].v[k] = T(scale.xhat(A(v[i].v[k])) * weight[i][k] + bias[i][k]);
      store_pack(static_cast<T*>(a.y) + row * a.cols + c, v[i]);
    }
  }
}

// A block for each row, which waits in shared memory where `staged`. A thread reads there what it wrote itself.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) layer_norm_long(LayerNormArgs a, bool staged) {
  using A = math_type<T>;
  auto& sums_of = rt::static_shared<RowSums<double, 2>>();
  int turn = 0;
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const T* x = static_cast<const T*>(a.x) + row * a.cols;
    T* copy = nullptr;
    if (staged) copy = reinterpret_cast<T*>(&rt::dyn_shared<Pack<T, N>>());
    const A shift = a.centred ? A(x[0]) : A(0);
    double sums[2] = {0, 0};
    for (int64_t c = threadIdx.x * N; c < a.cols; c += kThreads * N) {
      const auto v = load_pack<N>(x + c);
      if (staged) store_pack(copy + c, v);
      A part = 0;
#pragma unroll
      for (int k = 0; k < N; ++k) part += A(v.v[k]) - shift;
      sums[0] += double(part);
    }
    double about = 0;
    if (a.centred) {
      sums_of(kThreads, turn, sums);
      about = double(A(double(shift) + sums[0] / double(a.cols)));
    }
    const T* from = staged ? copy : x;
    sums[0] = sums[1] = 0;
    for (int64_t c = threadIdx.x * N; c < a.cols; c += kThreads * N) {
      const auto v = load_pack<N>(from + c);
      A s = 0, q = 0;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A d = A(v.v[k]) - A(about);
        s += d;
        q += d * d;
      }
      sums[0] += double(s);
      sums[1] += checked_squares(q, s, N, [&](int64_t k) { return double(x[c + k]) - about; });
    }
    sums_of(kThreads, turn, sums);
    const auto scale = finish_row<A>(a, row, about, sums[0], sums[1], threadIdx.x == 0);
    for (int64_t c = threadIdx.x * N; c < a.cols; c += kThreads * N) {
      auto v = load_pack<N>(from + c);
      A weight[N], bias[N];
      load_parameters<T, N>(a.weight, a.weight_dtype, c, A(1), weight);
      load_parameters<T, N>(a.bias, a.bias_dtype, c, A(0), bias);
#pragma unroll
      for (int k = 0; k < N; ++k) v.v[k] = T(scale.xhat(A(v.v[k])) * weight[k] + bias[k]);
      store_pack(static_cast<T*>(a.y) + row * a.cols + c, v);
    }
  }
}

// dx = rstd * (g - b - xhat * c), written or added, of N columns; dy is of the same columns.
template <class T, int N>
__device__ __forceinline__ void store_input_grad(const LayerNormGradArgs& a, int64_t at, const RowScale<math_type<T>>& r,
                                                 const Pack<T, N>& x, const Pack<T, N>& dy, const math_type<T>* weight,
                                                 math_type<T> b, math_type<T> c) {
  using A = math_type<T>;
  T* dx = static_cast<T*>(a.dx.data) + at;
  Pack<T, N> out;
  if (a.dx.mode == GradMode::Add) out = load_pack<N>(dx);
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const A d = r.rstd * (A(dy.v[k]) * weight[k] - b - r.xhat(A(x.v[k])) * c);
    out.v[k] = T(a.dx.mode == GradMode::Add ? A(out.v[k]) + d : d);
  }
  store_pack(dx, out);
}

// A row in registers, as forward. With `partial`, [blocks][2][cols], a thread sums the parameters' gradients of its
// columns over its rows, and a block over its groups.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kRowBlocks<T, N>)
    layer_norm_rows_grad(LayerNormGradArgs a, int sharers, math_type<T>* partial) {
  using A = math_type<T>;
  constexpr int kItems = kValues<T> / N;
  struct Shared {
    RowSums<A, 2> sums;
    A dweight[kThreads * kValues<T>], dbias[kThreads * kValues<T>];
  };
  auto& shared = rt::static_shared<Shared>();
  int turn = 0;
  const int lane = int(threadIdx.x) % sharers, groups = kThreads / sharers;
  A weight[kItems][N], dweight[kItems][N] = {}, dbias[kItems][N] = {};
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int64_t c = int64_t(i * sharers + lane) * N;
    if (c < a.cols) load_parameters<T, N>(a.weight, a.weight_dtype, c, A(1), weight[i]);
  }
  const int64_t stride = int64_t(gridDim.x) * groups;
  for (int64_t base = int64_t(blockIdx.x) * groups; base < a.rows; base += stride) {
    const int64_t row = base + threadIdx.x / sharers, last = row < a.rows ? a.cols : 0, at = row * a.cols;
    Pack<T, N> x[kItems], dy[kItems];
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int64_t c = int64_t(i * sharers + lane) * N;
      if (c >= last) continue;
      x[i] = load_pack<N>(static_cast<const T*>(a.x) + at + c);
      dy[i] = load_pack<N>(static_cast<const T*>(a.dy) + at + c);
    }
    RowScale<A> r{};
    if (last > 0) r = RowScale<A>::of(a.statistics[row], a.statistics[a.rows + row]);
    A sums[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (int64_t(i * sharers + lane) * N >= last) continue;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A h = r.xhat(A(x[i].v[k])), d = A(dy[i].v[k]), g = d * weight[i][k];
        sums[0] += g;
        sums[1] += g * h;
        dweight[i][k] += d * h;
        dbias[i][k] += d;
      }
    }
    shared.sums(sharers, turn, sums);
    if (a.dx.mode == GradMode::Skip) continue;
    const A b = a.centred ? sums[0] / A(a.cols) : A(0), c = sums[1] / A(a.cols);
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int64_t column = int64_t(i * sharers + lane) * N;
      if (column < last) store_input_grad<T, N>(a, at + column, r, x[i], dy[i], weight[i], b, c);
    }
  }
  if (!partial) return;
  const int width = sharers * kValues<T>, group = int(threadIdx.x) / sharers;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const int to = group * width + (i * sharers + lane) * N + k;
      shared.dweight[to] = dweight[i][k];
      shared.dbias[to] = dbias[i][k];
    }
  }
  __syncthreads();
  A* to = partial + int64_t(blockIdx.x) * 2 * a.cols;
  for (int c = threadIdx.x; c < a.cols; c += kThreads) {
    A w = 0, b = 0;
    for (int g = 0; g < groups; ++g) {
      w += shared.dweight[g * width + c];
      b += shared.dbias[g * width + c];
    }
    to[c] = w;
    to[a.cols + c] = b;
  }
}

// A block for each row: dx alone.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) layer_norm_long_grad(LayerNormGradArgs a) {
  using A = math_type<T>;
  auto& sums_of = rt::static_shared<RowSums<A, 2>>();
  int turn = 0;
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const auto r = RowScale<A>::of(a.statistics[row], a.statistics[a.rows + row]);
    const int64_t at = row * a.cols;
    A sums[2] = {0, 0}, weight[N];
    for (int64_t c = threadIdx.x * N; c < a.cols; c += kThreads * N) {
      const auto x = load_pack<N>(static_cast<const T*>(a.x) + at + c);
      const auto dy = load_pack<N>(static_cast<const T*>(a.dy) + at + c);
      load_parameters<T, N>(a.weight, a.weight_dtype, c, A(1), weight);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A g = A(dy.v[k]) * weight[k];
        sums[0] += g;
        sums[1] += g * r.xhat(A(x.v[k]));
      }
    }
    sums_of(kThreads, turn, sums);
    const A b = a.centred ? sums[0] / A(a.cols) : A(0), c = sums[1] / A(a.cols);
    for (int64_t column = threadIdx.x * N; column < a.cols; column += kThreads * N) {
      const auto x = load_pack<N>(static_cast<const T*>(a.x) + at + column);
      const auto dy = load_pack<N>(static_cast<const T*>(a.dy) + at + column);
      load_parameters<T, N>(a.weight, a.weight_dtype, column, A(1), weight);
      store_input_grad<T, N>(a, at + column, r, x, dy, weight, b, c);
    }
  }
}

// The parameters' gradients of long rows: a thread sums a column over a slice of the rows.
template <class T>
__global__ void __launch_bounds__(kThreads, 3)
    layer_norm_long_parameters(LayerNormGradArgs a, int64_t slices, math_type<T>* partial) {
  using A = math_type<T>;
  const int64_t across = (a.cols + kThreads - 1) / kThreads;
  for (int64_t task = blockIdx.x; task < slices * across; task += gridDim.x) {
    const int64_t slice = task / across, c = (task - slice * across) * kThreads + threadIdx.x;
    if (c >= a.cols) continue;
    A w = 0, b = 0;
#pragma unroll 4
    for (int64_t row = slice; row < a.rows; row += slices) {
      const auto r = RowScale<A>::of(a.statistics[row], a.statistics[a.rows + row]);
      const A d = A(static_cast<const T*>(a.dy)[row * a.cols + c]);
      w += d * r.xhat(A(static_cast<const T*>(a.x)[row * a.cols + c]));
      b += d;
    }
    partial[slice * 2 * a.cols + c] = w;
    partial[(slice * 2 + 1) * a.cols + c] = b;
  }
}

template <class A>
__device__ __forceinline__ void store_parameter(const Grad& g, DType d, int64_t c, double value) {
  if (g.mode == GradMode::Skip) return;
  switch (d) {
    case DType::Float64:
      static_cast<double*>(g.data)[c] = value;
      break;
    case DType::Float32:
      static_cast<float*>(g.data)[c] = float(value);
      break;
    case DType::BFloat16:
      static_cast<bfloat16*>(g.data)[c] = bfloat16(float(value));
      break;
    default:
      static_cast<float16*>(g.data)[c] = float16(float(value));
  }
}

// From partial[slices][2][cols]; zeros where there are none.
template <class A>
__global__ void __launch_bounds__(kTotalsBlock, 2)
    layer_norm_parameters(LayerNormGradArgs a, int64_t slices, const A* partial) {
  const int64_t tasks = (a.cols + kTotalsChannels - 1) / kTotalsChannels;
  for (int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int64_t c = task * kTotalsChannels + threadIdx.x % kTotalsChannels;
    double dweight, dbias;
    rt::static_shared<Totals>()(c < a.cols ? slices : 0, dweight, dbias, [&](int64_t s, double& w, double& b) {
      w += double(partial[s * 2 * a.cols + c]);
      b += double(partial[(s * 2 + 1) * a.cols + c]);
    });
    if (threadIdx.x >= kTotalsChannels || c >= a.cols) continue;
    store_parameter<A>(a.dweight, a.weight_dtype, c, dweight);
    store_parameter<A>(a.dbias, a.bias_dtype, c, dbias);
  }
}

// Threads for a row; 0 when it is too long for registers.
template <class T>
int sharers_of(int64_t cols) {
  for (int sharers = 8; sharers <= kThreads; sharers *= 2)
    if (cols <= int64_t(sharers) * kValues<T>) return sharers;
  return 0;
}

template <class T, int N>
void forward(const LayerNormArgs& a, const Stream& stream) {
  const int sharers = sharers_of<T>(a.cols);
  if (sharers) {
    rt::launch(layer_norm_rows<T, N>, {grid_for(a.rows, kThreads / sharers, stream, 8), kThreads, 0, stream.handle}, a,
               sharers);
    return;
  }
  const size_t bytes = size_t(a.cols) * sizeof(T);
  const bool staged = bytes <= kStagedBytes;
  rt::launch(layer_norm_long<T, N>, {grid_for(a.rows, 1, stream), kThreads, staged ? bytes : 0, stream.handle}, a,
             staged);
}

template <class T, int N>
void backward(const LayerNormGradArgs& a, const Stream& stream) {
  using A = math_type<T>;
  const bool params = a.dweight.mode != GradMode::Skip || a.dbias.mode != GradMode::Skip;
  const int sharers = sharers_of<T>(a.cols);
  const int64_t groups = sharers ? kThreads / sharers : 1, steps = ceil_div(a.rows, groups);
  const int64_t least = ceil_div(steps, kSummedRows), most = least > kBlocks ? least : kBlocks;
  const int64_t blocks = steps < most ? steps : most;
  const Workspace partial(stream, params ? size_t(blocks * 2 * a.cols) * sizeof(A) : 0);
  if (sharers) {
    rt::launch(layer_norm_rows_grad<T, N>, {limited_grid(blocks), kThreads, 0, stream.handle}, a, sharers,
               partial.as<A>());
  } else {
    if (a.dx.mode != GradMode::Skip)
      rt::launch(layer_norm_long_grad<T, N>, {grid_for(a.rows, 1, stream), kThreads, 0, stream.handle}, a);
    if (params)
      rt::launch(layer_norm_long_parameters<T>,
                 {limited_grid(blocks * ceil_div(a.cols, kThreads)), kThreads, 0, stream.handle}, a, blocks,
                 partial.as<A>());
  }
  if (params)
    rt::launch(layer_norm_parameters<A>,
               {limited_grid(ceil_div(a.cols, kTotalsChannels)), kTotalsBlock, 0, stream.handle}, a, blocks,
               partial.as<A>());
}

}  // namespace

SW_CUDA_KERNEL(layer_norm_forward, a, stream) {
  if (a.rows * a.cols == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    packs_at<T>(a.x, a.cols) && packs_at<T>(a.y, a.cols) ? forward<T, kPack<T>>(a, stream) : forward<T, 1>(a, stream);
  });
}

SW_CUDA_KERNEL(layer_norm_backward, a, stream) {
  if (a.rows * a.cols == 0) {
    const bool params = a.dweight.mode != GradMode::Skip || a.dbias.mode != GradMode::Skip;
    if (params && a.cols > 0)
      rt::launch(layer_norm_parameters<float>,
                 {limited_grid(ceil_div(a.cols, kTotalsChannels)), kTotalsBlock, 0, stream.handle}, a, int64_t(0),
                 static_cast<const float*>(nullptr));
    return;
  }
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const bool packs = packs_at<T>(a.x, a.cols) && packs_at<T>(a.dy, a.cols) && packs_at<T>(a.dx.data, a.cols);
    packs ? backward<T, kPack<T>>(a, stream) : backward<T, 1>(a, stream);
  });
}

}  // namespace skipway::cuda
