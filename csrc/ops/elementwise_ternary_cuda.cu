// Three operands. Memory-bound: three reads and one write, in packs of 128 bits where all are of one floating dtype
// (the condition of Where: one byte each), else element by element.
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/math.cuh"
#include "ops/elementwise.h"

namespace skipway::cuda {
namespace {

constexpr int kTernaryBlocks =
    3;  // of 256 threads, up to 84 registers: three operands in flight make up for the fourth

template <class T, int N, class F>
__device__ __forceinline__ void each(T (&o)[N], const T (&x)[N], const T (&y)[N], const T (&z)[N], const F& f) {
#pragma unroll
  for (int k = 0; k < N; ++k) o[k] = f(x[k], y[k], z[k]);
}

// NaN in any of the three gives NaN; hi wins over lo
template <class T>
__device__ __forceinline__ T clamped(T x, T lo, T hi) {
  if (x != x || lo != lo) return x != x ? x : lo;
  const T raised = x < lo ? lo : x;
  return hi != hi || raised > hi ? hi : raised;
}

template <class T, int N>
__device__ __forceinline__ void apply(TernaryOp op, T value, T (&o)[N], const T (&x)[N], const T (&y)[N],
                                      const T (&z)[N]) {
  switch (op) {
    case TernaryOp::Where:
      return each(o, x, y, z, [](T x, T y, T z) { return x != 0 ? y : z; });
    case TernaryOp::Clamp:
      return each(o, x, y, z, [](T x, T y, T z) { return clamped(x, y, z); });
    case TernaryOp::Lerp:  // from the nearer end, so that weight 1 gives `end` exactly
      return each(o, x, y, z,
                  [](T x, T y, T z) { return dfabs(z) < T(0.5) ? x + z * (y - x) : y - (y - x) * (1 - z); });
    case TernaryOp::Addcmul:
      return each(o, x, y, z, [=](T x, T y, T z) { return x + value * (y * z); });
    case TernaryOp::Addcdiv:
      return each(o, x, y, z, [=](T x, T y, T z) { return x + value * (y / z); });
    case TernaryOp::MaxGrad:
      return each(o, x, y, z, [](T x, T y, T z) { return y < z ? T(0) : y == z ? x * T(0.5) : x; });
    case TernaryOp::MinGrad:
      return each(o, x, y, z, [](T x, T y, T z) { return y > z ? T(0) : y == z ? x * T(0.5) : x; });
    case TernaryOp::DivGradDivisor:  // g, quotient, divisor
      return each(o, x, y, z, [](T x, T y, T z) { return -x * y / z; });
    default:
      if constexpr (N == 1) {
        const bool base = op == TernaryOp::PowGradBase;  // else PowGradExponent: g, base, y
        o[0] = base ? (z[0] == 0 ? T(0) : x[0] * z[0] * dpow(y[0], z[0] - 1))
                    : (y[0] == 0 && z[0] == 0 ? T(0) : x[0] * z[0] * dlog(y[0]));
      }
  }
}

template <class T, class Condition>
__global__ void __launch_bounds__(kElementThreads, kTernaryBlocks)
    ternary_packs(int64_t n, TernaryOp op, math_type<T> value, const __grid_constant__ DeviceWalk out,
                  const __grid_constant__ DeviceWalk a, const __grid_constant__ DeviceWalk b,
                  const __grid_constant__ DeviceWalk c) {
  constexpr int N = kPack<T>;
  for_runs<N>(n, [&](int64_t i, int count) {
    math_type<T> x[N], y[N], z[N], o[N];
    load_run<Condition>(a, i, count, x);
    load_run<T>(b, i, count, y);
    load_run<T>(c, i, count, z);
    if constexpr (dtype_of<Condition> == DType::UInt8) {
      apply(TernaryOp::Where, value, o, x, y, z);
    } else {
      apply(op, value, o, x, y, z);
    }
    store_run<T>(out, i, count, o);
  });
}

template <class C>
__global__ void __launch_bounds__(kElementThreads, kTernaryBlocks)
    ternary_any(int64_t n, TernaryOp op, C value, const __grid_constant__ DeviceWalk out,
                const __grid_constant__ DeviceWalk a, const __grid_constant__ DeviceWalk b,
                const __grid_constant__ DeviceWalk c) {
  for_runs<1>(n, [&](int64_t i, int) {
    const C x[1] = {a.read<C>(i)}, y[1] = {b.read<C>(i)}, z[1] = {c.read<C>(i)};
    C o[1];
    if constexpr (is_floating(dtype_of<C>)) {
      apply(op, value, o, x, y, z);
    } else {  // Where, Clamp or Addcmul
      o[0] = op == TernaryOp::Where   ? (x[0] != 0 ? y[0] : z[0])
             : op == TernaryOp::Clamp ? clamped(x[0], y[0], z[0])
                                      : C(uint64_t(x[0]) + uint64_t(value) * (uint64_t(y[0]) * uint64_t(z[0])));
    }
    out.write<C>(i, o[0]);
  });
}

}  // namespace

SW_CUDA_KERNEL(elementwise_ternary, args, stream) {
  const DType d = args.out.dtype;
  const int pack = int(16 / size_of(d));
  const DeviceWalk out(args.out, args.numel), a(args.a, args.numel), b(args.b, args.numel), c(args.c, args.numel);
  const bool where = args.op == TernaryOp::Where;
  const bool pow = args.op == TernaryOp::PowGradBase || args.op == TernaryOp::PowGradExponent;
  Walk first = args.a;
  if (where && first.dtype == DType::Bool) first.dtype = DType::UInt8;
  if (is_floating(d) && accumulate_dtype(d) == args.compute && !pow && walks_in_packs(args.out, d, pack, true) &&
      walks_in_packs(first, where ? DType::UInt8 : d, pack) && walks_in_packs(args.b, d, pack) &&
      walks_in_packs(args.c, d, pack)) {
    return dispatch_cuda(d, [&]<class T>(Type<T>) {
      rt::launch(where ? ternary_packs<T, uint8_t> : ternary_packs<T, T>, element_grid(args.numel, pack, stream),
                 args.numel, args.op, math_type<T>(args.value), out, a, b, c);
    });
  }
  dispatch_compute(args.compute, [&]<class C>(Type<C>) {
    rt::launch(ternary_any<C>, element_grid(args.numel, 1, stream), args.numel, args.op, C(args.value), out, a, b, c);
  });
}

}  // namespace skipway::cuda
