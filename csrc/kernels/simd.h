// Vectors of the instruction set that this translation unit is compiled for, on GCC/Clang vector extensions: + - * /
// and comparisons work on them directly, a ? b : c selects by lane, and a * b + c contracts to a fused multiply-add.
//
// Everything lives in namespace skipway::SW_ISA (baseline, avx2 or avx512) and is SW_INLINE: see core/dtype.h for why.
// Lanes<T> says how elements of T are computed with: bfloat16 loads to float and is rounded on the store.
#pragma once
#include <cstdint>

#include "core/dtype.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifndef SW_ISA
#define SW_ISA baseline
#endif

namespace skipway {
namespace SW_ISA {

#if defined(__AVX512F__)
inline constexpr int kVecBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVecBytes = 32;
#else
inline constexpr int kVecBytes = 16;
#endif

typedef float vfloat __attribute__((vector_size(kVecBytes)));
typedef double vdouble __attribute__((vector_size(kVecBytes)));
typedef int32_t vint __attribute__((vector_size(kVecBytes)));
typedef uint32_t vuint __attribute__((vector_size(kVecBytes)));
typedef int64_t vlong __attribute__((vector_size(kVecBytes)));
typedef uint16_t vhalf __attribute__((vector_size(kVecBytes / 2)));

template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  using scalar = float;
  using vec = vfloat;
  using mask = vint;
  static constexpr int n = kVecBytes / 4;
};
template <>
struct Lanes<bfloat16> : Lanes<float> {};
template <>
struct Lanes<double> {
  using scalar = double;
  using vec = vdouble;
  using mask = vlong;
  static constexpr int n = kVecBytes / 8;
};

// ---- loads and stores, at any alignment -----------------------------------------------------------------------------
template <class V, class P>
SW_INLINE V load_raw(const P* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}
SW_INLINE vfloat vload(const float* p) { return load_raw<vfloat>(p); }
SW_INLINE vdouble vload(const double* p) { return load_raw<vdouble>(p); }
// bfloat16 is the upper half of a float32.
SW_INLINE vfloat vload(const bfloat16* p) {
#if defined(__AVX512BW__)
  return (vfloat)((vuint)_mm512_maskz_cvtepu16_epi32(0xffff, load_raw<__m256i>(p)) << 16);
#elif defined(__AVX2__)
  return (vfloat)((vuint)_mm256_cvtepu16_epi32(load_raw<__m128i>(p)) << 16);
#else
  return (vfloat)(__builtin_convertvector(load_raw<vhalf>(p), vuint) << 16);
#endif
}
SW_INLINE void vstore(float* p, vfloat v) { __builtin_memcpy(p, &v, sizeof v); }
SW_INLINE void vstore(double* p, vdouble v) { __builtin_memcpy(p, &v, sizeof v); }
// Rounded to the nearest bfloat16, to even on a tie, in the upper half of each lane (the lower half is garbage):
// u + 0x7fff + (bit 16 of u); a NaN keeps its upper half and becomes quiet.
SW_INLINE vuint round_to_upper(vfloat v) {
  const vuint u = (vuint)v, rounded = u + 0x7fff + ((u >> 16) & 1);
#if defined(__AVX512BW__)
  const __mmask16 nan = _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
  return (vuint)_mm512_mask_or_epi32((__m512i)rounded, nan, (__m512i)u, _mm512_set1_epi32(0x400000));
#else
  return v == v ? rounded : u | 0x400000;
#endif
}
SW_INLINE vhalf bfloat16_bits(vfloat v) {
  const vuint u = round_to_upper(v) >> 16;
#if defined(__AVX512BW__)
  return (vhalf)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)u);
#elif defined(__AVX2__)
  return (vhalf)_mm256_castsi256_si128(
      _mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)u, (__m256i)u), 0x08));  // 16-byte halves pack separately
#else
  return __builtin_convertvector(u, vhalf);
#endif
}
SW_INLINE void vstore(bfloat16* p, vfloat v) {
  const vhalf h = bfloat16_bits(v);
  __builtin_memcpy(p, &h, sizeof h);
}

// As T would hold it.
template <class T, class V>
SW_INLINE V rounded_to(V v) {
  if constexpr (__is_same(T, bfloat16)) return (V)(round_to_upper(v) & 0xffff0000u);
  return v;
}

