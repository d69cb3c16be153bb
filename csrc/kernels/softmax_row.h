// The numerically safe pieces of softmax, one row at a time: the largest element, and sum(exp(x - max)).
#pragma once
#include "kernels/across.h"
#include "kernels/partial.h"
#include "kernels/vmath.h"
#include "kernels/wide.h"

namespace skipway {
namespace SW_ISA {

template <class T>
SW_INLINE auto infinity() {
  return typename Lanes<T>::scalar(__builtin_inf());
}

// f(vector, column, lanes) over a row; lanes beyond the end hold `fill`.
template <class T, class F>
SW_INLINE void for_row(const T* x, int64_t n, typename Lanes<T>::scalar fill, const F& f) {
  constexpr int L = Lanes<T>::n;
  int64_t c = 0;
  for (; c + L <= n; c += L) f(vload(x + c), c, int64_t(L));
  if (c < n) f(vload_first(x + c, n - c, vset<T>(fill)), c, n - c);
}
inline constexpr int kChains = 4;  // independent partial results, which hide the latency of one operation

// The same with the number of the partial result that a vector may go to: f(vector, column, lanes, chain).
template <class T, class F>
SW_INLINE void for_row_chained(const T* x, int64_t n, typename Lanes<T>::scalar fill, const F& f) {
  constexpr int L = Lanes<T>::n;
  int64_t c = 0;
  for (; c + kChains * L <= n; c += kChains * L) {
#pragma GCC unroll 4
    for (int u = 0; u < kChains; ++u) f(vload(x + c + u * L), c + u * L, int64_t(L), u);
  }
  for (; c + L <= n; c += L) f(vload(x + c), c, int64_t(L), 0);
  if (c < n) f(vload_first(x + c, n - c, vset<T>(fill)), c, n - c, 1);
}

// max(sign * x); NaN where there is one; -inf for an empty row
template <class T>
SW_INLINE typename Lanes<T>::scalar row_max(const T* x, int64_t n, typename Lanes<T>::scalar sign) {
  using V = typename Lanes<T>::vec;
  V best[kChains];
  for (V& b : best) b = vset<T>(-infinity<T>());
  for_row_chained(x, n, -infinity<T>() * sign,
                  [&](V v, int64_t, int64_t, int u) { best[u] = vmax(best[u], v * sign); });
  return hmax(vmax(vmax(best[0], best[1]), vmax(best[2], best[3])));
}

// sum over the row of what f(vector, column, lanes) returns: short sums in the computing type, their sum in float64.
template <class T, class F>
SW_INLINE double row_sum(const T* x, int64_t n, typename Lanes<T>::scalar fill, const F& f) {
  using V = typename Lanes<T>::vec;
  constexpr int64_t kBlock = 2048;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    V sum[kChains] = {};
    for_row_chained(x + begin, min64(kBlock, n - begin), fill,
                    [&](V v, int64_t c, int64_t lanes, int u) { sum[u] += f(v, begin + c, lanes); });
    total += double(hsum((sum[0] + sum[1]) + (sum[2] + sum[3])));
  }
  return total;
}

}  // namespace SW_ISA
}  // namespace skipway
