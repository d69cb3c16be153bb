#include "core/parallel.h"
#include "kernels/simd.h"
#include "ops/reduce.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTile = 256;      // columns that one task sums side by side
constexpr int64_t kBlock = 1024;    // elements of a row summed without splitting
constexpr int64_t kBlockRows = 32;  // the same for columns
constexpr int64_t kTaskElements = 65536;

SW_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
SW_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
SW_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// How elements of T enter a reduction: floating types by vectors, integers one by one as int64.
template <class T>
struct Elements {
  using type = T;
  using acc = int64_t;
  using vec = int64_t;
  static constexpr int n = 1;
  static constexpr bool floating = false;
  SW_INLINE static vec load(const T* p) { return int64_t(*p); }
  SW_INLINE static acc one(const T* p) { return int64_t(*p); }
  SW_INLINE static vec spread(acc a) { return a; }
};
template <class T>
struct FloatElements {
  using type = T;
  using acc = typename Lanes<T>::scalar;
  using vec = typename Lanes<T>::vec;
  static constexpr int n = Lanes<T>::n;
  static constexpr bool floating = true;
  SW_INLINE static vec load(const T* p) { return vload(p); }
  SW_INLINE static acc one(const T* p) { return acc(*p); }
  SW_INLINE static vec spread(acc a) { return vset<T>(a); }
};
template <>
struct Elements<float> : FloatElements<float> {};
template <>
struct Elements<double> : FloatElements<double> {};
template <>
struct Elements<bfloat16> : FloatElements<bfloat16> {};
// 1 for elements that are not zero (NaN included).
template <class T>
struct Nonzero : Elements<int64_t> {
  using type = T;
  SW_INLINE static int64_t one(const T* p) { return *p != T(0); }
  SW_INLINE static int64_t load(const T* p) { return one(p); }
};
template <>
struct Nonzero<bfloat16> : Elements<int64_t> {
  using type = bfloat16;
  SW_INLINE static int64_t one(const bfloat16* p) { return float(*p) != 0.0f; }
  SW_INLINE static int64_t load(const bfloat16* p) { return one(p); }
};

template <class A>
SW_INLINE constexpr A lowest() {
  if constexpr (A(0.5) != A(0)) {
    return A(-__builtin_inf());
  } else {
    return A(-__LONG_LONG_MAX__ - 1);
  }
}
template <class A>
SW_INLINE constexpr A highest() {
  if constexpr (A(0.5) != A(0)) {
    return A(__builtin_inf());
  } else {
    return A(__LONG_LONG_MAX__);
  }
}

// start: the result for no elements; step takes one element (or vector) in; merge joins partial results.
struct Sum {
  using Merge = Sum;
  static constexpr bool centered = true;
  template <class A>
  SW_INLINE static constexpr A start() {
    return A(0);
  }
  template <class V>
  SW_INLINE static V step(V a, V x) {
    return a + x;
  }
  template <class V>
  SW_INLINE static V merge(V a, V b) {
    return a + b;
  }
};
struct SumSquares : Sum {
  template <class V>
  SW_INLINE static V step(V a, V x) {
    return a + x * x;
  }
};
struct Prod {
  using Merge = Prod;
  static constexpr bool centered = false;
  template <class A>
  SW_INLINE static constexpr A start() {
    return A(1);
  }
  template <class V>
  SW_INLINE static V step(V a, V x) {
    return V(a * x);
  }
  template <class V>
  SW_INLINE static V merge(V a, V b) {
    return V(a * b);
  }
};
struct Max {
  using Merge = Max;
  static constexpr bool centered = false;
  template <class A>
  SW_INLINE static constexpr A start() {
    return lowest<A>();
  }
  template <class V>
  SW_INLINE static V step(V a, V x) {
    return vmax(a, x);
  }
  template <class V>
  SW_INLINE static V merge(V a, V b) {
    return vmax(a, b);
  }
};
struct Min {
  using Merge = Min;
  static constexpr bool centered = false;
  template <class A>
  SW_INLINE static constexpr A start() {
    return highest<A>();
  }
  template <class V>
  SW_INLINE static V step(V a, V x) {
    return vmin(a, x);
  }
  template <class V>
  SW_INLINE static V merge(V a, V b) {
    return vmin(a, b);
  }
};

template <class V, class Op, class A>
SW_INLINE A across(V v) {
  if constexpr (sizeof(V) == sizeof(A)) {
    return A(v);
  } else {
    constexpr int n = sizeof(V) / sizeof(A);
    A s[n];
    __builtin_memcpy(s, &v, sizeof v);
    for (int half = n / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) s[i] = Op::merge(s[i], s[i + half]);
    return s[0];
  }
}

