#include "core/parallel.h"
#include "kernels/philox.h"
#include "kernels/stream.h"
#include "ops/dropout.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTask = 16384;         // elements
constexpr int64_t kTileBytes = 1 << 17;  // keep bytes of one channels-last tile

typedef int8_t vkeep __attribute__((vector_size(kVecBytes / 4)));  // as many bytes as a vfloat has lanes
typedef int8_t vkeep_double __attribute__((vector_size(kVecBytes / 8)));
SW_INLINE vint keep_mask(const int8_t* keep, vfloat) { return __builtin_convertvector(load_raw<vkeep>(keep), vint); }
SW_INLINE vlong keep_mask(const int8_t* keep, vdouble) {
  return __builtin_convertvector(load_raw<vkeep_double>(keep), vlong);
}

// bit i ? v[i] : other[i]
SW_INLINE vfloat select_bits(uint64_t bits, vfloat v, vfloat other) {
#ifdef __AVX512F__
  return (vfloat)_mm512_mask_blend_ps(__mmask16(bits), (__m512)other, (__m512)v);
#else
  vint lane;
  for (int i = 0; i < Lanes<float>::n; ++i) lane[i] = 1 << i;
  return (lane & (vint{} + int32_t(bits))) != 0 ? v : other;
#endif
}
SW_INLINE vdouble select_bits(uint64_t bits, vdouble v, vdouble other) {
#ifdef __AVX512F__
  return (vdouble)_mm512_mask_blend_pd(__mmask8(bits), (__m512d)other, (__m512d)v);
#else
  vlong lane;
  for (int i = 0; i < Lanes<double>::n; ++i) lane[i] = 1 << i;
  return (lane & (vlong{} + int64_t(bits))) != 0 ? v : other;
#endif
}

// Who draws: the rounds' keys are the same for all groups.
struct Draw {
  const DropoutArgs& a;
  PhiloxKeys keys;
  SW_INLINE explicit Draw(const DropoutArgs& args) : a(args), keys(args.key.seed) {}
  // Bit i: whether element i of a group of 64 is kept.
  SW_INLINE uint64_t bits(int64_t group) const {
    return philox_at_least(keys, a.key.offset, uint64_t(group), a.threshold);
  }
  // keep[i] = -1 for the elements that are kept, 0 for those dropped.
  SW_INLINE void group(int64_t group, int8_t* keep) const {
    const uint64_t kept = bits(group);
    for (int byte = 0; byte < 8; ++byte) {
      // each of the 8 bits into a byte of its own, then 1 -> 255
      const uint64_t b = kept >> (8 * byte) & 0xff;
      const uint64_t spread = ((b * 0x0101010101010101ull & 0x8040201008040201ull) + 0x7f7f7f7f7f7f7f7full) >> 7;
      const uint64_t full = (spread & 0x0101010101010101ull) * 0xff;
      __builtin_memcpy(keep + 8 * byte, &full, 8);
    }
  }
};

// The keep bytes of elements [begin, begin + count).
SW_INLINE void keep_range(const Draw& draw, int64_t begin, int64_t count, int8_t* keep) {
  int64_t done = 0;
  while (done < count) {
    const int64_t e = begin + done, skip = e % 64;
    const int64_t take = 64 - skip < count - done ? 64 - skip : count - done;
    if (take == 64) {
      draw.group(e / 64, keep + done);
    } else {
      int8_t bytes[64];
      draw.group(e / 64, bytes);
      __builtin_memcpy(keep + done, bytes + skip, size_t(take));
    }
    done += take;
  }
}

// Eight keep bytes as bits.
SW_INLINE uint8_t pack8(const int8_t* keep) {
  uint64_t bytes;
  __builtin_memcpy(&bytes, keep, 8);
  return uint8_t((bytes & 0x0101010101010101ull) * 0x0102040810204080ull >> 56);
}

// y[i] = keep[i] ? x[i] * scale + shift : dropped
template <class T>
__attribute__((noinline)) void apply(const DropoutArgs& a, const T* x, T* y, const int8_t* keep, int64_t count) {
  using L = Lanes<T>;
  using S = typename L::scalar;
  const S scale = S(a.scale), shift = S(a.shift), dropped = S(a.dropped);
  int64_t i = 0;
  for (; i + L::n <= count; i += L::n) {
    auto v = vload(x + i) * scale;
    if (shift != 0) v = v + shift;
    vstore(y + i, select(keep_mask(keep + i, v), v, vset<T>(dropped)));
  }
  for (; i < count; ++i) {
    S v = S(x[i]) * scale;
    if (shift != 0) v = v + shift;
    y[i] = T(keep[i] ? v : dropped);
  }
}

// The same for 64 elements whose keep flags are bits.
template <class T, bool kShift>
SW_INLINE void apply_bits(const DropoutArgs& a, const T* x, T* y, uint64_t bits, bool past) {
  using L = Lanes<T>;
  using S = typename L::scalar;
  const S scale = S(a.scale), shift = S(a.shift), dropped = S(a.dropped);
#pragma GCC unroll 4
  for (int i = 0; i < 64; i += L::n) {
    auto v = vload(x + i) * scale;
    if constexpr (kShift) v = v + shift;
    vstore_either(y + i, select_bits(bits >> i, v, vset<T>(dropped)), past);
  }
}

