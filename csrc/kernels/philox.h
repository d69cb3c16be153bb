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

// The keys of the ten rounds.
struct PhiloxKeys {
  uint64_t k0[kPhiloxRounds], k1[kPhiloxRounds];
  SW_INLINE explicit PhiloxKeys(uint64_t seed) {
    for (int round = 0; round < kPhiloxRounds; ++round) {
      k0[round] = uint32_t(uint32_t(seed) + uint32_t(round) * kPhiloxW0);
      k1[round] = uint32_t(uint32_t(seed >> 32) + uint32_t(round) * kPhiloxW1);
    }
  }
};

inline constexpr int kPhiloxLanes = kVecBytes / 8;  // blocks in one vector
inline constexpr int kPhiloxChains = 2;             // vectors at once, which hide the latency of a multiplication

// c[w][v]: word w of kPhiloxLanes blocks from block 16 * group + j + v * kPhiloxLanes on. `stream` picks one of 256
// disjoint sets of blocks. Each 64-bit lane holds one 32-bit word; its upper half is garbage, which the multiplication
// ignores.
SW_INLINE void philox_vectors(const PhiloxKeys& keys, uint64_t offset, uint64_t group, int j, uint32_t stream,
                              vulong (&c)[4][kPhiloxChains]) {
  const uint64_t first = group * kPhiloxGroup;
  const vulong m0 = vulong{} + kPhiloxM0, m1 = vulong{} + kPhiloxM1;
  vulong lane;
  for (int i = 0; i < kPhiloxLanes; ++i) lane[i] = uint64_t(i);
  for (int v = 0; v < kPhiloxChains; ++v) {
    c[0][v] = lane + uint64_t(uint32_t(first) + uint32_t(j + v * kPhiloxLanes));
    c[1][v] = vulong{} + uint64_t(uint32_t(first >> 32) | stream << 24);
    c[2][v] = vulong{} + uint64_t(uint32_t(offset));
    c[3][v] = vulong{} + uint64_t(uint32_t(offset >> 32));
  }
#pragma GCC unroll 10
  for (int round = 0; round < kPhiloxRounds; ++round) {
#pragma GCC unroll 2
    for (int v = 0; v < kPhiloxChains; ++v) {
      const vulong p0 = mul_low_halves(m0, c[0][v]), p1 = mul_low_halves(m1, c[2][v]);
      c[0][v] = (p1 >> 32) ^ c[1][v] ^ (vulong{} + keys.k0[round]);
      c[1][v] = p1;
      c[2][v] = (p0 >> 32) ^ c[3][v] ^ (vulong{} + keys.k1[round]);
      c[3][v] = p0;
    }
  }
}

// words[16 * w + j] = word w of block 16 * group + j.
[[maybe_unused]] static __attribute__((noinline)) void philox_group(const PhiloxKeys& keys, uint64_t offset,
                                                                    uint64_t group, uint32_t* words,
                                                                    uint32_t stream = 0) {
  for (int j = 0; j < kPhiloxGroup; j += kPhiloxChains * kPhiloxLanes) {
    vulong c[4][kPhiloxChains];
    philox_vectors(keys, offset, group, j, stream, c);
    for (int w = 0; w < 4; ++w) {
      for (int v = 0; v < kPhiloxChains; ++v) {
        const vuint_half low = __builtin_convertvector(c[w][v], vuint_half);
        __builtin_memcpy(words + 16 * w + j + v * kPhiloxLanes, &low, sizeof low);
      }
    }
  }
}
SW_INLINE void philox_group(RngKey key, uint64_t group, uint32_t* words, uint32_t stream = 0) {
  philox_group(PhiloxKeys(key.seed), key.offset, group, words, stream);
}

// Bit 16 * w + j: whether word w of block 16 * group + j is at least `threshold` (up to 2^32).
[[maybe_unused]] static __attribute__((noinline)) uint64_t philox_at_least(const PhiloxKeys& keys, uint64_t offset,
                                                                           uint64_t group, uint64_t threshold) {
  if (threshold > 0xffffffffull) return 0;
  uint64_t bits = 0;
#ifdef __AVX512F__
  vulong c[4][kPhiloxChains];
  philox_vectors(keys, offset, group, 0, 0, c);
  const __m512i least = _mm512_set1_epi64(int64_t(threshold << 32));
  for (int w = 0; w < 4; ++w) {
    for (int v = 0; v < kPhiloxChains; ++v) {
      bits |= uint64_t(_mm512_cmpge_epu64_mask((__m512i)(c[w][v] << 32), least)) << (16 * w + 8 * v);
    }
  }
#else
  uint32_t words[64];
  philox_group(keys, offset, group, words);
  for (int i = 0; i < 64; i += kVecBytes / 4) {
    const vint kept = (vint)(load_raw<vuint>(words + i) >= uint32_t(threshold));
#if defined(__AVX2__)
    bits |= uint64_t(uint32_t(_mm256_movemask_ps((__m256)kept))) << i;
#elif defined(__SSE2__)
    bits |= uint64_t(uint32_t(_mm_movemask_ps((__m128)kept))) << i;
#else
    for (int k = 0; k < kVecBytes / 4; ++k) bits |= uint64_t(kept[k] & 1) << (i + k);
#endif
  }
#endif
  return bits;
}

}  // namespace SW_ISA
}  // namespace skipway
