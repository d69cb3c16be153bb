// Running sums and products, and the gradient of the latter. A warp goes along the lines of a tile of columns x steps,
// all 32 lanes; long lines are cut into chunks, whose totals are scanned first. Bound by the bytes of x, read once for
// the totals and once for the result. At most 64 registers, 1024 threads of a multiprocessor.
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/reduce.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int64_t kChunk = 1024;  // steps

struct ScanTask {
  ReduceGeometry g;
  int64_t chunk, chunks, column_tiles, warps;  // warps: tasks of the whole launch
  int log_x;                                   // of the columns side by side in a warp
  DType dtype, out;
  bool product, reverse;
  const void *x, *dy;
  void* y;
  void* totals;   // A [outer][chunks][inner]; null when there is one chunk
  double* terms;  // [outer][n][inner]

  ScanTask() = default;
  ScanTask(const ReduceGeometry& geometry, int64_t chunk_steps) {
    *this = {};
    g = geometry;
    while (log_x < 5 && (int64_t(1) << log_x) < g.inner) ++log_x;
    chunk = chunk_steps;
    chunks = ceil_div(g.n, chunk);
    column_tiles = ceil_div(g.inner, int64_t(1) << log_x);
    warps = g.outer * chunks * column_tiles;
  }
  rt::At at(const Stream& stream) const { return {grid_for(warps, kWarps, stream), kThreads, 0, stream.handle}; }
};

// Where a lane stands: its line's first element, and the steps of its chunk.
struct WarpPlace {
  int64_t outer, column, chunk, first, begin, end;
  int y, width;  // its step among the `width` that the warp takes at once
  bool inside;
};
__device__ __forceinline__ WarpPlace warp_place(const ScanTask& a, int64_t task) {
  const int lane = threadIdx.x % kWarp;
  WarpPlace p;
  const int64_t rest = task / a.column_tiles;
  p.column = ((task - rest * a.column_tiles) << a.log_x) + (lane & ((1 << a.log_x) - 1));
  p.outer = rest / a.chunks;
  p.chunk = rest - p.outer * a.chunks;
  p.first = p.outer * a.g.n * a.g.inner + p.column;
  p.begin = p.chunk * a.chunk;
  p.end = p.begin + a.chunk < a.g.n ? p.begin + a.chunk : a.g.n;
  p.y = lane >> a.log_x;
  p.width = kWarp >> a.log_x;
  p.inside = p.column < a.g.inner;
  return p;
}

template <class A>
__device__ __forceinline__ A joined(bool product, A a, A b) {
  return product ? a * b : a + b;
}
// v of this step and those before it in the warp
template <class A>
__device__ __forceinline__ A scan_warp(int log_x, int y, A v, bool product) {
  for (int distance = 1; distance < (kWarp >> log_x); distance *= 2) {
    const A before = __shfl_up_sync(kFullWarp, v, unsigned(distance) << log_x);
    if (y >= distance) v = joined(product, before, v);
  }
  return v;
}
// of the warp's last step
template <class A>
__device__ __forceinline__ A last_step(int log_x, A v) {
  const int lane = threadIdx.x % kWarp, columns = 1 << log_x;
  return __shfl_sync(kFullWarp, v, kWarp - columns + (lane & (columns - 1)));
}

// With kTotals the totals of the chunks; else the results, from the scanned totals on.
template <class A, bool kTotals>
__global__ void __launch_bounds__(kThreads, 4) scan_lines(ScanTask a) {
  const int64_t warps = int64_t(gridDim.x) * kWarps;
  for (int64_t task = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; task < a.warps; task += warps) {
    const WarpPlace p = warp_place(a, task);
    A* totals = static_cast<A*>(a.totals) + (p.outer * a.chunks + p.chunk) * a.g.inner + p.column;
    const A none = a.product ? A(1) : A(0);
    A before = none;
    if (!kTotals && p.chunk > 0 && p.inside) before = totals[-a.g.inner];
    for (int64_t s = p.begin; s < p.end; s += p.width) {
      const int64_t step = s + p.y, i = p.first + (a.reverse ? a.g.n - 1 - step : step) * a.g.inner;
      const bool some = p.inside && step < p.end;
      A v = some ? read_as<A>(a.x, a.dtype, i) : none;
      v = scan_warp(a.log_x, p.y, v, a.product);
      v = joined(a.product, before, v);
      if (!kTotals && some) write_as<A>(a.y, a.out, i, v);
      before = last_step(a.log_x, v);
    }
    if (kTotals && p.inside && p.y == 0) *totals = before;
  }
}