// Memory order is the order of drawing, or the bits were kept by an earlier call.
template <class T, bool kShift>
void each_element(const DropoutArgs& a, const T* x, T* y) {
  const int64_t n = a.images * a.channels * a.spatial;
  const Draw draw(a);
  const bool past = x != y && streams(y, n * int64_t(sizeof(T)), Lanes<T>::n * int64_t(sizeof(T)));
  parallel_for(n, kTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += 64) {
      uint64_t bits;
      if (a.read_mask) {
        __builtin_memcpy(&bits, a.mask + i / 8, 8);
      } else {
        bits = draw.bits(i / 64);
        if (a.mask) __builtin_memcpy(a.mask + i / 8, &bits, 8);
      }
      const int64_t count = end - i;
      if (count >= 64) {
        apply_bits<T, kShift>(a, x + i, y + i, bits, past);
      } else {
        T room[64] = {};
        __builtin_memcpy(room, x + i, size_t(count) * sizeof(T));
        apply_bits<T, kShift>(a, room, room, bits, false);
        __builtin_memcpy(y + i, room, size_t(count) * sizeof(T));
      }
    }
    finish_stores(past);
  });
}

template <class T>
void each_channel(const DropoutArgs& a, const T* x, T* y) {
  const int64_t rows = a.images * a.channels, n = a.spatial;
  parallel_for(rows, n < kTask ? kTask / (n + 1) + 1 : 1, [&](int64_t begin, int64_t end) {
    int8_t keep[256];
    for (int64_t row = begin; row < end; ++row) {
      __builtin_memset(keep, random_u32(a.key, uint64_t(row)) >= a.threshold ? -1 : 0, sizeof keep);
      for (int64_t i = 0; i < n; i += 256) {
        apply(a, x + row * n + i, y + row * n + i, keep, n - i < 256 ? n - i : 256);
      }
    }
  });
}

template <class T>
void each_channel_last(const DropoutArgs& a, const T* x, T* y) {
  const int64_t c = a.channels, image = a.spatial * c;
  const int64_t tile = kTask / c + 1, tiles = (a.spatial + tile - 1) / tile;
  const Draw draw(a);
  parallel_tasks(a.images * tiles, [&](int64_t task) {
    const int64_t n = task / tiles, first = task % tiles * tile;
    const int64_t last = first + tile < a.spatial ? first + tile : a.spatial;
    int8_t* keep = static_cast<int8_t*>(thread_scratch(0, size_t(c)));
    keep_range(draw, n * c, c, keep);
    for (int64_t s = first; s < last; ++s) apply(a, x + n * image + s * c, y + n * image + s * c, keep, c);
  });
}

// An 8 x 8 block of bytes, transposed: rows `stride` apart in, `out_stride` apart out.
__attribute__((noinline)) void transpose_8x8(const int8_t* in, int64_t stride, int8_t* out, int64_t out_stride) {
  uint64_t r[8];
  for (int i = 0; i < 8; ++i) __builtin_memcpy(&r[i], in + i * stride, 8);
  const uint64_t masks[3] = {0x00000000ffffffffull, 0x0000ffff0000ffffull, 0x00ff00ff00ff00ffull};
  for (int k = 0; k < 3; ++k) {
    const int half = 4 >> k;
    for (int i = 0; i < 8; ++i) {
      if (i & half) continue;
      const uint64_t a = r[i], b = r[i + half], m = masks[k];
      r[i] = (a & m) | ((b & m) << (8 * half));
      r[i + half] = ((a >> (8 * half)) & m) | (b & ~m);
    }
  }
  for (int i = 0; i < 8; ++i) __builtin_memcpy(out + i * out_stride, &r[i], 8);
}

// Bytes are drawn in logical order, channel by channel, for a tile of positions, and transposed to memory order.
template <class T>
void each_element_last(const DropoutArgs& a, const T* x, T* y) {
  const int64_t c = a.channels, image = a.spatial * c, padded = (c + 7) / 8 * 8;
  int64_t tile = kTileBytes / c / 64 * 64;
  if (tile < 64) tile = 64;
  if (tile > a.spatial) tile = a.spatial;
  const int64_t tiles = (a.spatial + tile - 1) / tile;
  const Draw draw(a);
  parallel_tasks(a.images * tiles, [&](int64_t task) {
    const int64_t n = task / tiles, first = task % tiles * tile;
    const int64_t count = a.spatial - first < tile ? a.spatial - first : tile;
    int8_t* keep = static_cast<int8_t*>(thread_scratch(0, size_t(padded * tile + 8)));
    int8_t* rows = static_cast<int8_t*>(thread_scratch(1, size_t(padded * 8)));
    if (count == a.spatial) {
      keep_range(draw, n * image, image, keep);
    } else {
      for (int64_t k = 0; k < c; ++k) keep_range(draw, n * image + k * a.spatial + first, count, keep + k * count);
    }
    for (int64_t s = 0; s < count; s += 8) {
      for (int64_t k = 0; k < c; k += 8) transpose_8x8(keep + k * count + s, count, rows + k, padded);
      for (int64_t i = 0; i < 8 && s + i < count; ++i) {
        const int64_t at = n * image + (first + s + i) * c;
        apply(a, x + at, y + at, rows + i * padded, c);
        if (!a.mask) continue;  // kept only where c is a multiple of 8
        for (int64_t k = 0; k < c; k += 8) a.mask[(at + k) / 8] = pack8(rows + i * padded + k);
      }
    }
  });
}

}  // namespace

void dropout_kernel(const DropoutArgs& a) {
  if (a.images * a.channels * a.spatial == 0) return;
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    if (a.per_channel) {
      a.channels_last ? each_channel_last(a, x, y) : each_channel(a, x, y);
    } else {
      if (a.channels_last && !a.read_mask) {
        each_element_last(a, x, y);
      } else {
        a.shift != 0 ? each_element<T, true>(a, x, y) : each_element<T, false>(a, x, y);
      }
    }
  });
}

}  // namespace SW_ISA
}  // namespace skipway
