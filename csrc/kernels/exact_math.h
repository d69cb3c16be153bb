// log, sin and cos made of operations that IEEE 754 rounds exactly, so that every instruction set gives the same bits.
// Files that include this are compiled with -ffp-contract=off (see CMakeLists.txt): a fused multiply-add rounds once
// where a multiply and an add round twice. Errors stay below 2 units in the last place on the ranges that random
// numbers need.
#pragma once
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
  const float c[] = {1.f, 1.f / 3, 1.f / 5, 1.f / 7, 1.f / 9, 1.f / 11};
  const vint bits = (vint)x, e = (bits - 0x3f3504f3) >> 23;
  const vfloat m = (vfloat)(bits - (e << 23)), s = (m - 1.f) / (m + 1.f), k = to_floating(e);
  return k * 0x1.62e4p-1f + (s * polynomial(s * s, c) * 2.f + k * 0x1.7f7d1cp-20f);
}
SW_INLINE vdouble exact_log(vdouble x) {
  const double c[] = {1.,      1. / 3,  1. / 5,  1. / 7,  1. / 9,  1. / 11,
                      1. / 13, 1. / 15, 1. / 17, 1. / 19, 1. / 21, 1. / 23};
  const vlong bits = (vlong)x, e = (bits - 0x3fe6a09e667f3bcdll) >> 52;
  const vdouble m = (vdouble)(bits - (e << 52)), s = (m - 1.) / (m + 1.), k = to_floating(e);
  return k * 0x1.62e42fefa38p-1 + (s * polynomial(s * s, c) * 2. + k * 0x1.ef35793c7673p-45);
}

// sin and cos on [-pi/4, pi/4] by their Taylor series.
SW_INLINE void exact_sincos(vfloat t, vfloat& sin, vfloat& cos) {
  const float s[] = {1.f, -1.f / 6, 1.f / 120, -1.f / 5040, 1.f / 362880};
  const float c[] = {1.f, -1.f / 2, 1.f / 24, -1.f / 720, 1.f / 40320, -1.f / 3628800};
  const vfloat z = t * t;
  sin = t * polynomial(z, s);
  cos = polynomial(z, c);
}
SW_INLINE void exact_sincos(vdouble t, vdouble& sin, vdouble& cos) {
  const double s[] = {1.,
                      -1. / 6,
                      1. / 120,
                      -1. / 5040,
                      1. / 362880,
                      -1. / 39916800,
                      1. / 6227020800,
                      -1. / 1307674368000,
                      1. / 355687428096000};
  const double c[] = {1.,
                      -1. / 2,
                      1. / 24,
                      -1. / 720,
                      1. / 40320,
                      -1. / 3628800,
                      1. / 479001600,
                      -1. / 87178291200,
                      1. / 20922789888000,
                      -1. / 6402373705728000};
  const vdouble z = t * t;
  sin = t * polynomial(z, s);
  cos = polynomial(z, c);
}

}  // namespace SW_ISA
}  // namespace skipway
