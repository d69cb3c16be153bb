// Extremes with their positions, and the gradients of reductions. One task is a band of lines of x[outer][n][inner].
#include "core/parallel.h"
#include "kernels/simd.h"
#include "ops/reduce.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTile = 256;

// What elements are computed as.
template <class T>
struct Computed {
  using type = T;
};
template <>
struct Computed<bfloat16> {
  using type = float;
};

// f(first element of x, position in [outer][inner], columns) for bands of at most kTile neighbouring lines.
template <class F>
SW_INLINE void for_bands(const ReduceGeometry& g, const F& f) {
  const int64_t width = g.inner < kTile ? g.inner : kTile, tiles = (g.inner + kTile - 1) / kTile;
  const int64_t grain = 65536 / (g.n * width + 1);
  parallel_for(g.outer * tiles, grain > 1 ? grain : 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / tiles, first = task % tiles * kTile;
      f(o * g.n * g.inner + first, o * g.inner + first, g.inner - first < kTile ? g.inner - first : kTile);
    }
  });
}

// One contiguous line: its extreme by vectors, then the first element that equals it (or is NaN as it is).
template <class T, bool kMax>
int64_t arg_reduce_line(const T* x, int64_t n) {
  using L = Lanes<T>;
  using A = typename L::scalar;
  constexpr int64_t width = 4 * L::n;
  A best = A(x[0]);
  int64_t i = 0;
  if (n >= width) {
    typename L::vec acc[4];
    for (int k = 0; k < 4; ++k) acc[k] = vload(x + k * L::n);
    for (i = width; i + width <= n; i += width)
      for (int k = 0; k < 4; ++k) {
        const auto v = vload(x + i + k * L::n);
        acc[k] = kMax ? vmax(acc[k], v) : vmin(acc[k], v);
      }
    const auto pick = [](auto a, auto b) { return kMax ? vmax(a, b) : vmin(a, b); };
    const typename L::vec all = pick(pick(acc[0], acc[1]), pick(acc[2], acc[3]));
    A lanes[L::n];
    __builtin_memcpy(lanes, &all, sizeof all);
    for (int half = L::n / 2; half > 0; half /= 2)
      for (int k = 0; k < half; ++k) lanes[k] = pick(lanes[k], lanes[k + half]);
    best = lanes[0];
  }
  for (; i < n; ++i) best = kMax ? vmax(best, A(x[i])) : vmin(best, A(x[i]));
  for (i = 0; i + 32 <= n; i += 32) {
    int found = 0;
    for (int k = 0; k < 32; ++k) found |= best == best ? A(x[i + k]) == best : A(x[i + k]) != A(x[i + k]);
    if (found) break;
  }
  for (; i < n - 1; ++i)
    if (best == best ? A(x[i]) == best : A(x[i]) != A(x[i])) break;
  return i;
}

// best = first element that is larger (smaller) than all before it, or the first NaN.
template <class T, bool kMax>
void arg_reduce(const ArgReduceArgs& a) {
  using A = typename Computed<T>::type;
  const int64_t n = a.g.n, inner = a.g.inner;
  for_bands(a.g, [&](int64_t from, int64_t to, int64_t columns) {
    const T* x = static_cast<const T*>(a.x) + from;
    if constexpr (is_floating(dtype_of<T>)) {
      if (inner == 1) {
        const int64_t i = arg_reduce_line<T, kMax>(x, n);
        a.indices[to] = i;
        if (a.values) static_cast<T*>(a.values)[to] = x[i];
        return;
      }
    }
    A best[kTile];
    int64_t at[kTile];
    for (int64_t i = 0; i < columns; ++i) {
      best[i] = A(x[i]);
      at[i] = 0;
    }
    for (int64_t r = 1; r < n; ++r) {
      const T* row = x + r * inner;
      for (int64_t i = 0; i < columns; ++i) {
        const A v = A(row[i]);
        const bool take = (best[i] == best[i]) & ((kMax ? v > best[i] : v < best[i]) | (v != v));
        best[i] = take ? v : best[i];
        at[i] = take ? r : at[i];
      }
    }
    for (int64_t i = 0; i < columns; ++i) {
      a.indices[to + i] = at[i];
      if (a.values) static_cast<T*>(a.values)[to + i] = T(best[i]);
    }
  });
}

}  // namespace

void arg_reduce_forward(const ArgReduceArgs& a) {
  dispatch_all(a.dtype, [&]<class T>(Type<T>) {
    if (a.max) {
      arg_reduce<T, true>(a);
    } else {
      arg_reduce<T, false>(a);
    }
  });
}

void centered_backward(const CenteredGradArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    using A = typename Lanes<T>::scalar;
    const A *dy = static_cast<const A*>(a.dy), *stat = static_cast<const A*>(a.stat);
    const A* center = static_cast<const A*>(a.center);
    const int64_t n = a.g.n, inner = a.g.inner;
    for_bands(a.g, [&](int64_t from, int64_t to, int64_t columns) {
      const T* x = static_cast<const T*>(a.x) + from;
      T* dx = static_cast<T*>(a.dx) + from;
      A scale[kTile], c[kTile];
      for (int64_t i = 0; i < columns; ++i) {
        const A s = stat ? stat[to + i] : A(1);
        scale[i] = s == A(0) ? A(0) : A(a.factor) * dy[to + i] / s;
        c[i] = center ? center[to + i] : A(0);
      }
      if (inner == 1) {
        for (int64_t r = 0; r < n; ++r) dx[r] = T(scale[0] * (A(x[r]) - c[0]));
        return;
      }
      for (int64_t r = 0; r < n; ++r)
        for (int64_t i = 0; i < columns; ++i) dx[r * inner + i] = T(scale[i] * (A(x[r * inner + i]) - c[i]));
    });
  });
}

