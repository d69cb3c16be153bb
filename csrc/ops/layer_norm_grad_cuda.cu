// Layer and RMS normalisation, backward. Formulas: ops/layer_norm.h. Memory-bound: two reads and one write while a row
// fits into registers (4096 columns, 2048 of float64); longer rows are read again, from cache where they are there.
// The parameters' gradients are summed in the math type over at most 128 rows, and in float64 from there.
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/totals.cuh"
#include "ops/layer_norm.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = kRowThreads;
constexpr int64_t kBlocks = 512;      // of the backward pass, which keep partial sums
constexpr int64_t kSummedRows = 128;  // by a thread in the math type

// dx = rstd * (g - b - xhat * c), written or added, of N columns; dy is of the same columns.
template <class T, int N>
__device__ __forceinline__ void store_input_grad(const LayerNormGradArgs& a, int64_t at,
                                                 const RowScale<math_type<T>>& r, const Pack<T, N>& x,
                                                 const Pack<T, N>& dy, const math_type<T>* weight, math_type<T> b,
                                                 math_type<T> c) {
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
  constexpr int kItems = kRowValues<T> / N;
  struct Shared {
    RowSums<A, 2> sums;
    A dweight[kThreads * kRowValues<T>], dbias[kThreads * kRowValues<T>];
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
  const int width = sharers * kRowValues<T>, group = int(threadIdx.x) / sharers;
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

template <class T, int N>
void backward(const LayerNormGradArgs& a, const Stream& stream) {
  using A = math_type<T>;
  const bool params = a.dweight.mode != GradMode::Skip || a.dbias.mode != GradMode::Skip;
  const int sharers = row_sharers<T>(a.cols);
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
