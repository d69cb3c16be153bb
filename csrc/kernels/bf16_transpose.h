// Bringing bfloat16 matrices into the order that products of pairs take (kernels/bf16_micro.h).
#pragma once
#include "kernels/bf16_store.h"

namespace skipway::SW_ISA {

typedef uint16_t vpair32 __attribute__((vector_size(64)));
typedef uint64_t vlong8 __attribute__((vector_size(64)));

// The transpose of 16 x 16 words, in place: four rounds, each of which exchanges halves of growing blocks.
SW_INLINE void transpose_words(vword16 (&a)[16]) {
  vword16 b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      const vlong8 p = (vlong8)b[i + j], q = (vlong8)b[i + j + 2];
      a[i + 2 * j] = (vword16)__builtin_shufflevector(p, q, 0, 8, 2, 10, 4, 12, 6, 14);
      a[i + 2 * j + 1] = (vword16)__builtin_shufflevector(p, q, 1, 9, 3, 11, 5, 13, 7, 15);
    }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const auto even = [](vword16 x, vword16 y) {
      return (vword16)__builtin_shufflevector((vlong8)x, (vlong8)y, 0, 1, 4, 5, 8, 9, 12, 13);
    };
    const auto odd = [](vword16 x, vword16 y) {
      return (vword16)__builtin_shufflevector((vlong8)x, (vlong8)y, 2, 3, 6, 7, 10, 11, 14, 15);
    };
    const vword16 p = even(a[j], a[4 + j]), q = odd(a[j], a[4 + j]);
    const vword16 r = even(a[8 + j], a[12 + j]), s = odd(a[8 + j], a[12 + j]);
    b[j] = even(p, r), b[8 + j] = odd(p, r), b[4 + j] = even(q, s), b[12 + j] = odd(q, s);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = b[i];
}

// to[c][q] = from[q][c], c < channels, q < count (a multiple of 32). Reads up to 62 bytes past the last row.
SW_INLINE void transpose_pixels(const bfloat16* from, int64_t from_row, int64_t channels, int64_t count, bfloat16* to,
                                int64_t to_row) {
  // The lower and the upper halves of the words of x and then of y.
  const auto halves = [](vword16 x, vword16 y, bfloat16* low, bfloat16* high) {
    const vpair32 p = (vpair32)x, q = (vpair32)y;
    const vpair32 l = __builtin_shufflevector(p, q, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34,
                                              36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62);
    __builtin_memcpy(low, &l, 64);
    if (!high) return;
    const vpair32 h = __builtin_shufflevector(p, q, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35,
                                              37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63);
    __builtin_memcpy(high, &h, 64);
  };
  vword16 a[16], b[16];
  for (int64_t c = 0; c < channels; c += 32) {
    const int64_t left = smaller(channels - c, 32);
    for (int64_t q = 0; q < count; q += 32) {
      const bfloat16* at = from + q * from_row + c;
      bfloat16* out = to + c * to_row + q;
      if (left <= 16) {  // 16 channels of two pixels make a row
        for (int i = 0; i < 16; ++i) {
          __builtin_memcpy(&a[i], at + i * from_row, 32);
          __builtin_memcpy(reinterpret_cast<char*>(&a[i]) + 32, at + (i + 16) * from_row, 32);
        }
        transpose_words(a);
        for (int64_t i = 0; 2 * i < left; ++i)
          halves(a[i], a[8 + i], out + 2 * i * to_row, 2 * i + 1 < left ? out + (2 * i + 1) * to_row : nullptr);
        continue;
      }
      for (int i = 0; i < 16; ++i) a[i] = load_raw<vword16>(at + i * from_row);
      transpose_words(a);
      for (int i = 0; i < 16; ++i) b[i] = load_raw<vword16>(at + (i + 16) * from_row);
      transpose_words(b);
      for (int64_t i = 0; 2 * i < left; ++i)
        halves(a[i], b[i], out + 2 * i * to_row, 2 * i + 1 < left ? out + (2 * i + 1) * to_row : nullptr);
    }
  }
}

// to[2 * lane] = even[lane], to[2 * lane + 1] = odd[lane], lane < lanes, then zeros up to `width`. odd null: zeros.
SW_INLINE void interleave_rows(const bfloat16* even, const bfloat16* odd, int64_t lanes, int64_t width, bfloat16* to) {
  int64_t j = 0;
  const auto whole = [](const bfloat16* e, const bfloat16* o, bfloat16* out) {
    const vhalf16 p = load_raw<vhalf16>(e), q = o ? load_raw<vhalf16>(o) : vhalf16{};
    const vpair32 v = __builtin_shufflevector(p, q, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9,
                                              25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    __builtin_memcpy(out, &v, 64);
  };
  for (; j + kBf16Lanes <= lanes; j += kBf16Lanes) whole(even + j, odd ? odd + j : nullptr, to + 2 * j);
  for (; j < width; j += kBf16Lanes) {
    bfloat16 e[kBf16Lanes] = {}, o[kBf16Lanes] = {};
    const int64_t here = lanes - j;
    if (here > 0) {
      __builtin_memcpy(e, even + j, size_t(here) * sizeof(bfloat16));
      if (odd) __builtin_memcpy(o, odd + j, size_t(here) * sizeof(bfloat16));
    }
    whole(e, o, to + 2 * j);
  }
}

}  // namespace skipway::SW_ISA
