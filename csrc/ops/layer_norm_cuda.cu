// Layer and RMS normalisation, forward. Formulas: ops/layer_norm.h. Memory-bound: one read and one write, as a row
// stays in registers (up to 4096 columns, 2048 of float64) or, if longer, in shared memory (up to 64 KiB).
#include "kernels/cuda/rows.cuh"
#include "ops/layer_norm.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = kRowThreads;
constexpr size_t kStagedBytes = 64 * 1024;  // of a long row in shared memory

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
  constexpr int kItems = kRowValues<T> / N;
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
    sums[1] = checked_squares(q, s, last > 0 ? kRowValues<T> : 0, [&](int64_t i) {
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

template <class T, int N>
void forward(const LayerNormArgs& a, const Stream& stream) {
  const int sharers = row_sharers<T>(a.cols);
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

}  // namespace

SW_CUDA_KERNEL(layer_norm_forward, a, stream) {
  if (a.rows * a.cols == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    packs_at<T>(a.x, a.cols) && packs_at<T>(a.y, a.cols) ? forward<T, kPack<T>>(a, stream) : forward<T, 1>(a, stream);
  });
}

}  // namespace skipway::cuda