// f(x[0] - center, ..., x[n-1] - center) for contiguous elements.
template <class E, class Op>
__attribute__((noinline)) typename E::acc reduce_row(const typename E::type* x, int64_t n, typename E::acc center) {
  using A = typename E::acc;
  using V = typename E::vec;
  constexpr bool centered = Op::centered && E::floating;
  if (n > kBlock) {
    const int64_t half = ceil_div(n, 2 * kBlock) * kBlock;
    return Op::merge(reduce_row<E, Op>(x, half, center), reduce_row<E, Op>(x + half, n - half, center));
  }
  const V c = E::spread(center);
  V acc[4];
  for (int k = 0; k < 4; ++k) acc[k] = E::spread(Op::template start<A>());
  int64_t i = 0;
  for (; i + 4 * E::n <= n; i += 4 * E::n) {
    for (int k = 0; k < 4; ++k) {
      V v = E::load(x + i + k * E::n);
      if constexpr (centered) v = v - c;
      acc[k] = Op::step(acc[k], v);
    }
  }
  A rest = Op::template start<A>();
  for (; i < n; ++i) {
    A v = E::one(x + i);
    if constexpr (centered) v = v - center;
    rest = Op::step(rest, v);
  }
  const V all = Op::merge(Op::merge(acc[0], acc[1]), Op::merge(acc[2], acc[3]));
  return Op::merge(across<V, Op, A>(all), rest);
}

// kVecs vectors of columns, down `rows` rows that are `stride` apart.
template <class E, class Op, int kVecs>
SW_INLINE void reduce_strip(const typename E::type* x, int64_t rows, int64_t stride, const typename E::acc* center,
                            typename E::acc* out) {
  using V = typename E::vec;
  constexpr bool centered = Op::centered && E::floating;
  V acc[kVecs], c[kVecs];
  for (int k = 0; k < kVecs; ++k) {
    acc[k] = E::spread(Op::template start<typename E::acc>());
    c[k] = centered && center ? load_raw<V>(center + k * E::n) : V{};
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int k = 0; k < kVecs; ++k) {
      V v = E::load(x + r * stride + k * E::n);
      if constexpr (centered) v = v - c[k];
      acc[k] = Op::step(acc[k], v);
    }
  }
  __builtin_memcpy(out, acc, sizeof acc);
}

// out[i] = f(x[0][i] - center[i], ..., x[rows-1][i] - center[i]) for `width` <= kTile columns.
template <class E, class Op>
__attribute__((noinline)) void reduce_columns(const typename E::type* x, int64_t rows, int64_t stride, int64_t width,
                                              const typename E::acc* center, typename E::acc* out) {
  using A = typename E::acc;
  if (rows > kBlockRows) {
    const int64_t half = ceil_div(rows, 2 * kBlockRows) * kBlockRows;
    A other[kTile];
    reduce_columns<E, Op>(x, half, stride, width, center, out);
    reduce_columns<E, Op>(x + half * stride, rows - half, stride, width, center, other);
    for (int64_t i = 0; i < width; ++i) out[i] = Op::merge(out[i], other[i]);
    return;
  }
  int64_t i = 0;
  for (; i + 4 * E::n <= width; i += 4 * E::n)
    reduce_strip<E, Op, 4>(x + i, rows, stride, center ? center + i : nullptr, out + i);
  for (; i + E::n <= width; i += E::n)
    reduce_strip<E, Op, 1>(x + i, rows, stride, center ? center + i : nullptr, out + i);
  for (; i < width; ++i) {
    A acc = Op::template start<A>();
    for (int64_t r = 0; r < rows; ++r) {
      A v = E::one(x + r * stride + i);
      if constexpr (Op::centered && E::floating) v = v - (center ? center[i] : A(0));
      acc = Op::step(acc, v);
    }
    out[i] = acc;
  }
}

template <class T, class A>
SW_INLINE void store(const ReduceArgs& a, int64_t i, A v) {
  if constexpr (A(0.5) != A(0)) {
    if (a.divide_by != 1) v = A(v / A(a.divide_by));
    if (a.sqrt) v = A(__builtin_sqrt(v));
    if (a.refine) {
      const A center = static_cast<const A*>(a.center)[i];
      v = v - v == A(0) ? A(center + v) : center;
    }
    if (a.out == a.dtype) {
      static_cast<T*>(a.y)[i] = T(v);
      return;
    }
  } else if (a.out != DType::Int64) {
    static_cast<T*>(a.y)[i] = T(v);
    return;
  }
  static_cast<A*>(a.y)[i] = v;
}

