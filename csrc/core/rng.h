// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1,
// 2, 3", SC 2011). A block of four 32-bit words is a function of a key and a 128-bit counter:
//   key = seed,   counter = (block, offset),   offset = how many random ops the generator served before
// so an element's value depends on the seed, the op and the element's logical index, and on nothing else.
//
// Which words belong to element e: blocks come in groups of 16, and within a group the first word of all 16 blocks
// serves 16 neighbouring elements, then the second word, and so on. Vectors of any length up to 16 then need no
// transposition.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace skipway {

struct RngKey {
  uint64_t seed = 0, offset = 0;
  const uint64_t* base = nullptr;  // in a captured graph: where, on the device, seed and offset of a replay lie; the
                                   // offset here counts from that one (see core/cuda_graph.h)
};

// What a kernel does with its key first.
SW_INLINE RngKey resolved(RngKey key) {
  return key.base ? RngKey{key.base[0], key.base[1] + key.offset, nullptr} : key;
}

struct PhiloxBlock {
  uint32_t word[4];
};

inline constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;  // multipliers
inline constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;  // what a round adds to the key
inline constexpr int kPhiloxRounds = 10;
inline constexpr int kPhiloxGroup = 16;  // blocks

SW_INLINE PhiloxBlock philox4x32_10(RngKey key, uint64_t block) {
  uint32_t c0 = uint32_t(block), c1 = uint32_t(block >> 32);
  uint32_t c2 = uint32_t(key.offset), c3 = uint32_t(key.offset >> 32);
  uint32_t k0 = uint32_t(key.seed), k1 = uint32_t(key.seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = uint64_t(kPhiloxM0) * c0, p1 = uint64_t(kPhiloxM1) * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
    c1 = uint32_t(p1);
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c3 = uint32_t(p0);
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return {{c0, c1, c2, c3}};
}

// The 32 bits of element e; and the 64 bits, for ops whose elements take two words.
SW_INLINE uint32_t random_u32(RngKey key, uint64_t e) {
  return philox4x32_10(key, e / 64 * 16 + e % 16).word[e / 16 % 4];
}
SW_INLINE uint64_t random_u64(RngKey key, uint64_t e) {
  const PhiloxBlock b = philox4x32_10(key, e / 32 * 16 + e % 16);
  const int half = int(e / 16 % 2);
  return uint64_t(b.word[2 * half]) << 32 | b.word[2 * half + 1];
}

// [0, 1): 24 bits for float32, 53 for float64.
SW_INLINE float uniform_float(uint32_t bits) { return float(bits >> 8) * 0x1p-24f; }
SW_INLINE double uniform_double(uint64_t bits) { return double(bits >> 11) * 0x1p-53; }

// An event of probability p (to 2^-33) happens to an element when its 32 bits are below this: always for 1, never for
// 0.
SW_INLINE uint64_t bernoulli_threshold(double p) { return uint64_t(p * 0x1p32 + 0.5); }

// Uniform in [0, range) from 64 bits; range 0 stands for 2^64.
SW_INLINE uint64_t scale_to_range(uint64_t bits, uint64_t range) {
  return range == 0 ? bits : uint64_t((unsigned __int128)bits * range >> 64);
}

}  // namespace skipway
