// Stores past the caches, for results that are larger than what caches keep until somebody reads them: a plain store
// first reads the line that it fills, which is a third of the traffic of y = f(x).
#pragma once
#include "kernels/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace skipway {
namespace SW_ISA {

inline constexpr int64_t kStreamBytes = int64_t(12) << 20;

// Whether a result of `bytes` at p, stored in whole vectors of `vector` bytes one after the other, goes past the
// caches.
SW_INLINE bool streams(const void* p, int64_t bytes, int64_t vector) {
#if defined(__x86_64__)
  return bytes >= kStreamBytes && uintptr_t(p) % uint64_t(vector) == 0;
#else
  (void)p, (void)bytes, (void)vector;
  return false;
#endif
}

#if defined(__x86_64__)
template <class V>
SW_INLINE void store_past(void* p, V v) {
  if constexpr (sizeof(V) == 64) {
#ifdef __AVX512F__
    _mm512_stream_si512(static_cast<__m512i*>(p), (__m512i)v);
#endif
  } else if constexpr (sizeof(V) == 32) {
#ifdef __AVX2__
    _mm256_stream_si256(static_cast<__m256i*>(p), (__m256i)v);
#endif
  } else if constexpr (sizeof(V) == 16) {
    _mm_stream_si128(static_cast<__m128i*>(p), (__m128i)v);
  } else {
    __builtin_memcpy(p, &v, sizeof v);
  }
}
SW_INLINE void vstore_past(float* p, vfloat v) { store_past(p, v); }
SW_INLINE void vstore_past(double* p, vdouble v) { store_past(p, v); }
SW_INLINE void vstore_past(bfloat16* p, vfloat v) { store_past(p, bfloat16_bits(v)); }
// At the end of a task that stored so: others see what was stored before they see that the task is done.
SW_INLINE void finish_stores(bool past) {
  if (past) _mm_sfence();
}
#else
template <class V>
SW_INLINE void store_past(void* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}
template <class T, class V>
SW_INLINE void vstore_past(T* p, V v) {
  vstore(p, v);
}
SW_INLINE void finish_stores(bool) {}
#endif

// One or the other.
template <class T>
SW_INLINE void vstore_either(T* p, typename Lanes<T>::vec v, bool past) {
  past ? vstore_past(p, v) : vstore(p, v);
}

}  // namespace SW_ISA
}  // namespace skipway
