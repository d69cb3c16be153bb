// The bits of the CPU kernels (random_cpu.cpp): the same Philox words, and the same operations that IEEE 754 rounds
// exactly, in the same order (Exact never contracts to a fused multiply-add). Bound by the bytes written for uniform
// float32 and by arithmetic for the rest, mostly of float64.
#include "kernels/cuda/walk.cuh"
#include "kernels/exact_series.h"
#include "ops/random.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256, kBlocks = 3;  // of a multiprocessor: at most 80 registers

// ---- arithmetic without contraction
// -----------------------------------------------------------------------------------
__device__ __forceinline__ float mul(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ double mul(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double add(double a, double b) { return __dadd_rn(a, b); }

template <class T>
struct Exact {
  T v;
  __device__ __forceinline__ Exact(T value) : v(value) {}
  __device__ __forceinline__ friend Exact operator*(Exact a, Exact b) { return mul(a.v, b.v); }
  __device__ __forceinline__ friend Exact operator+(Exact a, Exact b) { return add(a.v, b.v); }
  __device__ __forceinline__ friend Exact operator-(Exact a, Exact b) { return add(a.v, -b.v); }
  __device__ __forceinline__ friend Exact operator/(Exact a, Exact b) { return a.v / b.v; }
  __device__ __forceinline__ friend Exact operator-(Exact a) { return -a.v; }
};
using Float = Exact<float>;
using Double = Exact<double>;

// c[0] + c[1] z + c[2] z^2 + ...
template <class T, int n>
__device__ __forceinline__ Exact<T> polynomial(Exact<T> z, const T (&c)[n]) {
  Exact<T> y = c[n - 1];
#pragma unroll
  for (int i = n - 2; i >= 0; --i) y = y * z + Exact<T>(c[i]);
  return y;
}

template <class To, class From>
__device__ __forceinline__ To bits_of(From x) {
  To y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}

// The functions of kernels/exact_math.h.
__device__ __forceinline__ Float exact_log(Float x) {
  constexpr ExactSeries<float> series;
  const int32_t bits = bits_of<int32_t>(x.v), e = (bits - 0x3f3504f3) >> 23;
  const Float m = bits_of<float>(bits - (e << 23)), s = (m - 1.f) / (m + 1.f), k = float(e);
  return k * 0x1.62e4p-1f + (s * polynomial(s * s, series.log) * 2.f + k * 0x1.7f7d1cp-20f);
}
__device__ __forceinline__ Double exact_log(Double x) {
  constexpr ExactSeries<double> series;
  const int64_t bits = bits_of<int64_t>(x.v), e = (bits - 0x3fe6a09e667f3bcdll) >> 52;
  const Double m = bits_of<double>(bits - e * (int64_t(1) << 52)), s = (m - 1.) / (m + 1.), k = double(e);
  return k * 0x1.62e42fefa38p-1 + (s * polynomial(s * s, series.log) * 2. + k * 0x1.ef35793c7673p-45);
}
__device__ __forceinline__ void exact_sincos(Float t, Float& sin, Float& cos) {
  constexpr ExactSeries<float> series;
  const Float z = t * t;
  sin = t * polynomial(z, series.sin);
  cos = polynomial(z, series.cos);
}
__device__ __forceinline__ void exact_sincos(Double t, Double& sin, Double& cos) {
  constexpr ExactSeries<double> series;
  const Double z = t * t;
  sin = t * polynomial(z, series.sin);
  cos = polynomial(z, series.cos);
}

// ---- from bits to numbers
// ---------------------------------------------------------------------------------------------
// [0, 1)
__device__ __forceinline__ Float closed_open(uint32_t bits) { return uniform_float(bits); }
__device__ __forceinline__ Double closed_open(uint64_t bits) { return uniform_double(bits); }
// (0, 1], with small values kept
__device__ __forceinline__ Float open_closed(uint32_t bits) {
  return Float(float(int32_t(bits >> 1))) * 0x1p-31f + 0x1p-33f;
}
__device__ __forceinline__ Double open_closed(uint64_t bits) { return closed_open(bits) + 0x1p-54; }

// sin and cos of 2 pi bits / 2^w: the nearest multiple of a quarter turn, and an angle of at most pi/4 beyond it.
template <class X>
__device__ __forceinline__ void rotate(uint32_t quarter, X s, X c, X& sin, X& cos) {
  sin = quarter & 1 ? c : s;
  cos = quarter & 1 ? s : c;
  if (quarter & 2) sin = -sin;
  if ((quarter + 1) & 2) cos = -cos;
}
__device__ __forceinline__ void turn(uint32_t bits, Float& sin, Float& cos) {
  const uint32_t quarter = (bits + 0x20000000u) >> 30;
  Float s = 0.f, c = 0.f;
  exact_sincos(Float(float(int32_t(bits - (quarter << 30)))) * 0x1.921fb6p-30f, s, c);
  rotate(quarter, s, c, sin, cos);
}
__device__ __forceinline__ void turn(uint64_t bits, Double& sin, Double& cos) {
  const uint64_t b = bits >> 11;  // 53 bits
  const uint32_t quarter = uint32_t((b + (1ull << 50)) >> 51) & 3;
  const int64_t rest = int64_t(b << 13) >> 13;  // b modulo a quarter turn of 2^51, in [-2^50, 2^50)
  Double s = 0., c = 0.;
  exact_sincos(Double(double(rest)) * 0x1.921fb54442d18p-51, s, c);
  rotate(quarter, s, c, sin, cos);
}

__device__ __forceinline__ float exact_sqrt(Float x) { return __fsqrt_rn(x.v); }
__device__ __forceinline__ double exact_sqrt(Double x) { return ::sqrt(x.v); }

// ---- fills
// ------------------------------------------------------------------------------------------------------------
template <class S>
struct Fill {
  Distribution distribution;
  S a, b, ceiling;
};

// The values of one block: of 4 elements for float, of 2 for double, 16 apart.
template <class S, class Bits, int W>
__device__ __forceinline__ void block_values(const Fill<S>& f, const Bits (&bits)[W], S (&v)[W]) {
  using X = Exact<S>;
  switch (f.distribution) {
    case Distribution::Uniform:
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const S u = (closed_open(bits[w]) * f.b + X(f.a)).v;
        v[w] = u > f.ceiling ? f.ceiling : u;
      }
      break;
    case Distribution::Normal:
#pragma unroll
      for (int w = 0; w < W; w += 2) {  // cos and sin of one angle
        X sin = S(0), cos = S(0);
        const X r = exact_sqrt(exact_log(open_closed(bits[w])) * S(-2));
        turn(bits[w + 1], sin, cos);
        v[w] = (r * cos * f.b + X(f.a)).v;
        v[w + 1] = (r * sin * f.b + X(f.a)).v;
      }
      break;
    case Distribution::Exponential:
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const S e = (exact_log(open_closed(bits[w])) / X(-f.a)).v;
        v[w] = e > 0 ? e : S(0);
      }
  }
}
__device__ __forceinline__ void words_of(const PhiloxBlock& block, uint32_t (&bits)[4]) {
#pragma unroll
  for (int w = 0; w < 4; ++w) bits[w] = block.word[w];
}
__device__ __forceinline__ void words_of(const PhiloxBlock& block, uint64_t (&bits)[2]) {
  bits[0] = uint64_t(block.word[0]) << 32 | block.word[1];
  bits[1] = uint64_t(block.word[2]) << 32 | block.word[3];
}

