// CUDA's device functions that the C library lacks: loads with cache hints, bits, casts, and fast mathematics (which is
// computed exactly here: on a device __expf and its like have larger errors).
#pragma once
#include <math.h>

#include <cstdint>
#include <type_traits>

#include "cuda_emulator/interface.h"

// Loads and stores with a cache hint
#define EMULATOR_LOAD(name)            \
  template <class T>                   \
  EMULATOR_INLINE T name(const T* p) { \
    return *p;                         \
  }
#define EMULATOR_STORE(name)                                       \
  template <class T>                                               \
  EMULATOR_INLINE void name(T* p, std::type_identity_t<T> value) { \
    *p = value;                                                    \
  }
EMULATOR_LOAD(__ldg)
EMULATOR_LOAD(__ldcg)
EMULATOR_LOAD(__ldca)
EMULATOR_LOAD(__ldcs)
EMULATOR_LOAD(__ldlu)
EMULATOR_LOAD(__ldcv)
EMULATOR_STORE(__stwb)
EMULATOR_STORE(__stcg)
EMULATOR_STORE(__stcs)
EMULATOR_STORE(__stwt)
#undef EMULATOR_LOAD
#undef EMULATOR_STORE

// Integers
EMULATOR_INLINE unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
EMULATOR_INLINE int __mulhi(int a, int b) { return int((int64_t(a) * b) >> 32); }
EMULATOR_INLINE unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
EMULATOR_INLINE long long __mul64hi(long long a, long long b) { return (long long)(((__int128)a * b) >> 64); }
EMULATOR_INLINE int __mul24(int a, int b) { return int((int64_t(a << 8) >> 8) * (int64_t(b << 8) >> 8)); }
EMULATOR_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
EMULATOR_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
EMULATOR_INLINE int __ffs(int x) { return __builtin_ffs(x); }
EMULATOR_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
EMULATOR_INLINE int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
EMULATOR_INLINE int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
EMULATOR_INLINE unsigned __brev(unsigned x) {
  x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
  x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
  x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(x);
}
EMULATOR_INLINE unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = uint64_t(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned select = selector >> (4 * i), byte = unsigned(bytes >> (8 * (select & 7))) & 0xff;
    result |= (select & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << (8 * i);
  }
  return result;
}
EMULATOR_INLINE unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned(((uint64_t(high) << 32 | low) << (shift & 31)) >> 32);
}
EMULATOR_INLINE unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned((uint64_t(high) << 32 | low) >> (shift & 31));
}

// Bit casts
EMULATOR_INLINE float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
EMULATOR_INLINE unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
EMULATOR_INLINE float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
EMULATOR_INLINE int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
EMULATOR_INLINE double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }
EMULATOR_INLINE long long __double_as_longlong(double x) { return __builtin_bit_cast(long long, x); }

// Conversions
EMULATOR_INLINE float __saturatef(float x) { return x != x ? 0.f : x < 0.f ? 0.f : x > 1.f ? 1.f : x; }
EMULATOR_INLINE int __float2int_rn(float x) { return int(rintf(x)); }
EMULATOR_INLINE int __float2int_rz(float x) { return int(x); }
EMULATOR_INLINE int __float2int_rd(float x) { return int(floorf(x)); }
EMULATOR_INLINE int __float2int_ru(float x) { return int(ceilf(x)); }
EMULATOR_INLINE unsigned __float2uint_rn(float x) { return unsigned(rintf(x)); }
EMULATOR_INLINE unsigned __float2uint_rz(float x) { return unsigned(x); }
EMULATOR_INLINE float __int2float_rn(int x) { return float(x); }
EMULATOR_INLINE float __uint2float_rn(unsigned x) { return float(x); }
EMULATOR_INLINE float __double2float_rn(double x) { return float(x); }

// Mathematics
EMULATOR_INLINE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
EMULATOR_INLINE double rsqrt(double x) { return 1.0 / ::sqrt(x); }
EMULATOR_INLINE float rsqrt(float x) { return rsqrtf(x); }
EMULATOR_INLINE float __frsqrt_rn(float x) { return rsqrtf(x); }
EMULATOR_INLINE float __fsqrt_rn(float x) { return sqrtf(x); }
EMULATOR_INLINE float __frcp_rn(float x) { return 1.0f / x; }
EMULATOR_INLINE float __fdiv_rn(float a, float b) { return a / b; }
EMULATOR_INLINE float __fdividef(float a, float b) { return a / b; }
EMULATOR_INLINE float __fadd_rn(float a, float b) { return a + b; }
EMULATOR_INLINE float __fsub_rn(float a, float b) { return a - b; }
EMULATOR_INLINE float __fmul_rn(float a, float b) { return a * b; }
EMULATOR_INLINE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
EMULATOR_INLINE double __dadd_rn(double a, double b) { return a + b; }
EMULATOR_INLINE double __dsub_rn(double a, double b) { return a - b; }
EMULATOR_INLINE double __dmul_rn(double a, double b) { return a * b; }
EMULATOR_INLINE double __ddiv_rn(double a, double b) { return a / b; }
EMULATOR_INLINE double __fma_rn(double a, double b, double c) { return ::fma(a, b, c); }
EMULATOR_INLINE float __expf(float x) { return expf(x); }
EMULATOR_INLINE float __exp10f(float x) { return powf(10.0f, x); }
EMULATOR_INLINE float __logf(float x) { return logf(x); }
EMULATOR_INLINE float __log2f(float x) { return log2f(x); }
EMULATOR_INLINE float __log10f(float x) { return log10f(x); }
EMULATOR_INLINE float __powf(float x, float y) { return powf(x, y); }
EMULATOR_INLINE float __sinf(float x) { return sinf(x); }
EMULATOR_INLINE float __cosf(float x) { return cosf(x); }
EMULATOR_INLINE float __tanf(float x) { return tanf(x); }
EMULATOR_INLINE void __sincosf(float x, float* sine, float* cosine) {
  *sine = sinf(x);
  *cosine = cosf(x);
}
// sin(pi x) and cos(pi x), exact at multiples of 1/2
EMULATOR_INLINE double emulator_sinpi(double x) {
  const double r = remainder(x, 2.0);  // in [-1, 1]
  if (r == 0.0 || r == 1.0 || r == -1.0) return copysign(0.0, x);
  return ::sin(3.14159265358979323846 * (r > 0.5 ? 1.0 - r : r < -0.5 ? -1.0 - r : r));
}
EMULATOR_INLINE double sinpi(double x) { return emulator_sinpi(x); }
EMULATOR_INLINE double cospi(double x) { return emulator_sinpi(fabs(remainder(x, 2.0)) + 0.5); }
EMULATOR_INLINE float sinpif(float x) { return float(emulator_sinpi(double(x))); }
EMULATOR_INLINE float cospif(float x) { return float(cospi(double(x))); }
EMULATOR_INLINE void sincospif(float x, float* sine, float* cosine) {
  *sine = sinpif(x);
  *cosine = cospif(x);
}

// Like CUDA's overloads: mixed types promote, and a NaN loses to a number.
template <class A, class B>
EMULATOR_INLINE std::common_type_t<A, B> min(A a, B b) {
  static_assert(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>);
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return fmin(T(a), T(b));
  } else {
    return T(b) < T(a) ? T(b) : T(a);
  }
}
template <class A, class B>
EMULATOR_INLINE std::common_type_t<A, B> max(A a, B b) {
  static_assert(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>);
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return fmax(T(a), T(b));
  } else {
    return T(a) < T(b) ? T(b) : T(a);
  }
}
