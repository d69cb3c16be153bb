// Reductions. Bound by the bytes of x, read once. Long lines are cut into chunks whose results are reduced by another
// launch, so that the scalar of a large tensor takes two. A thread keeps two packs of 128 bits in flight: at most 64
// registers, 1024 threads of a multiprocessor.
#include "kernels/cuda/lines.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/reduce.h"

namespace skipway::cuda {
namespace {

constexpr int kInFlight = 2;

struct ReduceTask {
  Lines lines;
  ReduceOp op, merge;  // of elements, and of partial results
  DType dtype, out;
  bool count, subtract, refine, sqrt;
  const void *x, *center;
  void* y;        // null: `partial` is written
  void* partial;  // A [outer][chunks][columns]
  double divide_by;
};

template <class A>
__device__ __forceinline__ A identity(ReduceOp op) {
  if (op == ReduceOp::Prod) return A(1);
  if (op != ReduceOp::Max && op != ReduceOp::Min) return A(0);
  if constexpr (A(0.5) != A(0)) {
    return op == ReduceOp::Max ? A(-__builtin_inf()) : A(__builtin_inf());
  } else {
    return op == ReduceOp::Max ? A(INT64_MIN) : A(INT64_MAX);
  }
}

// NaN wins in Max and Min.
template <class A>
__device__ __forceinline__ A merged(ReduceOp op, A a, A b) {
  switch (op) {
    case ReduceOp::Prod:
      return a * b;
    case ReduceOp::Max:
      return a != a || a > b ? a : b;
    case ReduceOp::Min:
      return a != a || a < b ? a : b;
    default:
      return a + b;
  }
}
template <int N, class A>
__device__ __forceinline__ void take_in(ReduceOp op, A (&acc)[N], const A (&v)[N]) {
  switch (op) {
    case ReduceOp::SumSquares:
#pragma unroll
      for (int k = 0; k < N; ++k) acc[k] += v[k] * v[k];
      break;
    case ReduceOp::Prod:
#pragma unroll
      for (int k = 0; k < N; ++k) acc[k] *= v[k];
      break;
    case ReduceOp::Max:
#pragma unroll
      for (int k = 0; k < N; ++k) acc[k] = merged(ReduceOp::Max, acc[k], v[k]);
      break;
    case ReduceOp::Min:
#pragma unroll
      for (int k = 0; k < N; ++k) acc[k] = merged(ReduceOp::Min, acc[k], v[k]);
      break;
    default:
#pragma unroll
      for (int k = 0; k < N; ++k) acc[k] += v[k];
  }
}

// How elements are read. Floats: packs of N along the columns, or along the lines.
template <class T, int kElements, bool kAlongColumns>
struct Floats {
  using A = math_type<T>;
  using Raw = Pack<T, kElements>;
  static constexpr int N = kElements;
  static constexpr bool kColumns = kAlongColumns;
  static __device__ __forceinline__ Raw load(const ReduceTask& a, int64_t i) {
    return load_pack<N>(static_cast<const T*>(a.x) + i);
  }
  static __device__ __forceinline__ A value(const ReduceTask&, T v) { return A(v); }
};
// Integers of any width as int64, one by one; or 1 for elements of any dtype that are not zero.
struct Integers {
  using A = int64_t;
  using Raw = Pack<int64_t, 1>;
  static constexpr int N = 1;
  static constexpr bool kColumns = false;
  static __device__ __forceinline__ Raw load(const ReduceTask& a, int64_t i) {
    if (a.count) return {{read_as<double>(a.x, a.dtype, i) != 0.0}};
    return {{read_as<int64_t>(a.x, a.dtype, i)}};
  }
  static __device__ __forceinline__ A value(const ReduceTask&, int64_t v) { return v; }
};

template <class A>
__device__ __forceinline__ void store_result(const ReduceTask& a, int64_t i, A v) {
  if constexpr (A(0.5) != A(0)) {
    if (a.divide_by != 1) v = v / A(a.divide_by);
    if (a.sqrt) v = dsqrt(v);
    if (a.refine) {
      const A center = static_cast<const A*>(a.center)[i];
      v = v - v == A(0) ? center + v : center;
    }
  }
  write_as<A>(a.y, a.out, i, v);
}

template <class E>
__global__ void __launch_bounds__(kLineThreads, 4) reduce_lines(ReduceTask a) {
  using A = typename E::A;
  constexpr int N = E::N;
  const Lines& l = a.lines;
  const int64_t step = l.stride();
  for (int64_t task = blockIdx.x; task < l.task_count(); task += gridDim.x) {
    const LinePlace p = l.place(task);
    const int64_t line = p.outer * l.columns + p.column, first = p.outer * l.steps * l.columns + p.column;
    A acc[N], center[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      acc[k] = identity<A>(a.op);
      center[k] = a.subtract && p.inside ? static_cast<const A*>(a.center)[E::kColumns ? line * N + k : line] : A(0);
    }
    const auto take = [&](const typename E::Raw& raw) {
      A v[N];
#pragma unroll
      for (int k = 0; k < N; ++k) v[k] = E::value(a, raw.v[k]);
      if (a.subtract) {
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] -= center[k];
      }
      take_in(a.op, acc, v);
    };
    int64_t s = p.begin + p.y;
    for (; s + (kInFlight - 1) * step < p.end; s += kInFlight * step) {
      typename E::Raw raw[kInFlight];
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) raw[j] = E::load(a, (first + (s + j * step) * l.columns) * N);
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) take(raw[j]);
    }
    for (; s < p.end; s += step) take(E::load(a, (first + s * l.columns) * N));