// A thread makes N blocks of a group of 16, so it has W packs of N neighbours.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks) fill_packs(int64_t n, RngKey key, Fill<math_type<T>> f, T* out) {
  using S = math_type<T>;
  using Bits = std::conditional_t<sizeof(S) == 8, uint64_t, uint32_t>;
  constexpr int W = 16 / int(sizeof(S)), kParts = kPhiloxGroup / N, kGroup = 16 * W;
  key = resolved(key);
  const int64_t tasks = (n + kGroup - 1) / kGroup * kParts, stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t task = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; task < tasks; task += stride) {
    const int64_t group = task / kParts, part = task % kParts * N;
    Pack<T, N> packs[W];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      Bits bits[W];
      S v[W];
      words_of(philox4x32_10(key, uint64_t(group * kPhiloxGroup + part + k)), bits);
      block_values(f, bits, v);
#pragma unroll
      for (int w = 0; w < W; ++w) packs[w].v[k] = T(v[w]);
    }
#pragma unroll
    for (int w = 0; w < W; ++w) {
      const int64_t at = group * kGroup + w * 16 + part;
      if (at + N <= n) {
        store_pack(out + at, packs[w]);
      } else {
#pragma unroll
        for (int k = 0; k < N; ++k)
          if (at + k < n) out[at + k] = packs[w].v[k];
      }
    }
  }
}

