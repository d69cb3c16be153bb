// log, sin and cos made of operations that IEEE 754 rounds exactly, so that every instruction set gives the same bits.
// Files that include this are compiled with -ffp-contract=off (see CMakeLists.txt): a fused multiply-add rounds once
// where a multiply and an add round twice. Errors stay below 2 units in the last place on the ranges that random
// numbers need.
#pragma once
#include "kernels/exact_series.h"
#include "kernels/philox.h"
#include "kernels/simd.h"

namespace skipway {
namespace SW_ISA {

SW_INLINE vfloat to_floating(vint x) { return __builtin_convertvector(x, vfloat); }
// |x| < 2^51, by adding it to the mantissa of 1.5 * 2^52: AVX2 has no conversion from 64-bit integers.
SW_INLINE vdouble to_floating(vlong x) { return (vdouble)(x + (vlong)(vdouble{} + 0x1.8p52)) - 0x1.8p52; }
// 0 <= x < 2^53, exact: the halves sit in the mantissas of 2^52 and 2^84.
SW_INLINE vdouble to_double(vulong x) {
  const vdouble low = (vdouble)((x & 0xffffffffull) | 0x4330000000000000ull);
  const vdouble high = (vdouble)((x >> 32) | 0x4530000000000000ull);
  return (high - 0x1.00000001p84) + low;
}

// c[0] + c[1] z + c[2] z^2 + ...
template <class V, class S, int n>
SW_INLINE V polynomial(V z, const S (&c)[n]) {
  V y = V{} + c[n - 1];
  for (int i = n - 2; i >= 0; --i) y = y * z + c[i];
  return y;
}

// Natural logarithm of a normal, positive x: x = 2^e m with sqrt(1/2) <= m < sqrt(2), and with s = (m - 1) / (m + 1)
//   log x = e log 2 + 2 atanh s = e log 2 + 2 s (1 + s^2/3 + s^4/5 + ...),   |s| < 0.172
SW_INLINE vfloat exact_log(vfloat x) {
  constexpr ExactSeries<float> series;
  const vint bits = (vint)x, e = (bits - 0x3f3504f3) >> 23;
  const vfloat m = (vfloat)(bits - (e << 23)), s = (m - 1.f) / (m + 1.f), k = to_floating(e);
  return k * 0x1.62e4p-1f + (s * polynomial(s * s, series.log) * 2.f + k * 0x1.7f7d1cp-20f);
}
SW_INLINE vdouble exact_log(vdouble x) {
  constexpr ExactSeries<double> series;
  const vlong bits = (vlong)x, e = (bits - 0x3fe6a09e667f3bcdll) >> 52;
  const vdouble m = (vdouble)(bits - (e << 52)), s = (m - 1.) / (m + 1.), k = to_floating(e);
  return k * 0x1.62e42fefa38p-1 + (s * polynomial(s * s, series.log) * 2. + k * 0x1.ef35793c7673p-45);
}

// sin and cos on [-pi/4, pi/4] by their Taylor series.
SW_INLINE void exact_sincos(vfloat t, vfloat& sin, vfloat& cos) {
  constexpr ExactSeries<float> series;
  const vfloat z = t * t;
  sin = t * polynomial(z, series.sin);
  cos = polynomial(z, series.cos);
}
SW_INLINE void exact_sincos(vdouble t, vdouble& sin, vdouble& cos) {
  constexpr ExactSeries<double> series;
  const vdouble z = t * t;
  sin = t * polynomial(z, series.sin);
  cos = polynomial(z, series.cos);
}

}  // namespace SW_ISA
}  // namespace skipway
