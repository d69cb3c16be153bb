// Compiled with -ffp-contract=off: see kernels/exact_math.h.
#include "core/parallel.h"
#include "kernels/exact_math.h"
#include "ops/random.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kGroupsPerTask = 256;

// Elements come in groups that take 16 Philox blocks each: f(group, first element, elements) for all groups.
template <class F>
SW_INLINE void for_groups(int64_t n, int64_t per_group, const F& f) {
  parallel_for((n + per_group - 1) / per_group, kGroupsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      const int64_t first = group * per_group;
      f(group, first, n - first < per_group ? n - first : per_group);
    }
  });
}

// Values of one group are made in buffers of the type that computes, then rounded and stored.
template <class T, class S>
SW_INLINE void store_group(T* out, const S* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = T(values[i]);
}

// ---- the bits of a group as vectors: 64 words for float32, 32 pairs of words for float64 ----------------------------
SW_INLINE vint bits_at(const uint32_t* words, int i, float) { return load_raw<vint>(words + i); }
SW_INLINE vulong bits_at(const uint32_t* words, int i, double) {  // i counts pairs: words 2h and 2h + 1 of a block
  const uint32_t* high = words + i / 16 * 32 + i % 16;
  return __builtin_convertvector(load_raw<vuint_half>(high), vulong) << 32 |
         __builtin_convertvector(load_raw<vuint_half>(high + 16), vulong);
}

// [0, 1)
SW_INLINE vfloat closed_open(vint bits) { return to_floating((vint)((vuint)bits >> 8)) * 0x1p-24f; }
SW_INLINE vdouble closed_open(vulong bits) { return to_double(bits >> 11) * 0x1p-53; }
// (0, 1], with small values kept: the tail of a normal reaches 6.7 (float32) and 8.6 (float64) deviations
SW_INLINE vfloat open_closed(vint bits) { return to_floating((vint)((vuint)bits >> 1)) * 0x1p-31f + 0x1p-33f; }
SW_INLINE vdouble open_closed(vulong bits) { return to_double(bits >> 11) * 0x1p-53 + 0x1p-54; }

// sin and cos of 2 pi bits / 2^w: the nearest multiple of a quarter turn, and an angle of at most pi/4 beyond it.
SW_INLINE void turn(vint bits, vfloat& sin, vfloat& cos) {
  const vuint quarter = ((vuint)bits + 0x20000000u) >> 30;
  const vfloat t = to_floating((vint)((vuint)bits - (quarter << 30))) * 0x1.921fb6p-30f;
  vfloat s, c;
  exact_sincos(t, s, c);
  const vint odd = (vint)((quarter & 1) != 0);
  const vint negative_sin = (vint)((quarter & 2) << 30), negative_cos = (vint)(((quarter + 1) & 2) << 30);
  sin = (vfloat)((vint)select(odd, c, s) ^ negative_sin);
  cos = (vfloat)((vint)select(odd, s, c) ^ negative_cos);
}
SW_INLINE void turn(vulong bits, vdouble& sin, vdouble& cos) {
  const vulong b = bits >> 11;  // 53 bits
  const vulong quarter = ((b + (1ull << 50)) >> 51) & 3;
  const vlong rest = (vlong)(b << 13) >> 13;  // b modulo a quarter turn of 2^51, in [-2^50, 2^50)
  const vdouble t = to_floating(rest) * 0x1.921fb54442d18p-51;
  vdouble s, c;
  exact_sincos(t, s, c);
  const vlong odd = (vlong)((quarter & 1) != 0);
  const vlong negative_sin = (vlong)((quarter & 2) << 62), negative_cos = (vlong)(((quarter + 1) & 2) << 62);
  sin = (vdouble)((vlong)select(odd, c, s) ^ negative_sin);
  cos = (vdouble)((vlong)select(odd, s, c) ^ negative_cos);
}

template <class S>
SW_INLINE void uniform_group(const uint32_t* words, S* out, S from, S range, S ceiling) {
  using L = Lanes<S>;
  constexpr int per_group = 256 / sizeof(S);
  for (int i = 0; i < per_group; i += L::n) {
    const auto v = closed_open(bits_at(words, i, S())) * range + from;
    vstore(out + i, select(v > ceiling, vset<S>(ceiling), v));
  }
}
// Elements come in pairs 16 apart: cos and sin of one angle.
template <class S>
SW_INLINE void normal_group(const uint32_t* words, S* out, S mean, S std) {
  using L = Lanes<S>;
  constexpr int per_group = 256 / sizeof(S);
  for (int half = 0; half < per_group; half += 32) {
    for (int i = half; i < half + 16; i += L::n) {
      typename L::vec sin, cos;
      const auto r = vsqrt(exact_log(open_closed(bits_at(words, i, S()))) * S(-2));
      turn(bits_at(words, i + 16, S()), sin, cos);
      vstore(out + i, r * cos * std + mean);
      vstore(out + i + 16, r * sin * std + mean);
    }
  }
}
template <class S>
SW_INLINE void exponential_group(const uint32_t* words, S* out, S rate) {
  using L = Lanes<S>;
  constexpr int per_group = 256 / sizeof(S);
  for (int i = 0; i < per_group; i += L::n) {
    const auto v = exact_log(open_closed(bits_at(words, i, S()))) / -rate;
    vstore(out + i, select(v > S(0), v, vset<S>(0)));
  }
}