// dtype to out; their wide type is A.
template <class A>
void scan(const ReduceGeometry& g, DType dtype, DType out, bool product, bool reverse, const void* x, void* y,
          const Stream& stream) {
  ScanTask task(g, g.n > 2 * kChunk ? kChunk : g.n);
  task.dtype = dtype;
  task.out = out;
  task.product = product;
  task.reverse = reverse;
  task.x = x;
  task.y = y;
  task.totals = nullptr;
  const int64_t parts = task.chunks > 1 ? g.outer * task.chunks * g.inner : 0;
  const Workspace totals(stream, size_t(parts) * sizeof(A)), scanned(stream, size_t(parts) * sizeof(A));
  if (parts > 0) {
    task.totals = totals.template as<void>();
    rt::launch(scan_lines<A, true>, task.at(stream), task);
    const DType wide = dtype_of<A>;
    scan<A>({g.outer, task.chunks, g.inner}, wide, wide, product, false, task.totals, scanned.template as<void>(),
            stream);
    task.totals = scanned.template as<void>();
  }
  rt::launch(scan_lines<A, false>, task.at(stream), task);
}

// dx[k] = sum over i >= k of dy[i] * (x[0] ... x[i] without x[k]). Before the first zero that is the suffix sum of
// terms[i] = dy[i] * (x[0] ... x[i]) divided by x[k]; at the zero the sum runs on to the next one; behind it, 0.
// Forward along the line for the terms, then backward.
__global__ void __launch_bounds__(kThreads, 4) cumprod_grad(ScanTask a) {
  const int64_t warps = int64_t(gridDim.x) * kWarps, n = a.g.n;
  for (int64_t task = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; task < a.warps; task += warps) {
    const WarpPlace p = warp_place(a, task);
    double product = 1, at_zero = 0;  // of the elements that are not zero
    int zeros = 0;                    // up to the step before, or 2 if there are more
    int64_t first_zero = n;
    for (int64_t s = 0; s < n; s += p.width) {
      const int64_t step = s + p.y, i = p.first + step * a.g.inner;
      const bool some = p.inside && step < n;
      const double v = some ? read_as<double>(a.x, a.dtype, i) : 1;
      int seen = zeros + scan_warp(a.log_x, p.y, int(v == 0), false);
      if (seen > 2) seen = 2;
      const double up_to = product * scan_warp(a.log_x, p.y, v == 0 ? 1 : v, true);
      double part = 0;
      if (some && seen < 2) {
        const double term = read_as<double>(a.dy, a.dtype, i) * up_to;
        a.terms[i] = term;
        if (seen == 1 && up_to != 0) part = term;
        if (seen == 1 && v == 0) first_zero = step;
      }
      at_zero += last_step(a.log_x, scan_warp(a.log_x, p.y, part, false));
      zeros = last_step(a.log_x, seen);
      product = last_step(a.log_x, up_to);
    }
    for (int distance = kWarp / 2; distance >= 1 << a.log_x; distance /= 2) {
      const int64_t other = __shfl_xor_sync(kFullWarp, first_zero, distance);
      if (other < first_zero) first_zero = other;
    }
    __syncwarp();  // the terms of the other lanes
    double behind = 0;
    for (int64_t s = 0; s < n; s += p.width) {
      const int64_t step = n - 1 - s - p.y, i = p.first + step * a.g.inner;
      const bool some = p.inside && step >= 0;
      const double term = some && step < first_zero ? a.terms[i] : 0;
      const double suffix = behind + scan_warp(a.log_x, p.y, term, false);
      if (some) {
        const double v = read_as<double>(a.x, a.dtype, i);
        write_as<double>(a.y, a.dtype, i, step < first_zero ? suffix / v : step == first_zero ? at_zero : 0);
      }
      behind = last_step(a.log_x, suffix);
    }
  }
}

const void* moved(const void* p, int64_t elements, DType d) {
  return static_cast<const char*>(p) + elements * size_of(d);
}

}  // namespace

SW_CUDA_KERNEL(scan_forward, a, stream) {
  if (is_floating(a.dtype)) {
    scan<double>(a.g, a.dtype, a.dtype, a.product, a.reverse, a.x, a.y, stream);
  } else {
    scan<int64_t>(a.g, a.dtype, a.dtype, a.product, a.reverse, a.x, a.y, stream);
  }
}

SW_CUDA_KERNEL(cumprod_backward, a, stream) {
  constexpr int64_t kMostTerms = int64_t(1) << 23;  // 64 MB, where a single outer index does not need more
  const int64_t line = a.g.n * a.g.inner, together = line > kMostTerms ? 1 : kMostTerms / line;
  const Workspace terms(stream, size_t(line * (together < a.g.outer ? together : a.g.outer)) * sizeof(double));
  for (int64_t o = 0; o < a.g.outer; o += together) {
    const int64_t some = a.g.outer - o < together ? a.g.outer - o : together;
    ScanTask task({some, a.g.n, a.g.inner}, a.g.n);
    task.dtype = a.dtype;
    task.x = moved(a.x, o * line, a.dtype);
    task.dy = moved(a.dy, o * line, a.dtype);
    task.y = const_cast<void*>(moved(a.y, o * line, a.dtype));
    task.terms = terms.as<double>();
    rt::launch(cumprod_grad, task.at(stream), task);
  }
}

}  // namespace skipway::cuda