template <class E, class Op>
void reduce_rows(const ReduceArgs& a) {
  using T = typename E::type;
  using A = typename E::acc;
  const T* x = static_cast<const T*>(a.x);
  const A* center = static_cast<const A*>(a.center);
  const int64_t n = a.g.n, chunks = ceil_div(n, kTaskElements);
  if (chunks <= 1) {
    parallel_for(a.g.outer, larger(1, kTaskElements / (n + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        store<T, A>(a, o, reduce_row<E, Op>(x + o * n, n, center ? center[o] : A(0)));
    });
    return;
  }
  A* partial = static_cast<A*>(thread_scratch(0, size_t(a.g.outer * chunks) * sizeof(A)));
  parallel_tasks(a.g.outer * chunks, [&](int64_t task) {
    const int64_t o = task / chunks, begin = task % chunks * kTaskElements;
    partial[task] = reduce_row<E, Op>(x + o * n + begin, smaller(kTaskElements, n - begin), center ? center[o] : A(0));
  });
  for (int64_t o = 0; o < a.g.outer; ++o)
    store<T, A>(a, o, reduce_row<Elements<A>, typename Op::Merge>(partial + o * chunks, chunks, A(0)));
}

template <class E, class Op>
void reduce_middle(const ReduceArgs& a) {
  using T = typename E::type;
  using A = typename E::acc;
  const T* x = static_cast<const T*>(a.x);
  const A* center = static_cast<const A*>(a.center);
  const int64_t n = a.g.n, inner = a.g.inner, tiles = ceil_div(inner, kTile);
  const int64_t tile_width = smaller(inner, kTile), chunk = larger(2 * kBlockRows, kTaskElements / tile_width);
  const int64_t chunks = ceil_div(n, chunk);
  A* partial =
      chunks > 1 ? static_cast<A*>(thread_scratch(0, size_t(a.g.outer * chunks * inner) * sizeof(A))) : nullptr;
  if (chunks > 1) {
    parallel_tasks(a.g.outer * chunks * tiles, [&](int64_t task) {
      const int64_t first = task % tiles * kTile, o = task / tiles / chunks, row = task / tiles % chunks * chunk;
      reduce_columns<E, Op>(x + (o * n + row) * inner + first, smaller(chunk, n - row), inner,
                            smaller(kTile, inner - first), center ? center + o * inner + first : nullptr,
                            partial + task / tiles * inner + first);
    });
  }
  const int64_t rows = chunks > 1 ? chunks : n;
  parallel_for(a.g.outer * tiles, larger(1, kTaskElements / (rows * tile_width + 1)), [&](int64_t begin, int64_t end) {
    A out[kTile];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / tiles, first = task % tiles * kTile, width = smaller(kTile, inner - first);
      if (partial) {
        reduce_columns<Elements<A>, typename Op::Merge>(partial + o * chunks * inner + first, chunks, inner, width,
                                                        nullptr, out);
      } else {
        reduce_columns<E, Op>(x + o * n * inner + first, n, inner, width, center ? center + o * inner + first : nullptr,
                              out);
      }
      for (int64_t i = 0; i < width; ++i) store<T, A>(a, o * inner + first + i, out[i]);
    }
  });
}

template <class E, class Op>
void reduce_any(const ReduceArgs& a) {
  if (a.g.inner == 1) {
    reduce_rows<E, Op>(a);
  } else {
    reduce_middle<E, Op>(a);
  }
}

}  // namespace

void reduce_forward(const ReduceArgs& a) {
  dispatch_all(a.dtype, [&]<class T>(Type<T>) {
    switch (a.op) {
      case ReduceOp::Sum:
        return reduce_any<Elements<T>, Sum>(a);
      case ReduceOp::SumSquares:
        if constexpr (Elements<T>::floating) reduce_any<Elements<T>, SumSquares>(a);
        return;
      case ReduceOp::Prod:
        return reduce_any<Elements<T>, Prod>(a);
      case ReduceOp::Max:
        return reduce_any<Elements<T>, Max>(a);
      case ReduceOp::Min:
        return reduce_any<Elements<T>, Min>(a);
      case ReduceOp::CountNonzero:
        return reduce_any<Nonzero<T>, Sum>(a);
    }
  });
}

}  // namespace SW_ISA
}  // namespace skipway
