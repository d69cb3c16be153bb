// exp, log, tanh, erf, ... on vectors. float32: polynomials, within about 2 units in the last place, with the special
// values of the C library (NaN, infinities, signed zeros, denormals). float64: the C library, lane by lane.
#pragma once
#include <math.h>

#include "kernels/simd.h"

namespace skipway {
namespace SW_ISA {

template <class V, class F>
SW_INLINE V by_lane(V x, const F& f) {
  V y = x;
  for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); ++i) y[i] = f(x[i]);
  return y;
}
template <class V, class F>
SW_INLINE V by_lane(V a, V b, const F& f) {
  V y = a;
  for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i) y[i] = f(a[i], b[i]);
  return y;
}

// c[0] + x * (c[1] + x * (c[2] + ...))
template <int n>
SW_INLINE vfloat vpoly(vfloat x, const float (&c)[n]) {
  vfloat y = vset<float>(c[n - 1]);
  for (int i = n - 2; i >= 0; --i) y = y * x + c[i];
  return y;
}

// x = k ln 2 + r with |r| <= ln(2) / 2; ln 2 in two parts, the first short enough that k times it is exact.
struct ExpParts {
  vfloat r;
  vint k;
  vfloat whole;  // k
};
SW_INLINE ExpParts split_ln2(vfloat x) {
  const vfloat shift = vset<float>(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const vfloat t = x * 1.44269504f + shift;
  const vfloat k = t - shift;
  return {(x - k * 0.693145752f) - k * 1.42860677e-6f, (vint)t - 0x4b400000, k};
}
// e^r - 1 for |r| <= ln(2) / 2: the Taylor series, 1e-9 off at most.
SW_INLINE vfloat expm1_poly(vfloat r) {
  const float c[] = {0.5f, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
  return r + r * r * vpoly(r, c);
}
SW_INLINE vfloat pow2i(vint k) { return (vfloat)((k + 127) << 23); }  // -126 <= k <= 128
// x 2^k, also where that is denormal or infinite.
SW_INLINE vfloat scale_by_pow2(vfloat x, vint k, vfloat whole) {
#ifdef __AVX512F__
  (void)k;
  return (vfloat)_mm512_maskz_scalef_ps(0xffff, (__m512)x, (__m512)whole);
#else
  (void)whole;
  const vint half = k >> 1;
  return x * pow2i(half) * pow2i(k - half);
#endif
}

SW_INLINE vfloat vexp(vfloat x) {
  const ExpParts p = split_ln2(at_most(at_least(x, vset<float>(-104.0f)), vset<float>(89.0f)));
  return scale_by_pow2(expm1_poly(p.r) + 1.0f, p.k, p.whole);
}
SW_INLINE vdouble vexp(vdouble x) {
  return by_lane(x, [](double v) { return ::exp(v); });
}

// 2^x: k = the nearest integer, r = (x - k) ln 2.
SW_INLINE vfloat vexp2(vfloat x) {
  const vfloat shift = vset<float>(12582912.0f);
  const vfloat c = at_most(at_least(x, vset<float>(-151.0f)), vset<float>(129.0f)), t = c + shift, k = t - shift;
  return scale_by_pow2(expm1_poly((c - k) * 0.693147181f) + 1.0f, (vint)t - 0x4b400000, k);
}
SW_INLINE vdouble vexp2(vdouble x) {
  return by_lane(x, [](double v) { return ::exp2(v); });
}

SW_INLINE vfloat vexpm1(vfloat x) {
  const ExpParts p = split_ln2(at_most(at_least(x, vset<float>(-40.0f)), vset<float>(80.0f)));
  const vfloat scale = pow2i(p.k);
  const vfloat y = scale * expm1_poly(p.r) + (scale - 1.0f);
  return x == 0.0f ? x : x > 80.0f ? vexp(x) : y;
}
SW_INLINE vdouble vexpm1(vdouble x) {
  return by_lane(x, [](double v) { return ::expm1(v); });
}

// log of m * 2^k, m in [sqrt(1/2), sqrt(2)): with f = m - 1 and s = f / (2 + f), log(1 + f) = 2 atanh(s), written as
// f - (f^2 / 2 - s * (f^2 / 2 + R)), R = 2 s^2 / 3 + 2 s^4 / 5 + ..., so that f, the largest part, is exact.
// `tail` is added to the small parts.
SW_INLINE vfloat log_parts(vfloat f, vfloat k, vfloat tail) {
  const vfloat s = f / (f + 2.0f), z = s * s, half = 0.5f * f * f;
  const float c[] = {2.0f / 3, 2.0f / 5, 2.0f / 7, 2.0f / 9, 2.0f / 11};
  const vfloat r = z * vpoly(z, c);
  return k * 0.693145752f + (f - (half - (s * (half + r) + (k * 1.42860677e-6f + tail))));
}
struct LogParts {
  vfloat f, k;
};
SW_INLINE LogParts split_log(vfloat x) {
  const vint denormal = x < 1.17549435e-38f;
  const vfloat scaled = denormal ? x * 8388608.0f : x;
  const vint u = (vint)((vuint)scaled - 0x3f3504f3u);  // sqrt(1/2); unsigned, as it wraps for negative x
  const vint k = (u >> 23) - (denormal & 23);
  const vfloat m = (vfloat)((u & 0x7fffff) + 0x3f3504f3);
  return {m - 1.0f, __builtin_convertvector(k, vfloat)};
}
SW_INLINE vfloat log_special(vfloat x, vfloat y) {
  const vfloat inf = vset<float>(__builtin_inff()), nan = vset<float>(__builtin_nanf(""));
  y = x == 0.0f ? -inf : y;
  y = x < 0.0f ? nan : y;
  return x < inf ? y : x;  // infinity and NaN themselves
}
SW_INLINE vfloat vlog(vfloat x) {
  const LogParts p = split_log(x);
  return log_special(x, log_parts(p.f, p.k, vfloat{}));
}
SW_INLINE vdouble vlog(vdouble x) {
  return by_lane(x, [](double v) { return ::log(v); });
}

SW_INLINE vfloat vlog2(vfloat x) {
  const LogParts p = split_log(x);
  return log_special(x, p.k + log_parts(p.f, vfloat{}, vfloat{}) * 1.44269504f);
}
SW_INLINE vdouble vlog2(vdouble x) {
  return by_lane(x, [](double v) { return ::log2(v); });
}

SW_INLINE vfloat vlog1p(vfloat x) {
  const vfloat u = x + 1.0f;
  const LogParts p = split_log(u);
  const vfloat lost = (u >= 2.0f ? 1.0f - (u - x) : x - (u - 1.0f)) / u;  // what rounding u = 1 + x dropped
  const vfloat y = log_special(u, log_parts(p.f, p.k, lost));
  return x == 0.0f ? x : y;
}
SW_INLINE vdouble vlog1p(vdouble x) {
  return by_lane(x, [](double v) { return ::log1p(v); });
}

// tanh(x) = t / (t + 2), t = expm1(2 |x|), with the sign of x.
SW_INLINE vfloat vcopysign(vfloat magnitude, vfloat sign) {
  return (vfloat)(((vint)magnitude & 0x7fffffff) | ((vint)sign & (int32_t)0x80000000));
}
SW_INLINE vfloat vtanh(vfloat x) {
  const vfloat c = at_most(vabs(x), vset<float>(10.0f));
  const ExpParts p = split_ln2(c + c);
  const vfloat scale = pow2i(p.k);
  const vfloat t = scale * expm1_poly(p.r) + (scale - 1.0f);
  return vcopysign(t / (t + 2.0f), x);
}
SW_INLINE vdouble vtanh(vdouble x) {
  return by_lane(x, [](double v) { return ::tanh(v); });
}

// sin(x + quarter pi / 2): x = k pi / 2 + r, |r| <= pi / 4, pi / 2 in three parts; then the Taylor series of sin or
// cos. Beyond 8192, where the parts no longer suffice, the C library.
SW_INLINE vfloat sin_quarter(vfloat x, int quarter) {
  const vfloat shift = vset<float>(12582912.0f), t = x * 0.636619772f + shift, k = t - shift;
  const vfloat r = ((x - k * 1.5703125f) - k * 4.83751297e-4f) - k * 7.54978995e-8f, z = r * r;
  const float s[] = {-1.0f / 6, 1.0f / 120, -1.0f / 5040, 1.0f / 362880};
  const float c[] = {-0.5f, 1.0f / 24, -1.0f / 720, 1.0f / 40320, -1.0f / 3628800};
  const vint q = (vint)t + quarter;
  const vfloat y = (q & 1) == 0 ? r + r * z * vpoly(z, s) : 1.0f + z * vpoly(z, c);
  return (vfloat)((vint)y ^ ((q & 2) << 30));
}
SW_INLINE bool all_within(vfloat x, float limit) {
  const vint outside = ~(vabs(x) <= limit);
  int32_t any = 0;
  for (int i = 0; i < Lanes<float>::n; ++i) any |= outside[i];
  return any == 0;
}
SW_INLINE vfloat vsin(vfloat x) {
  if (all_within(x, 8192.0f)) return x == 0.0f ? x : sin_quarter(x, 0);
  return by_lane(x, [](float v) { return ::sinf(v); });
}
SW_INLINE vfloat vcos(vfloat x) {
  if (all_within(x, 8192.0f)) return sin_quarter(x, 1);
  return by_lane(x, [](float v) { return ::cosf(v); });
}
SW_INLINE vdouble vsin(vdouble x) {
  return by_lane(x, [](double v) { return ::sin(v); });
}
SW_INLINE vdouble vcos(vdouble x) {
  return by_lane(x, [](double v) { return ::cos(v); });
}

// 1 / (1 + e^-x), without overflow: z = e^-|x|, 1 / (1 + z) or z / (1 + z).
template <class V>
SW_INLINE V vsigmoid(V x) {
  const V z = vexp(-vabs(x));
  return (x < 0 ? z : V{} + 1) / (z + 1);
}
// log(1 + e^x) = max(x, 0) + log1p(e^-|x|)
template <class V>
SW_INLINE V vsoftplus(V x) {
  return (x < 0 ? V{} : x) + vlog1p(vexp(-vabs(x)));
}

// erfc(a) for a >= 0, given e = e^(-a^2): e * t * P(t), t = 1 / (1 + 0.4 a). P is a least-squares Chebyshev fit to
// e^(a^2) erfc(a) / t over 0 <= a <= 10.3; relative error 8e-8.
SW_INLINE vfloat erfc_given_exp(vfloat a, vfloat e) {
  const float c[] = {0.225641689f,  0.226312004f,  0.20285035f,   0.189530872f, 0.0890351311f,
                     0.0742585054f, 0.0961802538f, -0.146310101f, 0.0425013635f};
  const vfloat t = 1.0f / (a * 0.4f + 1.0f);
  return e * t * vpoly(t, c);
}
// |x| < 0.89: x times a polynomial in x^2, fitted likewise (relative error 7e-8); beyond, 1 - erfc.
SW_INLINE vfloat verf(vfloat x) {
  const float c[] = {1.12837917f,    -0.376126352f,    0.112837186f,   -0.0268607224f,
                     0.00520443183f, -0.000818262635f, 8.54477896e-05f};
  const vfloat a = at_most(vabs(x), vset<float>(10.0f));
  const vfloat z = a * a;
  const vfloat tail = vcopysign(1.0f - erfc_given_exp(a, vexp(-z)), x);
  return z < 0.8f ? x * vpoly(z, c) : tail;
}
SW_INLINE vdouble verf(vdouble x) {
  return by_lane(x, [](double v) { return ::erf(v); });
}

// The normal distribution: Phi(x) = erfc(-x / sqrt(2)) / 2, accurate in the left tail, and phi(x). With a = |x|:
//   e^(-a^2 / 2) = 2^(k + f), k an integer, |f| <= 1/2;   Phi(-a) = e^(-a^2 / 2) t P(t), t = 1 / (1 + 0.6 a / sqrt(2))
// 2^f and P are minimax fits, with relative errors of 9e-8 and 3e-7.
struct Normal {
  vfloat cdf, pdf;
};
SW_INLINE Normal vnormal(vfloat x) {
  const float exp2[] = {1.0f, 0.69314724f, 0.24022235f, 0.055503085f, 0.009671875f, 0.0013407256f};
  const float c[] = {0.16928008f, 0.16862385f,  0.1458049f,  0.036692075f,
                     0.1419097f,  -0.32225344f, 0.20598719f, -0.046044495f};
  const vfloat a = at_most(vabs(x), vset<float>(15.0f)), shift = vset<float>(12582912.0f), z = a * a;
  const vfloat shifted = z * -0.721347520f + shift, k = shifted - shift, f = z * -0.721347520f - k;
  const vfloat e = scale_by_pow2(vpoly(f, exp2), (vint)shifted - 0x4b400000, k);
  const vfloat t = 1.0f / (a * 0.424264069f + 1.0f);
  const vfloat tail = e * t * vpoly(t, c);
  const vfloat cdf = x < 0.0f ? tail : 1.0f - tail;
  return {cdf, e * 0.398942280f};
}
// The same for results that are rounded to bfloat16: 2^f, P and the reciprocal are off by 1e-4 of their value at most,
// which moves a result by less than a tenth of what rounding does.
SW_INLINE vfloat short_reciprocal(vfloat x) {
#ifdef __AVX512F__
  return (vfloat)_mm512_maskz_rcp14_ps(0xffff, (__m512)x);
#else
  return 1.0f / x;
#endif
}
SW_INLINE vfloat short_normal_tail(vfloat a) {  // Phi(-a), 0 <= a <= 15
  const float exp2[] = {0.99992805f, 0.69326098f, 0.24261125f, 0.055171724f};
  const float c[] = {0.140092909f, 0.154221863f, 0.058143165f, 0.230950519f, -0.0833614916f};
  const vfloat shift = vset<float>(12582912.0f), z = a * a;
  const vfloat shifted = z * -0.721347520f + shift, k = shifted - shift, f = z * -0.721347520f - k;
  const vfloat e = scale_by_pow2(vpoly(f, exp2), (vint)shifted - 0x4b400000, k);
  const vfloat t = short_reciprocal(a * 0.353553391f + 1.0f);
  return e * t * vpoly(t, c);
}

struct NormalDouble {
  vdouble cdf, pdf;
};
SW_INLINE NormalDouble vnormal(vdouble x) {
  return {by_lane(x, [](double v) { return 0.5 * ::erfc(-v * 0.70710678118654752440); }),
          by_lane(x, [](double v) { return 0.39894228040143267794 * ::exp(-0.5 * v * v); })};
}

// floor, ceil, trunc and rounding to even, one instruction each where there is one.
#define SW_ROUNDING(name, function)                           \
  template <class V>                                          \
  SW_INLINE V name(V x) {                                     \
    V y = x;                                                  \
    for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); ++i) { \
      if constexpr (sizeof(x[0]) == 4) {                      \
        y[i] = __builtin_##function##f(x[i]);                 \
      } else {                                                \
        y[i] = __builtin_##function(x[i]);                    \
      }                                                       \
    }                                                         \
    return y;                                                 \
  }
SW_ROUNDING(vfloor, floor)
SW_ROUNDING(vceil, ceil)
SW_ROUNDING(vtrunc, trunc)
SW_ROUNDING(vround, nearbyint)
#undef SW_ROUNDING

}  // namespace SW_ISA
}  // namespace skipway
