#include "ops/softmax.h"

#include <math.h>

#include "core/parallel.h"
#include "kernels/softmax_row.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTaskElements = 16384;

// ---- along the last dimension ---------------------------------------------------------------------------------------

// room: for a row; at the end it holds y before rounding if `keep`.
template <class T>
void forward_row(const T* x, T* y, int64_t n, bool log, typename Lanes<T>::scalar sign, typename Lanes<T>::scalar* room,
                 bool keep) {
  using S = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  const S max = row_max(x, n, sign);
  const S fill = -infinity<T>() * sign;
  const double sum = row_sum(x, n, fill, [&](V v, int64_t c, int64_t lanes) {
    const V e = vexp(v * sign - max);
    if (!log) put(room + c, e, lanes);
    return e;
  });
  if (log) {
    const S log_sum = S(::log(sum));
    for_row(x, n, S(0), [&](V v, int64_t c, int64_t lanes) {
      const V value = (v * sign - max) - log_sum;
      put(y + c, value, lanes);
      if (keep) put(room + c, value, lanes);
    });
  } else {
    const S scale = S(1 / sum);
    for_row(static_cast<const S*>(room), n, S(0), [&](V e, int64_t c, int64_t lanes) {
      put(y + c, e * scale, lanes);
      if (keep) put(room + c, e * scale, lanes);
    });
  }
}

// softmax: dx = y (dy - sum(y dy)) sign;   its logarithm: dx = dy - e^y sum(dy)
template <class T, bool kLog, bool kAdd>
void backward_row(const typename Lanes<T>::scalar* y, const T* dy, T* dx, int64_t n, typename Lanes<T>::scalar sign) {
  using S = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  const S sum =
      S(row_sum(dy, n, S(0), [&](V g, int64_t c, int64_t lanes) { return kLog ? g : g * take(y + c, lanes); }));
  for_row(dy, n, S(0), [&](V g, int64_t c, int64_t lanes) {
    const V v = take(y + c, lanes);
    V d = kLog ? g - vexp(v) * sum : v * (g - sum) * sign;
    if constexpr (kAdd) d += take(dx + c, lanes);
    put(dx + c, d, lanes);
  });
}

// ---- along another dimension: a vector of neighbouring columns at a time --------------------------------------------

template <class T>
void forward_columns(const T* x, T* y, float* wide, int64_t n, int64_t stride, int64_t lanes, bool log,
                     typename Lanes<T>::scalar sign) {
  using V = typename Lanes<T>::vec;
  V max = vset<T>(-infinity<T>()), sum{};
  for (int64_t i = 0; i < n; ++i) max = vmax(max, take(x + i * stride, lanes) * sign);
  for (int64_t i = 0; i < n; ++i) sum += vexp(take(x + i * stride, lanes) * sign - max);
  const V scale = log ? vlog(sum) : (V{} + 1) / sum;
  for (int64_t i = 0; i < n; ++i) {
    const V v = take(x + i * stride, lanes) * sign - max;
    const V value = log ? v - scale : vexp(v) * scale;
    put(y + i * stride, value, lanes);
    if constexpr (dtype_of<T> == DType::BFloat16) {
      if (wide) put(wide + i * stride, value, lanes);
    }
  }
}

template <class T>
void backward_columns(const typename Lanes<T>::scalar* y, const T* dy, T* dx, bool add, int64_t n, int64_t stride,
                      int64_t lanes, bool log, typename Lanes<T>::scalar sign) {
  using V = typename Lanes<T>::vec;
  V sum{};
  for (int64_t i = 0; i < n; ++i) {
    const V g = take(dy + i * stride, lanes);
    sum += log ? g : g * take(y + i * stride, lanes);
  }
  for (int64_t i = 0; i < n; ++i) {
    const V g = take(dy + i * stride, lanes), v = take(y + i * stride, lanes);
    V d = log ? g - vexp(v) * sum : v * (g - sum) * sign;
    if (add) d += take(dx + i * stride, lanes);
    put(dx + i * stride, d, lanes);
  }
}

// f(offset, lanes) for each group of neighbouring columns.
template <class T, class F>
SW_INLINE void for_columns(int64_t outer, int64_t n, int64_t inner, const F& f) {
  constexpr int L = Lanes<T>::n;
  const int64_t groups = (inner + L - 1) / L;
  parallel_for(outer * groups, max64(1, kTaskElements / max64(1, n * L)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = i % groups * L;
      f(i / groups * n * inner + c, min64(L, inner - c));
    }
  });
}

template <class T>
void forward(const SoftmaxArgs& a) {
  using S = typename Lanes<T>::scalar;
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const S sign = S(a.sign);
  if (a.inner != 1) {
    for_columns<T>(a.outer, a.n, a.inner, [&](int64_t at, int64_t lanes) {
      forward_columns(x + at, y + at, a.wide ? a.wide + at : nullptr, a.n, a.inner, lanes, a.log, sign);
    });
    return;
  }
  parallel_for(a.outer, max64(1, kTaskElements / max64(1, a.n)), [&](int64_t begin, int64_t end) {
    S* room = nullptr;
    if constexpr (sizeof(T) != sizeof(S)) room = static_cast<S*>(thread_scratch(0, size_t(a.n + 1) * sizeof(S)));
    for (int64_t r = begin; r < end; ++r) {
      bool keep = false;
      if constexpr (sizeof(T) == sizeof(S)) {
        room = y + r * a.n;
      } else if (a.wide) {
        room = a.wide + r * a.n;
        keep = true;
      }
      forward_row(x + r * a.n, y + r * a.n, a.n, a.log, sign, room, keep);
    }
  });
}

template <class T>
void backward(const SoftmaxGradArgs& a) {
  using S = typename Lanes<T>::scalar;
  const S* y = static_cast<const S*>(a.y);
  const T* dy = static_cast<const T*>(a.dy);
  const S sign = S(a.sign);
  const bool add = a.dx.mode == GradMode::Add;
  T* dx = static_cast<T*>(a.dx.data);
  if (a.inner != 1) {
    for_columns<T>(a.outer, a.n, a.inner, [&](int64_t at, int64_t lanes) {
      backward_columns(y + at, dy + at, dx + at, add, a.n, a.inner, lanes, a.log, sign);
    });
    return;
  }
  const auto row = a.log ? (add ? backward_row<T, true, true> : backward_row<T, true, false>)
                         : (add ? backward_row<T, false, true> : backward_row<T, false, false>);
  parallel_for(a.outer, max64(1, kTaskElements / max64(1, a.n)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) row(y + r * a.n, dy + r * a.n, dx + r * a.n, a.n, sign);
  });
}

}  // namespace

void softmax_forward(const SoftmaxArgs& a) {
  if (a.n == 0) return;
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { forward<T>(a); });
}

void softmax_backward(const SoftmaxGradArgs& a) {
  if (a.dx.mode == GradMode::Skip || a.n == 0) return;
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { backward<T>(a); });
}

}  // namespace SW_ISA
}  // namespace skipway
