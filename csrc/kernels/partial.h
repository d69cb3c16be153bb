// The first `count` lanes of a vector in memory (0 <= count <= n): masked instructions where there are any, instead of
// vload_n's and vstore_n's way through a buffer. Rows of 10 or 17 elements are mostly such remainders.
#pragma once
#include "kernels/simd.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace skipway {
namespace SW_ISA {

#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512BW__)

SW_INLINE __mmask16 first_lanes_mask(int64_t count) { return __mmask16((1u << count) - 1); }
// Lanes from `count` on hold `fill`.
SW_INLINE vfloat vload_first(const float* p, int64_t count, vfloat fill) {
  return (vfloat)_mm512_mask_loadu_ps((__m512)fill, first_lanes_mask(count), p);
}
SW_INLINE vdouble vload_first(const double* p, int64_t count, vdouble fill) {
  return (vdouble)_mm512_mask_loadu_pd((__m512d)fill, __mmask8(first_lanes_mask(count)), p);
}
SW_INLINE vfloat vload_first(const bfloat16* p, int64_t count, vfloat fill) {
  const __mmask16 mask = first_lanes_mask(count);
  const vuint wide = __builtin_convertvector((vhalf)_mm256_maskz_loadu_epi16(mask, p), vuint) << 16;
  return (vfloat)_mm512_mask_mov_ps((__m512)fill, mask, (__m512)wide);
}
SW_INLINE void vstore_first(float* p, vfloat v, int64_t count) {
  _mm512_mask_storeu_ps(p, first_lanes_mask(count), (__m512)v);
}
SW_INLINE void vstore_first(double* p, vdouble v, int64_t count) {
  _mm512_mask_storeu_pd(p, __mmask8(first_lanes_mask(count)), (__m512d)v);
}
SW_INLINE void vstore_first(bfloat16* p, vfloat v, int64_t count) {
  _mm256_mask_storeu_epi16(p, first_lanes_mask(count), (__m256i)bfloat16_bits(v));
}

#else

// The mask of the first lanes, from a window on ones and zeros.
template <class M>
SW_INLINE M first_lanes_mask(int64_t count) {
  constexpr int n = sizeof(M) / sizeof(M{}[0]);
  M mask;
  for (int i = 0; i < n; ++i) mask[i] = i;
  return mask < (__typeof__(mask[0]))count;
}
#ifdef __AVX2__
SW_INLINE vfloat vload_first(const float* p, int64_t count, vfloat fill) {
  const vint mask = first_lanes_mask<vint>(count);
  return mask ? (vfloat)_mm256_maskload_ps(p, (__m256i)mask) : fill;
}
SW_INLINE vdouble vload_first(const double* p, int64_t count, vdouble fill) {
  const vlong mask = first_lanes_mask<vlong>(count);
  return mask ? (vdouble)_mm256_maskload_pd(p, (__m256i)mask) : fill;
}
SW_INLINE void vstore_first(float* p, vfloat v, int64_t count) {
  _mm256_maskstore_ps(p, (__m256i)first_lanes_mask<vint>(count), (__m256)v);
}
SW_INLINE void vstore_first(double* p, vdouble v, int64_t count) {
  _mm256_maskstore_pd(p, (__m256i)first_lanes_mask<vlong>(count), (__m256d)v);
}
#else
SW_INLINE vfloat vload_first(const float* p, int64_t count, vfloat fill) {
  return first_lanes_mask<vint>(count) ? vload_n(p, count) : fill;
}
SW_INLINE vdouble vload_first(const double* p, int64_t count, vdouble fill) {
  return first_lanes_mask<vlong>(count) ? vload_n(p, count) : fill;
}
SW_INLINE void vstore_first(float* p, vfloat v, int64_t count) { vstore_n(p, v, count); }
SW_INLINE void vstore_first(double* p, vdouble v, int64_t count) { vstore_n(p, v, count); }
#endif
SW_INLINE vfloat vload_first(const bfloat16* p, int64_t count, vfloat fill) {
  return first_lanes_mask<vint>(count) ? vload_n(p, count) : fill;
}
SW_INLINE void vstore_first(bfloat16* p, vfloat v, int64_t count) { vstore_n(p, v, count); }

#endif

// Whole vectors in the common way, shorter ones by the functions above.
template <class T>
SW_INLINE typename Lanes<T>::vec take(const T* p, int64_t lanes) {
  return lanes == Lanes<T>::n ? vload(p) : vload_first(p, lanes, typename Lanes<T>::vec{});
}
template <class T>
SW_INLINE void put(T* p, typename Lanes<T>::vec v, int64_t lanes) {
  if (lanes == Lanes<T>::n) {
    vstore(p, v);
  } else {
    vstore_first(p, v, lanes);
  }
}

}  // namespace SW_ISA
}  // namespace skipway
