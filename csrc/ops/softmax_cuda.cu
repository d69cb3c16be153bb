// Softmax along rows (packs of 128 bits) and along other dimensions (neighbouring columns). Bound by memory: forward
// reads x once where a line's packs fit in shared memory, else twice; backward the same for y and dy. 4 blocks of 256
// threads to a multiprocessor (2 for float64): at most 64 (128) registers, 48 KB of shared memory each.
#include "kernels/cuda/grad.cuh"
#include "kernels/cuda/softmax_line.cuh"
#include "ops/softmax.h"

namespace skipway::cuda {
namespace {

struct SoftmaxTask {
  Lines lines;
  bool log, cached;
  double sign;
  const void *x, *y, *dy;
  void* out;
  GradMode mode;
};

// The packs of a thread along its line: from memory, and with `cached` from the thread's own shared memory later.
template <class T, int N>
struct LinePacks {
  using P = Pack<T, N>;
  const Lines& l;
  const LinePlace& p;
  int64_t first;
  __device__ __forceinline__ LinePacks(const Lines& lines, const LinePlace& place)
      : l(lines), p(place), first((place.outer * lines.steps * lines.columns + place.column) * N) {}
  __device__ __forceinline__ int64_t at(int64_t s) const { return first + s * l.columns * N; }
  __device__ __forceinline__ int64_t slot(int64_t s) const { return (s >> l.log_y) * kLineThreads + threadIdx.x; }
};

template <class T, int N>
__global__ void __launch_bounds__(kLineThreads, kLineBlocksOf<T>) softmax_lines(SoftmaxTask a) {
  using A = math_type<T>;
  using P = Pack<T, N>;
  const Lines& l = a.lines;
  P* cache = rt::dyn_shared<LineCache<P>>().v;
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.out);
  const A sign = A(a.sign);
  for (int64_t task = blockIdx.x; task < l.task_count(); task += gridDim.x) {
    const LinePlace p = l.place(task);
    const LinePacks<T, N> line(l, p);
    SoftSum<A> soft;
    for (int64_t s = p.y; s < p.end; s += l.stride()) {
      const P raw = load_pack<N>(x + line.at(s));
      if (a.cached) cache[line.slot(s)] = raw;
      A v[N];
#pragma unroll
      for (int k = 0; k < N; ++k) v[k] = A(raw.v[k]) * sign;
      soft.take(v);
    }
    soft.merge(l);
    const A scale = a.log ? dlog(soft.sum) : A(1) / soft.sum;
    for (int64_t s = p.y; s < p.end; s += l.stride()) {
      const P raw = a.cached ? cache[line.slot(s)] : load_pack<N>(x + line.at(s));
      P result;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A v = A(raw.v[k]) * sign - soft.max;
        result.v[k] = T(a.log ? v - scale : dexp(v) * scale);
      }
      store_pack(y + line.at(s), result);
    }
  }
}

// softmax: dx = sign * y * (dy - sum(dy * y));  log_softmax: dx = dy - exp(y) * sum(dy)
template <class T, int N>
__global__ void __launch_bounds__(kLineThreads, kLineBlocksOf<T>) softmax_grad_lines(SoftmaxTask a) {
  using A = math_type<T>;
  using P = Pack<T, N>;
  const Lines& l = a.lines;
  P* cache = rt::dyn_shared<LineCache<P>>().v;
  const T *y = static_cast<const T*>(a.y), *dy = static_cast<const T*>(a.dy);
  T* dx = static_cast<T*>(a.out);
  const A sign = A(a.sign);
  for (int64_t task = blockIdx.x; task < l.task_count(); task += gridDim.x) {
    const LinePlace p = l.place(task);
    const LinePacks<T, N> line(l, p);
    A sum = A(0);
    for (int64_t s = p.y; s < p.end; s += l.stride()) {
      const P g = load_pack<N>(dy + line.at(s)), v = load_pack<N>(y + line.at(s));
      if (a.cached) {
        cache[2 * line.slot(s)] = g;
        cache[2 * line.slot(s) + 1] = v;
      }
#pragma unroll
      for (int k = 0; k < N; ++k) sum += a.log ? A(g.v[k]) : A(g.v[k]) * A(v.v[k]);
    }
    sum = sum_line(l, sum);
    for (int64_t s = p.y; s < p.end; s += l.stride()) {
      const P g = a.cached ? cache[2 * line.slot(s)] : load_pack<N>(dy + line.at(s));
      const P v = a.cached ? cache[2 * line.slot(s) + 1] : load_pack<N>(y + line.at(s));
      A d[N];
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A w = A(v.v[k]);
        d[k] = a.log ? A(g.v[k]) - dexp(w) * sum : w * (A(g.v[k]) - sum) * sign;
      }
      store_grad(dx + line.at(s), a.mode, d);
    }
  }
}

// The lines in packs of N, and how much of them shared memory keeps.
template <class T, int N>
size_t lay_out(SoftmaxTask& task, int64_t outer, int64_t n, int64_t inner, int arrays) {
  task.lines = Lines(outer, n / N, inner, false);
  const size_t smem = line_cache_bytes(task.lines, sizeof(Pack<T, N>), arrays);
  task.cached = smem > 0;
  return smem > 0 ? smem : sizeof(Pack<T, N>);
}

template <class T>
void backward(const SoftmaxGradArgs& a, const Stream& stream) {
  SoftmaxTask task{Lines(), a.log, false, a.sign, nullptr, a.y, a.dy, a.dx.data, a.dx.mode};
  if (a.inner == 1 && packs_at<T>(a.y, a.n) && packs_at<T>(a.dy, a.n) && packs_at<T>(a.dx.data, a.n)) {
    const size_t smem = lay_out<T, kPack<T>>(task, a.outer, a.n, 1, 2);
    rt::launch(softmax_grad_lines<T, kPack<T>>, task.lines.at(stream, smem), task);
  } else {
    const size_t smem = lay_out<T, 1>(task, a.outer, a.n, a.inner, 2);
    rt::launch(softmax_grad_lines<T, 1>, task.lines.at(stream, smem), task);
  }
}

}  // namespace

SW_CUDA_KERNEL(softmax_forward, a, stream) {
  if (a.outer * a.n * a.inner == 0) return;
  SoftmaxTask task{Lines(), a.log, false, a.sign, a.x, nullptr, nullptr, a.y, GradMode::Write};
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    if (a.inner == 1 && packs_at<T>(a.x, a.n) && packs_at<T>(a.y, a.n)) {
      const size_t smem = lay_out<T, kPack<T>>(task, a.outer, a.n, 1, 1);
      rt::launch(softmax_lines<T, kPack<T>>, task.lines.at(stream, smem), task);
    } else {
      const size_t smem = lay_out<T, 1>(task, a.outer, a.n, a.inner, 1);
      rt::launch(softmax_lines<T, 1>, task.lines.at(stream, smem), task);
    }
  });
}

// Not for 16 bits: gradients need more digits of y than those hold, so the op computes in float32 where it records.
SW_CUDA_KERNEL(softmax_backward, a, stream) {
  if (a.dx.mode == GradMode::Skip || a.outer * a.n * a.inner == 0) return;
  if (is_half(a.dtype)) throw TypeError("softmax: no gradient kernel for 16-bit dtypes");
  if (a.dtype == DType::Float64) {
    backward<double>(a, stream);
  } else {
    backward<float>(a, stream);
  }
}

}  // namespace skipway::cuda