void extreme_backward(const SharedGradArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    using A = typename Lanes<T>::scalar;
    const int64_t n = a.g.n, inner = a.g.inner;
    for_bands(a.g, [&](int64_t from, int64_t to, int64_t columns) {
      const T *x = static_cast<const T*>(a.x) + from, *y = static_cast<const T*>(a.y) + to;
      const T* dy = static_cast<const T*>(a.dy) + to;
      T* dx = static_cast<T*>(a.dx) + from;
      for (int64_t i = 0; i < columns; ++i) {
        const A extreme = A(y[i]);
        const auto tied = [&](A v) { return v == extreme || (v != v && extreme != extreme); };
        int64_t count = 0;
        for (int64_t r = 0; r < n; ++r) count += tied(A(x[r * inner + i]));
        const T share = T(A(dy[i]) / A(count));
        for (int64_t r = 0; r < n; ++r) dx[r * inner + i] = tied(A(x[r * inner + i])) ? share : T(0);
      }
    });
  });
}

// With one zero in a line only that element has a gradient, with two none has.
void prod_backward(const SharedGradArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    using A = typename Lanes<T>::scalar;
    const int64_t n = a.g.n, inner = a.g.inner;
    for_bands(a.g, [&](int64_t from, int64_t to, int64_t columns) {
      const T *x = static_cast<const T*>(a.x) + from, *dy = static_cast<const T*>(a.dy) + to;
      T* dx = static_cast<T*>(a.dx) + from;
      for (int64_t i = 0; i < columns; ++i) {
        int64_t zeros = 0;
        A others = A(1);
        for (int64_t r = 0; r < n; ++r) {
          const A v = A(x[r * inner + i]);
          zeros += v == A(0);
          if (v != A(0)) others *= v;
        }
        const A g = A(dy[i]) * others;
        for (int64_t r = 0; r < n; ++r) {
          const A v = A(x[r * inner + i]);
          const A d = v == A(0) ? (zeros == 1 ? g : A(0)) : (zeros == 0 ? g / v : A(0));
          dx[r * inner + i] = T(d);
        }
      }
    });
  });
}

namespace {

template <class T>
struct Wide {
  using type = double;
};
template <>
struct Wide<int64_t> {
  using type = int64_t;
};

// y[r] = x[0] + ... + x[r] (or the product); from the other end when `reverse`.
template <class T, bool kProduct>
void scan(const ScanArgs& a) {
  using A = typename Wide<T>::type;
  const int64_t n = a.g.n, inner = a.g.inner;
  for_bands(a.g, [&](int64_t from, int64_t, int64_t columns) {
    const T* x = static_cast<const T*>(a.x) + from;
    T* y = static_cast<T*>(a.y) + from;
    A acc[kTile];
    for (int64_t i = 0; i < columns; ++i) acc[i] = kProduct ? A(1) : A(0);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t row = (a.reverse ? n - 1 - k : k) * inner;
      for (int64_t i = 0; i < columns; ++i) {
        acc[i] = kProduct ? acc[i] * A(x[row + i]) : acc[i] + A(x[row + i]);
        y[row + i] = T(acc[i]);
      }
    }
  });
}

// One line of cumprod's gradient: dx[k] = sum over i >= k of dy[i] * (x[0] ... x[i] without x[k]). Before the first
// zero, at z, that is a suffix sum divided by x[k]; at z it runs on to the next zero; behind z it is 0.
template <class T>
void cumprod_line(const T* x, const T* dy, T* dx, double* terms, int64_t n, int64_t stride) {
  double product = 1, at_zero = 0;
  int64_t z = 0;
  for (; z < n && x[z * stride] != T(0); ++z) {
    product *= double(x[z * stride]);
    terms[z] = double(dy[z * stride]) * product;
  }
  for (int64_t i = z; i < n; ++i) {
    if (i > z) product *= double(x[i * stride]);
    if (product == 0) break;
    at_zero += double(dy[i * stride]) * product;
  }
  for (int64_t k = z; k < n; ++k) dx[k * stride] = T(0);
  if (z < n) dx[z * stride] = T(at_zero);
  double suffix = 0;
  for (int64_t k = z - 1; k >= 0; --k) {
    suffix += terms[k];
    dx[k * stride] = T(suffix / double(x[k * stride]));
  }
}

}  // namespace

void scan_forward(const ScanArgs& a) {
  const auto run = [&]<class T>(Type<T>) {
    if (a.product) {
      scan<T, true>(a);
    } else {
      scan<T, false>(a);
    }
  };
  if (a.dtype == DType::Int64) return run(Type<int64_t>{});
  dispatch_float(a.dtype, run);
}

void cumprod_backward(const ScanArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    for_bands(a.g, [&](int64_t from, int64_t, int64_t columns) {
      double* terms = static_cast<double*>(thread_scratch(0, size_t(a.g.n) * sizeof(double)));
      for (int64_t i = 0; i < columns; ++i) {
        const int64_t at = from + i;
        cumprod_line(static_cast<const T*>(a.x) + at, static_cast<const T*>(a.dy) + at, static_cast<T*>(a.y) + at,
                     terms, a.g.n, a.g.inner);
      }
    });
  });
}

}  // namespace SW_ISA
}  // namespace skipway
