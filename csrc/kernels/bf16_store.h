// Float32 sums to bfloat16, 16 at a time.
#pragma once
#include "kernels/bf16_micro.h"
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace skipway::SW_ISA {

typedef float vsum16 __attribute__((vector_size(64)));
typedef uint32_t vword16 __attribute__((vector_size(64)));
typedef uint16_t vhalf16 __attribute__((vector_size(32)));

SW_INLINE vsum16 load16(const float* p) { return load_raw<vsum16>(p); }
SW_INLINE vsum16 load16(const bfloat16* p) {
  return (vsum16)(__builtin_convertvector(load_raw<vhalf16>(p), vword16) << 16);
}
// The first `lanes` elements, and zeros.
SW_INLINE vsum16 load16_n(const float* p, int64_t lanes) {
#ifdef __AVX512F__
  return (vsum16)_mm512_maskz_loadu_ps(__mmask16((1u << lanes) - 1), p);
#else
  float buffer[kBf16Lanes] = {};
  __builtin_memcpy(buffer, p, size_t(lanes) * sizeof(float));
  return load16(buffer);
#endif
}
SW_INLINE vsum16 load16_n(const bfloat16* p, int64_t lanes) {
#ifdef __AVX512BW__
  const vhalf16 h = (vhalf16)_mm256_maskz_loadu_epi16(__mmask16((1u << lanes) - 1), p);
  return (vsum16)(__builtin_convertvector(h, vword16) << 16);
#else
  bfloat16 buffer[kBf16Lanes] = {};
  __builtin_memcpy(buffer, p, size_t(lanes) * sizeof(bfloat16));
  return load16(buffer);
#endif
}
// Rounds to nearest even; NaN stays NaN.
SW_INLINE vhalf16 narrowed(vsum16 v) {
#ifdef __AVX512BF16__
  return (vhalf16)_mm512_cvtneps_pbh((__m512)v);
#else
  const vword16 u = (vword16)v;
  const vword16 rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16, nan = (u >> 16) | 0x40;
  return __builtin_convertvector((vword16)(v == v) ? rounded : nan, vhalf16);
#endif
}
SW_INLINE void store16(float* p, vsum16 v) { __builtin_memcpy(p, &v, sizeof v); }
SW_INLINE void store16(bfloat16* p, vsum16 v) {
  const vhalf16 h = narrowed(v);
  __builtin_memcpy(p, &h, sizeof h);
}
template <class T>
SW_INLINE void store16_n(T* p, vsum16 v, int64_t lanes) {  // memory past them is left alone
  T buffer[kBf16Lanes];
  store16(buffer, v);
  __builtin_memcpy(p, buffer, size_t(lanes) * sizeof(T));
}

}  // namespace skipway::SW_ISA