// ---- truncated normal -----------------------------------------------------------------------------------------------
// The three proposals of TruncationWindow.
SW_INLINE vlong propose(const TruncationWindow& w, const uint32_t* words, int i, vdouble& z) {
  const vulong bits1 = bits_at(words, i, 0.), bits2 = bits_at(words, i + 16, 0.);
  if (w.proposal == Proposal::Normal) {
    vdouble sin, cos;
    turn(bits2, sin, cos);
    z = vsqrt(exact_log(open_closed(bits1)) * -2.) * cos;
    return (vlong)(z >= w.a) & (vlong)(z <= w.b);
  }
  const vdouble limit = exact_log(open_closed(bits2)) * 2.;
  if (w.proposal == Proposal::Uniform) {
    z = closed_open(bits1) * (w.b - w.a) + w.a;
    return (vlong)(limit <= (w.nearest - z) * (w.nearest + z));
  }
  z = exact_log(open_closed(bits1)) / -w.k + w.a;
  return (vlong)(limit <= -(z - w.k) * (z - w.k)) & (vlong)(z <= w.b);
}

SW_INLINE void trunc_normal_group(const TruncationWindow& w, RngKey key, int64_t group, double* z) {
  constexpr int n = Lanes<double>::n;
  int64_t accepted[16] = {};
  for (int i = 0; i < 16; ++i) z[i] = w.nearest;
  bool done = false;
  for (uint32_t stream = 0; stream < 256 && !done; ++stream) {
    uint32_t words[64];
    philox_group(key, uint64_t(group), words, stream);
    done = true;
    for (int i = 0; i < 16; i += n) {
      vdouble draw;
      const vlong accept = propose(w, words, i, draw), before = load_raw<vlong>(accepted + i);
      vstore(z + i, select(accept & ~before, draw, vload(z + i)));
      const vlong now = accept | before;
      __builtin_memcpy(accepted + i, &now, sizeof now);
      for (int lane = 0; lane < n; ++lane) done = done && now[lane] != 0;
    }
  }
}

}  // namespace

void random_fill(const RandomFillArgs& args) {
  dispatch_float(args.dtype, [&]<class T>(Type<T>) {
    using S = accumulate_type<T>;
    constexpr int64_t per_group = 256 / sizeof(S);
    T* out = static_cast<T*>(args.out);
    for_groups(args.n, per_group, [&](int64_t group, int64_t first, int64_t count) {
      uint32_t words[64];
      S values[per_group];
      philox_group(args.key, uint64_t(group), words);
      switch (args.distribution) {
        case Distribution::Uniform:
          uniform_group(words, values, S(args.a), S(args.b), S(args.ceiling));
          break;
        case Distribution::Normal:
          normal_group(words, values, S(args.a), S(args.b));
          break;
        case Distribution::Exponential:
          exponential_group(words, values, S(args.a));
          break;
      }
      store_group(out + first, values, count);
    });
  });
}

void trunc_normal_fill(const TruncNormalArgs& args) {
  dispatch_float(args.dtype, [&]<class T>(Type<T>) {
    T* out = static_cast<T*>(args.out);
    for_groups(args.n, 16, [&](int64_t group, int64_t first, int64_t count) {
      double z[16];
      trunc_normal_group(args.window, args.key, group, z);
      for (int64_t i = 0; i < count; ++i) {
        const double v = z[i] * args.window.sign * args.std + args.mean;
        out[first + i] = T(accumulate_type<T>(v < args.low ? args.low : v > args.high ? args.high : v));
      }
    });
  });
}

void random_integers(const RandomIntegerArgs& args) {
  dispatch_all(args.dtype, [&]<class T>(Type<T>) {
    T* out = static_cast<T*>(args.out);
    for_groups(args.n, 32, [&](int64_t group, int64_t first, int64_t count) {
      uint32_t words[64];
      philox_group(args.key, uint64_t(group), words);
      for (int64_t i = 0; i < count; ++i) {
        const uint32_t* high = words + i / 16 * 32 + i % 16;
        const uint64_t draw = scale_to_range(uint64_t(high[0]) << 32 | high[16], args.range);
        out[first + i] = T(int64_t(uint64_t(args.low) + draw));
      }
    });
  });
}

void bernoulli_fill(const BernoulliArgs& args) {
  const uint64_t threshold = bernoulli_threshold(args.p);
  dispatch_all(args.dtype, [&]<class T>(Type<T>) {
    T* out = static_cast<T*>(args.out);
    for_groups(args.n, 64, [&](int64_t group, int64_t first, int64_t count) {
      uint32_t words[64];
      philox_group(args.key, uint64_t(group), words);
      for (int64_t i = 0; i < count; ++i) {
        const uint64_t limit = args.probabilities ? bernoulli_threshold(args.probabilities[first + i]) : threshold;
        out[first + i] = T(words[i] < limit);
      }
    });
  });
}

}  // namespace SW_ISA
}  // namespace skipway