// ---- truncated normal: the three proposals of TruncationWindow
__device__ __forceinline__ bool propose(const TruncationWindow& w, uint64_t bits1, uint64_t bits2, double& z) {
  if (w.proposal == Proposal::Normal) {
    Double sin = 0., cos = 0.;
    turn(bits2, sin, cos);
    z = (Double(exact_sqrt(exact_log(open_closed(bits1)) * -2.)) * cos).v;
    return z >= w.a && z <= w.b;
  }
  const Double limit = exact_log(open_closed(bits2)) * 2.;
  if (w.proposal == Proposal::Uniform) {
    z = (closed_open(bits1) * (Double(w.b) - w.a) + w.a).v;
    return limit.v <= ((Double(w.nearest) - z) * (Double(w.nearest) + z)).v;
  }
  z = (exact_log(open_closed(bits1)) / -w.k + w.a).v;
  const Double beyond = Double(z) - w.k;
  return limit.v <= (-beyond * beyond).v && z <= w.b;
}

// Block e is element e's, in as many streams as it takes to accept a draw.
__global__ void __launch_bounds__(kThreads, kBlocks) fill_trunc_normal(TruncNormalArgs a) {
  const TruncationWindow& window = a.window;
  const RngKey key = resolved(a.key);
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t e = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; e < a.n; e += stride) {
    double z = window.nearest;
    bool accepted = false;
    for (uint64_t stream = 0; stream < 256 && !accepted; ++stream) {
      uint64_t bits[2];
      double draw;
      words_of(philox4x32_10(key, uint64_t(e) | stream << 56), bits);
      accepted = propose(window, bits[0], bits[1], draw);
      if (accepted) z = draw;
    }
    const double v = (Double(z) * window.sign * a.std + a.mean).v;
    write_as<double>(a.out, a.dtype, e, v < a.low ? a.low : v > a.high ? a.high : v);
  }
}

__global__ void __launch_bounds__(kThreads, kBlocks) fill_integers(RandomIntegerArgs a) {
  const RngKey key = resolved(a.key);
  const int64_t blocks = (a.n + 31) / 32 * kPhiloxGroup, stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t b = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; b < blocks; b += stride) {
    uint64_t bits[2];
    words_of(philox4x32_10(key, uint64_t(b)), bits);
#pragma unroll
    for (int w = 0; w < 2; ++w) {
      const int64_t e = b / kPhiloxGroup * 32 + w * 16 + b % kPhiloxGroup;
      if (e < a.n) write_as<int64_t>(a.out, a.dtype, e, int64_t(uint64_t(a.low) + scale_to_range(bits[w], a.range)));
    }
  }
}

__global__ void __launch_bounds__(kThreads, kBlocks) fill_bernoulli(BernoulliArgs a) {
  const RngKey key = resolved(a.key);
  const int64_t blocks = (a.n + 63) / 64 * kPhiloxGroup, stride = int64_t(gridDim.x) * blockDim.x;
  const uint64_t threshold = bernoulli_threshold(a.p);
  for (int64_t b = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; b < blocks; b += stride) {
    const PhiloxBlock block = philox4x32_10(key, uint64_t(b));
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const int64_t e = b / kPhiloxGroup * 64 + w * 16 + b % kPhiloxGroup;
      if (e >= a.n) continue;
      const uint64_t limit = a.probabilities ? bernoulli_threshold(a.probabilities[e]) : threshold;
      write_as<int64_t>(a.out, a.dtype, e, block.word[w] < limit);
    }
  }
}

rt::At one_thread_each(int64_t work, const Stream& stream) {
  return {grid_for(work, kThreads, stream), kThreads, 0, stream.handle};
}

}  // namespace

SW_CUDA_KERNEL(random_fill, a, stream) {
  if (a.n == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    using S = math_type<T>;
    constexpr int W = 16 / int(sizeof(S));
    const bool packs = packs_at<T>(a.out, 0);
    rt::launch(packs ? fill_packs<T, kPack<T>> : fill_packs<T, 1>,
               one_thread_each(ceil_div(a.n, packs ? W * kPack<T> : W), stream), a.n, a.key,
               Fill<S>{a.distribution, S(a.a), S(a.b), S(a.ceiling)}, static_cast<T*>(a.out));
  });
}

SW_CUDA_KERNEL(trunc_normal_fill, a, stream) {
  if (a.n == 0) return;
  rt::launch(fill_trunc_normal, one_thread_each(a.n, stream), a);
}

SW_CUDA_KERNEL(random_integers, a, stream) {
  if (a.n == 0) return;
  rt::launch(fill_integers, one_thread_each(ceil_div(a.n, 2), stream), a);
}

SW_CUDA_KERNEL(bernoulli_fill, a, stream) {
  if (a.n == 0) return;
  rt::launch(fill_bernoulli, one_thread_each(ceil_div(a.n, 4), stream), a);
}

}  // namespace skipway::cuda