// Two vectors of bfloat16 at once, for elementwise work: the elements at even and at odd places, which costs a shift
// and a mask where two vloads cost shuffles too.
struct EvenOdd {
  vfloat even, odd;
};
SW_INLINE EvenOdd load_even_odd(const bfloat16* p) {
  const vuint u = load_raw<vuint>(p);
  return {(vfloat)(u << 16), (vfloat)(u & 0xffff0000u)};
}
SW_INLINE void store_even_odd(bfloat16* p, EvenOdd v) {
  const vuint even = round_to_upper(v.even) >> 16, odd = round_to_upper(v.odd) & 0xffff0000u, u = even | odd;
  __builtin_memcpy(p, &u, sizeof u);
}

// The first `count` lanes (0 <= count < n); the others load as zero and are not stored.
template <class T>
SW_INLINE typename Lanes<T>::vec vload_n(const T* p, int64_t count) {
  T buffer[Lanes<T>::n];
  __builtin_memset(buffer, 0, sizeof buffer);
  __builtin_memcpy(buffer, p, size_t(count) * sizeof(T));
  return vload(buffer);
}
template <class T>
SW_INLINE void vstore_n(T* p, typename Lanes<T>::vec v, int64_t count) {
  T buffer[Lanes<T>::n];
  vstore(buffer, v);
  __builtin_memcpy(p, buffer, size_t(count) * sizeof(T));
}
template <class T>
SW_INLINE typename Lanes<T>::vec vset(typename Lanes<T>::scalar x) {
  return x - typename Lanes<T>::vec{};  // x + {} would turn -0 into +0
}

// ---- lane-wise ------------------------------------------------------------------------------------------------------
SW_INLINE vfloat select(vint mask, vfloat a, vfloat b) { return mask ? a : b; }
SW_INLINE vdouble select(vlong mask, vdouble a, vdouble b) { return mask ? a : b; }
// NaN in either argument gives NaN, as in NumPy's maximum and minimum.
template <class V>
SW_INLINE V vmax(V a, V b) {
  return (a > b) | (a != a) ? a : b;
}
template <class V>
SW_INLINE V vmin(V a, V b) {
  return (a < b) | (a != a) ? a : b;
}
// x < bound ? bound : x and x > bound ? bound : x, in one instruction. NaN in x stays.
#if defined(__AVX512F__)
SW_INLINE vfloat at_least(vfloat x, vfloat bound) {
  return (vfloat)_mm512_maskz_max_ps(0xffff, (__m512)bound, (__m512)x);
}
SW_INLINE vfloat at_most(vfloat x, vfloat bound) {
  return (vfloat)_mm512_maskz_min_ps(0xffff, (__m512)bound, (__m512)x);
}
#elif defined(__AVX2__)
SW_INLINE vfloat at_least(vfloat x, vfloat bound) { return (vfloat)_mm256_max_ps((__m256)bound, (__m256)x); }
SW_INLINE vfloat at_most(vfloat x, vfloat bound) { return (vfloat)_mm256_min_ps((__m256)bound, (__m256)x); }
#else
SW_INLINE vfloat at_least(vfloat x, vfloat bound) { return x < bound ? bound : x; }
SW_INLINE vfloat at_most(vfloat x, vfloat bound) { return x > bound ? bound : x; }
#endif
SW_INLINE vdouble at_least(vdouble x, vdouble bound) { return x < bound ? bound : x; }
SW_INLINE vdouble at_most(vdouble x, vdouble bound) { return x > bound ? bound : x; }
SW_INLINE vfloat vabs(vfloat x) { return (vfloat)((vint)x & 0x7fffffff); }
SW_INLINE vdouble vabs(vdouble x) { return (vdouble)((vlong)x & 0x7fffffffffffffffll); }
template <class V>
SW_INLINE V vsqrt(V x) {  // lane by lane in the source; the compiler makes it one instruction
  V y;
  for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); ++i) {
    if constexpr (sizeof(x[0]) == 4) {
      y[i] = __builtin_sqrtf(x[i]);
    } else {
      y[i] = __builtin_sqrt(x[i]);
    }
  }
  return y;
}

// ---- across lanes, in a fixed order ---------------------------------------------------------------------------------
template <class V>
SW_INLINE auto vsum(V v) {
  constexpr int n = sizeof(V) / sizeof(v[0]);
  __typeof__(v[0] + v[0]) s[n];
  for (int i = 0; i < n; ++i) s[i] = v[i];
  for (int half = n / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  return s[0];
}

}  // namespace SW_ISA
}  // namespace skipway
