// Extremes with their positions, and the gradients of reductions. Bound by the bytes of x: read once for positions and
// centered gradients, twice for the others, whose lines are measured first. Elements of any dtype are computed as
// float, double or int64; at most 64 registers, 1024 threads of a multiprocessor.
#include "kernels/cuda/lines.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/reduce.h"

namespace skipway::cuda {
namespace {

// f(Type<float>), or double or int64: what elements of dtype d are computed as.
template <class F>
void dispatch_wide(DType d, const F& f) {
  if (!is_floating(d)) return f(Type<int64_t>{});
  if (d == DType::Float64) return f(Type<double>{});
  f(Type<float>{});
}

// ---- positions ------------------------------------------------------------------------------------------------------
// The better of two elements: NaN, else the larger (smaller) one; the first of equals.
template <class A>
struct Best {
  A value;
  int64_t at;  // -1: none yet
};
template <class A>
__device__ __forceinline__ Best<A> better(bool max, const Best<A>& a, const Best<A>& b) {
  if (a.at < 0) return b;
  if (b.at < 0) return a;
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan || b_nan ? a_nan && b_nan : a.value == b.value) return a.at < b.at ? a : b;
  if (a_nan || b_nan) return a_nan ? a : b;
  return (a.value > b.value) == max ? a : b;
}

struct ArgTask {
  Lines lines;
  bool max;
  DType dtype;
  const void* x;
  const void* from;  // null, or the partial results that take x's place: Best<A> [outer][steps][columns]
  void* partial;     // null, or Best<A> [outer][chunks][columns]
  void* values;
  int64_t* indices;
};

template <class A>
__global__ void __launch_bounds__(kLineThreads, 4) arg_lines(ArgTask a) {
  const Lines& l = a.lines;
  for (int64_t task = blockIdx.x; task < l.task_count(); task += gridDim.x) {
    const LinePlace p = l.place(task);
    const int64_t line = p.outer * l.columns + p.column, first = p.outer * l.steps * l.columns + p.column;
    Best<A> best{A(0), -1};
    for (int64_t s = p.begin + p.y; s < p.end; s += l.stride()) {
      const int64_t i = first + s * l.columns;
      const Best<A> v = a.from ? static_cast<const Best<A>*>(a.from)[i] : Best<A>{read_as<A>(a.x, a.dtype, i), s};
      best = better(a.max, best, v);
    }
    best = merge_line(l, best, [&](const Best<A>& u, const Best<A>& v) { return better(a.max, u, v); });
    if (!p.inside || p.y != 0) continue;
    if (a.partial) {
      static_cast<Best<A>*>(a.partial)[(p.outer * l.chunks + p.chunk) * l.columns + p.column] = best;
    } else {
      a.indices[line] = best.at;
      if (a.values) write_as<A>(a.values, a.dtype, line, best.value);
    }
  }
}

template <class A>
void arg_reduce(const ArgReduceArgs& a, int64_t steps, const void* from, const Stream& stream) {
  ArgTask task{Lines(a.g.outer, steps, a.g.inner, true), a.max, a.dtype, a.x, from, nullptr, a.values, a.indices};
  const int64_t chunks = task.lines.chunks;
  if (chunks == 1) return rt::launch(arg_lines<A>, task.lines.at(stream), task);
  const Workspace partial(stream, size_t(a.g.outer * chunks * a.g.inner) * sizeof(Best<A>));
  task.partial = partial.template as<void>();
  rt::launch(arg_lines<A>, task.lines.at(stream), task);
  arg_reduce<A>(a, chunks, task.partial, stream);
}

// ---- gradients ------------------------------------------------------------------------------------------------------
struct CenteredTask {
  Lines lines;
  DType dtype;
  const void *x, *dy, *stat, *center;
  double factor;
  void* dx;
};

// dx = factor * dy / stat * (x - center)
template <class A>
__global__ void __launch_bounds__(kLineThreads, 4) centered_grad(CenteredTask a) {
  const Lines& l = a.lines;
  for (int64_t task = blockIdx.x; task < l.task_count(); task += gridDim.x) {
    const LinePlace p = l.place(task);
    if (!p.inside) continue;
    const int64_t line = p.outer * l.columns + p.column, first = p.outer * l.steps * l.columns + p.column;
    const A stat = a.stat ? static_cast<const A*>(a.stat)[line] : A(1);
    const A scale = stat == A(0) ? A(0) : A(a.factor) * static_cast<const A*>(a.dy)[line] / stat;
    const A center = a.center ? static_cast<const A*>(a.center)[line] : A(0);
    for (int64_t s = p.begin + p.y; s < p.end; s += l.stride()) {
      const int64_t i = first + s * l.columns;
      write_as<A>(a.dx, a.dtype, i, scale * (read_as<A>(a.x, a.dtype, i) - center));
    }
  }
}

// What extremes and products share: each chunk of a line is measured, then the gradient follows from the line's sum.
//   extremes: `count` elements equal y;  products: `count` zeros, and `others`, the product of the other elements
struct SharedTask {
  Lines lines;
  DType dtype;
  const void *x, *y, *dy;  // y: of an extreme; null: a product
  double* others;          // [outer][chunks][columns]
  int64_t* counts;
  void* dx;
};

template <class A>
__device__ __forceinline__ bool tied(A v, A extreme) {
  return v == extreme || (v != v && extreme != extreme);
}
struct Product {
  __device__ __forceinline__ double operator()(double a, double b) const { return a * b; }
};

template <class A>
__global__ void __launch_bounds__(kLineThreads, 4) measure_lines(SharedTask a) {
  const Lines& l = a.lines;
  for (int64_t task = blockIdx.x; task < l.task_count(); task += gridDim.x) {
    const LinePlace p = l.place(task);
    const int64_t line = p.outer * l.columns + p.column, first = p.outer * l.steps * l.columns + p.column;
    const A extreme = a.y && p.inside ? read_as<A>(a.y, a.dtype, line) : A(0);
    int64_t count = 0;
    double others = 1;
    for (int64_t s = p.begin + p.y; s < p.end; s += l.stride()) {
      const A v = read_as<A>(a.x, a.dtype, first + s * l.columns);
      const bool counts = a.y ? tied(v, extreme) : v == A(0);
      count += counts;
      if (!counts) others *= double(v);
    }
    count = sum_line(l, count);
    if (!a.y) others = merge_line(l, others, Product{});
    if (!p.inside || p.y != 0) continue;
    const int64_t to = (p.outer * l.chunks + p.chunk) * l.columns + p.column;
    a.counts[to] = count;
    if (!a.y) a.others[to] = others;
  }
}

template <class A>
__global__ void __launch_bounds__(kLineThreads, 4) shared_grad(SharedTask a) {
  const Lines& l = a.lines;
  for (int64_t task = blockIdx.x; task < l.task_count(); task += gridDim.x) {
    const LinePlace p = l.place(task);
    const int64_t line = p.outer * l.columns + p.column, first = p.outer * l.steps * l.columns + p.column;
    int64_t count = 0;
    double others = 1;
    for (int64_t c = p.y; p.inside && c < l.chunks; c += l.stride()) {
      const int64_t from = (p.outer * l.chunks + c) * l.columns + p.column;
      count += a.counts[from];
      if (!a.y) others *= a.others[from];
    }
    count = sum_line(l, count);
    if (!a.y) others = merge_line(l, others, Product{});
    if (!p.inside) continue;
    const A dy = read_as<A>(a.dy, a.dtype, line), extreme = a.y ? read_as<A>(a.y, a.dtype, line) : A(0);
    const A share = dy / A(count);
    const double product = double(dy) * others;
    for (int64_t s = p.begin + p.y; s < p.end; s += l.stride()) {
      const int64_t i = first + s * l.columns;
      const A v = read_as<A>(a.x, a.dtype, i);
      A d = A(0);
      if (a.y) {
        if (tied(v, extreme)) d = share;
      } else if (v == A(0) ? count == 1 : count == 0) {  // one zero: it alone has a gradient; two: none has
        d = v == A(0) ? A(product) : A(product / double(v));
      }
      write_as<A>(a.dx, a.dtype, i, d);
    }
  }
}

void shared_backward(const SharedGradArgs& a, const Stream& stream) {
  SharedTask task{Lines(a.g.outer, a.g.n, a.g.inner, true), a.dtype, a.x, a.y, a.dy, nullptr, nullptr, a.dx};
  const int64_t parts = a.g.outer * a.g.inner * task.lines.chunks;
  const Workspace counts(stream, size_t(parts) * 8), others(stream, a.y ? 0 : size_t(parts) * 8);
  task.counts = counts.as<int64_t>();
  task.others = others.as<double>();
  const rt::At at = task.lines.at(stream);
  if (a.dtype == DType::Float64) {
    rt::launch(measure_lines<double>, at, task);
    rt::launch(shared_grad<double>, at, task);
  } else {
    rt::launch(measure_lines<float>, at, task);
    rt::launch(shared_grad<float>, at, task);
  }
}

}  // namespace

SW_CUDA_KERNEL(arg_reduce_forward, a, stream) {
  dispatch_wide(a.dtype, [&]<class A>(Type<A>) { arg_reduce<A>(a, a.g.n, nullptr, stream); });
}

SW_CUDA_KERNEL(centered_backward, a, stream) {
  const CenteredTask task{
      Lines(a.g.outer, a.g.n, a.g.inner, true), a.dtype, a.x, a.dy, a.stat, a.center, a.factor, a.dx};
  rt::launch(a.dtype == DType::Float64 ? centered_grad<double> : centered_grad<float>, task.lines.at(stream), task);
}

SW_CUDA_KERNEL(extreme_backward, a, stream) { shared_backward(a, stream); }

SW_CUDA_KERNEL(prod_backward, a, stream) {
  SharedGradArgs args = a;
  args.y = nullptr;
  shared_backward(args, stream);
}

}  // namespace skipway::cuda
