// Philox by vectors: see core/rng.h for the generator and for which words belong to which element.
#pragma once
#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "core/rng.h"
#include "kernels/simd.h"

namespace skipway {
namespace SW_ISA {

typedef uint64_t vulong __attribute__((vector_size(kVecBytes)));
typedef uint32_t vuint_half __attribute__((vector_size(kVecBytes / 2)));

// Products of the lower halves of 64-bit lanes.
SW_INLINE vulong mul_low_halves(vulong a, vulong b) {
#if defined(__AVX512F__)
  return (vulong)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (vulong)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (vulong)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xffffffffull) * (b & 0xffffffffull);
#endif
}

// words[16 * w + j] = word w of block 16 * group + j. `stream` picks one of 256 disjoint sets of blocks.
// Each 64-bit lane holds one 32-bit word; its upper half is garbage between rounds, which the multiplication ignores.
[[maybe_unused]] static __attribute__((noinline)) void philox_group(RngKey key, uint64_t group, uint32_t* words,
                                                                    uint32_t stream = 0) {
  constexpr int n = kVecBytes / 8;
  const uint64_t first = group * kPhiloxGroup;
  const vulong m0 = vulong{} + kPhiloxM0, m1 = vulong{} + kPhiloxM1;
  for (int j = 0; j < kPhiloxGroup; j += n) {
    vulong c0 = vulong{} + uint64_t(uint32_t(first) + uint32_t(j));
    for (int i = 0; i < n; ++i) c0[i] += uint64_t(i);
    vulong c1 = vulong{} + uint64_t(uint32_t(first >> 32) | stream << 24);
    vulong c2 = vulong{} + uint64_t(uint32_t(key.offset)), c3 = vulong{} + uint64_t(uint32_t(key.offset >> 32));
    uint32_t k0 = uint32_t(key.seed), k1 = uint32_t(key.seed >> 32);
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const vulong p0 = mul_low_halves(m0, c0), p1 = mul_low_halves(m1, c2);
      c0 = (p1 >> 32) ^ c1 ^ (vulong{} + uint64_t(k0));
      c1 = p1;
      c2 = (p0 >> 32) ^ c3 ^ (vulong{} + uint64_t(k1));
      c3 = p0;
      k0 += kPhiloxW0;
      k1 += kPhiloxW1;
    }
    const vulong c[4] = {c0, c1, c2, c3};
    for (int w = 0; w < 4; ++w) {
      const vuint_half low = __builtin_convertvector(c[w], vuint_half);
      __builtin_memcpy(words + 16 * w + j, &low, sizeof low);
    }
  }
}

}  // namespace SW_ISA
}  // namespace skipway
