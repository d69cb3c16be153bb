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

// to[row][lane] = (add ? to[row][lane] : 0) + c[row][lane] + bias[lane], lane < lanes; c's rows and bias hold whole
// vectors.
template <class T>
SW_INLINE void store_rows(const float* c, int64_t c_row, int64_t rows, int64_t lanes, const float* bias, T* to,
                          int64_t to_row, bool add) {
  for (int64_t j = 0; j < lanes; j += kBf16Lanes) {
    const int64_t here = smaller(kBf16Lanes, lanes - j);
    const vsum16 start = bias ? load16(bias + j) : vsum16{};
    for (int64_t i = 0; i < rows; ++i) {
      vsum16 v = load16(c + i * c_row + j) + start;
      T* at = to + i * to_row + j;
      if (here == kBf16Lanes) {
        if (add) v += load16(at);
        store16(at, v);
      } else {
        if (add) v += load16_n(at, here);
        store16_n(at, v, here);
      }
    }
  }
}

}  // namespace skipway::SW_ISA
