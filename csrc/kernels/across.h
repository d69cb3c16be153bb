// Sum and maximum across the lanes of a vector without leaving vector registers: halves are combined until 16 bytes are
// left, then pairs. The order of additions is that of simd.h's vsum.
#pragma once
#include "kernels/simd.h"

namespace skipway {
namespace SW_ISA {

struct AddLanes {
  template <class V>
  static SW_INLINE V combine(V a, V b) {
    return a + b;
  }
};
struct MaxLanes {  // NaN wins
  template <class V>
  static SW_INLINE V combine(V a, V b) {
    return vmax(a, b);
  }
};

template <class Op, class S, int n>
SW_INLINE S across(const S* p) {
  if constexpr (n * sizeof(S) > 16) {
    typedef S Half __attribute__((vector_size(n / 2 * sizeof(S))));
    const Half h = Op::combine(load_raw<Half>(p), load_raw<Half>(p + n / 2));
    S rest[n / 2];
    __builtin_memcpy(rest, &h, sizeof h);
    return across<Op, S, n / 2>(rest);
  } else {
    typedef S Last __attribute__((vector_size(16)));
    Last v = load_raw<Last>(p);
    if constexpr (n == 4) {
      v = Op::combine(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));
      v = Op::combine(v, __builtin_shufflevector(v, v, 1, 0, 3, 2));
    } else {
      v = Op::combine(v, __builtin_shufflevector(v, v, 1, 0));
    }
    return v[0];
  }
}

template <class V>
SW_INLINE auto hsum(V v) {
  using S = __typeof__(v[0] + v[0]);
  S lanes[sizeof(V) / sizeof(S)];
  __builtin_memcpy(lanes, &v, sizeof v);
  return across<AddLanes, S, sizeof(V) / sizeof(S)>(lanes);
}
template <class V>
SW_INLINE auto hmax(V v) {
  using S = __typeof__(v[0] + v[0]);
  S lanes[sizeof(V) / sizeof(S)];
  __builtin_memcpy(lanes, &v, sizeof v);
  return across<MaxLanes, S, sizeof(V) / sizeof(S)>(lanes);
}

}  // namespace SW_ISA
}  // namespace skipway