    if constexpr (E::kColumns) {
      using Sums = Pack<A, N>;
      Sums sums;
#pragma unroll
      for (int k = 0; k < N; ++k) sums.v[k] = acc[k];
      sums = merge_line(l, sums, [&](const Sums& x, const Sums& y) {
        Sums both;
#pragma unroll
        for (int k = 0; k < N; ++k) both.v[k] = merged(a.merge, x.v[k], y.v[k]);
        return both;
      });
      if (!p.inside || p.y != 0) continue;
      const int64_t to = (p.outer * l.chunks + p.chunk) * l.columns + p.column;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        if (a.y) {
          store_result(a, line * N + k, sums.v[k]);
        } else {
          static_cast<A*>(a.partial)[to * N + k] = sums.v[k];
        }
      }
    } else {
#pragma unroll
      for (int half = N / 2; half > 0; half /= 2)
#pragma unroll
        for (int k = 0; k < half; ++k) acc[k] = merged(a.merge, acc[k], acc[k + half]);
      const A sum = merge_line(l, acc[0], [&](A x, A y) { return merged(a.merge, x, y); });
      if (!p.inside || p.y != 0) continue;
      if (a.y) {
        store_result(a, line, sum);
      } else {
        static_cast<A*>(a.partial)[(p.outer * l.chunks + p.chunk) * l.columns + p.column] = sum;
      }
    }
  }
}

void reduce(const ReduceArgs& a, bool subtract, const Stream& stream);

// x[outer][n][inner] with N elements to a step or column.
template <class E>
void run(const ReduceArgs& a, bool subtract, const Stream& stream) {
  using A = typename E::A;
  const ReduceGeometry& g = a.g;
  const bool count = a.op == ReduceOp::CountNonzero;
  ReduceTask task{};
  task.lines = E::kColumns ? Lines(g.outer, g.n, g.inner / E::N, true) : Lines(g.outer, g.n / E::N, g.inner, true);
  task.op = count ? ReduceOp::Sum : a.op;
  task.merge = count || a.op == ReduceOp::SumSquares ? ReduceOp::Sum : a.op;
  task.dtype = a.dtype;
  task.out = a.out;
  task.count = count;
  task.subtract = subtract;
  task.refine = a.refine;
  task.sqrt = a.sqrt;
  task.x = a.x;
  task.center = a.center;
  task.divide_by = a.divide_by;
  const int64_t chunks = task.lines.chunks;
  if (chunks == 1) {
    task.y = a.y;
    return rt::launch(reduce_lines<E>, task.lines.at(stream), task);
  }
  const Workspace partial(stream, size_t(g.outer * chunks * g.inner) * sizeof(A));
  task.partial = partial.template as<A>();
  rt::launch(reduce_lines<E>, task.lines.at(stream), task);
  ReduceArgs rest = a;
  rest.g.n = chunks;
  rest.op = task.merge;
  rest.dtype = dtype_of<A>;
  rest.x = task.partial;
  reduce(rest, false, stream);
}

void reduce(const ReduceArgs& a, bool subtract, const Stream& stream) {
  if (!is_floating(a.dtype) || a.op == ReduceOp::CountNonzero) return run<Integers>(a, false, stream);
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    if (a.g.inner == 1 && packs_at<T>(a.x, a.g.n)) return run<Floats<T, kPack<T>, false>>(a, subtract, stream);
    if (a.g.inner > 1 && packs_at<T>(a.x, a.g.inner)) return run<Floats<T, kPack<T>, true>>(a, subtract, stream);
    run<Floats<T, 1, false>>(a, subtract, stream);
  });
}

}  // namespace

SW_CUDA_KERNEL(reduce_forward, a, stream) { reduce(a, a.center != nullptr, stream); }

}  // namespace skipway::cuda
