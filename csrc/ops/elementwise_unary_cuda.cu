// One operand. Memory-bound where the function is cheap: one read and one write (gradients: two reads), in packs of 128
// bits for the ops that training uses; the others, mixed dtypes and odd strides element by element.
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/math.cuh"
#include "ops/elementwise.h"

namespace skipway::cuda {
namespace {

constexpr double kLn2 = 0.69314718055994530942, kLn10 = 2.30258509299404568402;
constexpr double kTwoOverSqrtPi = 1.12837916709551257390;

template <class T, int N, class F>
__device__ __forceinline__ void each(T (&y)[N], const T (&x)[N], const F& f) {
#pragma unroll
  for (int k = 0; k < N; ++k) y[k] = f(x[k]);
}
template <class T, int N, class F>
__device__ __forceinline__ void each(T (&dx)[N], const T (&g)[N], const T (&s)[N], const F& f) {
#pragma unroll
  for (int k = 0; k < N; ++k) dx[k] = f(g[k], s[k]);
}

// The y with erf(y) = x: a start from the approximation of S. Winitzki (2008), then Newton's steps with the
// second-order correction (Halley), in double.
__device__ double erfinv_of(double x) {
  const double a = x < 0 ? -x : x;
  if (!(a < 1)) return a == 1 ? x * double(INFINITY) : double(NAN);
  const double l = ::log1p(-a * a), b = 4.3307467508 + 0.5 * l;  // 2 / (pi 0.147) = 4.33...
  double y = ::sqrt(::sqrt(b * b - l / 0.147) - b);
#pragma unroll 1
  for (int i = 0; i < 3; ++i) {
    const double error = a > 0.5 ? (1 - a) - ::erfc(y) : ::erf(y) - a;
    const double step = error / (kTwoOverSqrtPi * ::exp(-y * y));
    y -= step / (1 + y * step);
  }
  return x < 0 ? -y : y;
}

template <class T>
__device__ __forceinline__ T rare_float(UnaryOp op, T x) {
  switch (op) {
    case UnaryOp::Exp2:
      return dexp2(x);
    case UnaryOp::Expm1:
      return dexpm1(x);
    case UnaryOp::Log2:
      return dlog2(x);
    case UnaryOp::Log10:
      return dlog10(x);
    case UnaryOp::Log1p:
      return dlog1p(x);
    case UnaryOp::Sin:
      return dsin(x);
    case UnaryOp::Cos:
      return dcos(x);
    case UnaryOp::Tan:
      return dtan(x);
    case UnaryOp::Asin:
      return dasin(x);
    case UnaryOp::Acos:
      return dacos(x);
    case UnaryOp::Atan:
      return datan(x);
    case UnaryOp::Sinh:
      return dsinh(x);
    case UnaryOp::Cosh:
      return dcosh(x);
    case UnaryOp::Asinh:
      return dasinh(x);
    case UnaryOp::Acosh:
      return dacosh(x);
    case UnaryOp::Atanh:
      return datanh(x);
    case UnaryOp::Erf:
      return derf(x);
    case UnaryOp::Erfc:
      return derfc(x);
    case UnaryOp::Erfinv:
      return T(erfinv_of(double(x)));
    case UnaryOp::Logit:
      return dlog(x / (1 - x));
    case UnaryOp::Floor:
      return dfloor(x);
    case UnaryOp::Ceil:
      return dceil(x);
    case UnaryOp::Round:
      return drint(x);
    case UnaryOp::Trunc:
      return dtrunc(x);
    case UnaryOp::Frac:
      return x - dtrunc(x);
    case UnaryOp::IsNan:
      return T(x != x);
    case UnaryOp::IsInf:
      return T(dfabs(x) == T(INFINITY));
    case UnaryOp::IsFinite:
      return T(dfabs(x) < T(INFINITY));
    case UnaryOp::LogicalNot:
      return T(x == 0);
    default:  // Sign
      return x > 0 ? T(1) : x < 0 ? T(-1) : x != x ? x : T(0);
  }
}

__device__ __forceinline__ int64_t integer(UnaryOp op, int64_t x) {
  switch (op) {
    case UnaryOp::Neg:
      return int64_t(-uint64_t(x));
    case UnaryOp::Abs:
      return x < 0 ? int64_t(-uint64_t(x)) : x;
    case UnaryOp::Square:
      return int64_t(uint64_t(x) * uint64_t(x));
    case UnaryOp::Sign:
      return (x > 0) - (x < 0);
    case UnaryOp::LogicalNot:
      return x == 0;
    case UnaryOp::BitNot:
      return ~x;
    case UnaryOp::IsNan:
    case UnaryOp::IsInf:
      return 0;
    case UnaryOp::IsFinite:
      return 1;
    default:  // floor, ceil, round, trunc
      return x;
  }
}

// Ops that come in packs.
bool is_common(UnaryOp op) {
  switch (op) {
    case UnaryOp::Neg:
    case UnaryOp::Abs:
    case UnaryOp::Exp:
    case UnaryOp::Log:
    case UnaryOp::Sqrt:
    case UnaryOp::Rsqrt:
    case UnaryOp::Square:
    case UnaryOp::Reciprocal:
    case UnaryOp::Tanh:
    case UnaryOp::Sigmoid:
      return true;
    default:
      return false;
  }
}

template <class T, int N>
__device__ __forceinline__ void apply(UnaryOp op, T (&y)[N], const T (&x)[N]) {
  switch (op) {
    case UnaryOp::Neg:
      return each(y, x, [](T v) { return -v; });
    case UnaryOp::Abs:
      return each(y, x, [](T v) { return dfabs(v); });
    case UnaryOp::Exp:
      return each(y, x, [](T v) { return dexp(v); });
    case UnaryOp::Log:
      return each(y, x, [](T v) { return dlog(v); });
    case UnaryOp::Sqrt:
      return each(y, x, [](T v) { return dsqrt(v); });
    case UnaryOp::Rsqrt:
      return each(y, x, [](T v) { return 1 / dsqrt(v); });
    case UnaryOp::Square:
      return each(y, x, [](T v) { return v * v; });
    case UnaryOp::Reciprocal:
      return each(y, x, [](T v) { return 1 / v; });
    case UnaryOp::Tanh:
      return each(y, x, [](T v) { return dtanh(v); });
    case UnaryOp::Sigmoid:
      return each(y, x, [](T v) { return dsigmoid(v); });
    default:
      if constexpr (N == 1) y[0] = rare_float(op, x[0]);
  }
}

template <class T>
__device__ __forceinline__ T rare_grad(UnaryOp op, T g, T x) {
  switch (op) {
    case UnaryOp::Log2:
      return g / (x * T(kLn2));
    case UnaryOp::Log10:
      return g / (x * T(kLn10));
    case UnaryOp::Sin:
      return g * dcos(x);
    case UnaryOp::Cos:
      return -g * dsin(x);
    case UnaryOp::Asin:
      return g / dsqrt(1 - x * x);
    case UnaryOp::Acos:
      return -g / dsqrt(1 - x * x);
    case UnaryOp::Atan:
      return g / (x * x + 1);
    case UnaryOp::Sinh:
      return g * dcosh(x);
    case UnaryOp::Cosh:
      return g * dsinh(x);
    case UnaryOp::Erf:
      return g * T(kTwoOverSqrtPi) * dexp(-x * x);
    case UnaryOp::Erfc:
      return g * T(-kTwoOverSqrtPi) * dexp(-x * x);
    case UnaryOp::Erfinv:
      return g / T(kTwoOverSqrtPi) * dexp(x * x);
    case UnaryOp::Logit:
      return g / (x * (1 - x));
    case UnaryOp::Asinh:
      return g / dsqrt(x * x + 1);
    case UnaryOp::Acosh:
      return g / dsqrt(x * x - 1);
    case UnaryOp::Atanh:
      return g / (1 - x * x);
    default:  // piecewise constant
      return T(0);
  }
}

bool grad_is_common(UnaryOp op) {
  switch (op) {
    case UnaryOp::Exp2:
    case UnaryOp::Expm1:
    case UnaryOp::Log1p:
    case UnaryOp::Tan:
    case UnaryOp::Frac:
      return true;
    default:
      return is_common(op);
  }
}

// dx = g f'; s is y for the ops of unary_saves_output, x for the others.
template <class T, int N>
__device__ __forceinline__ void apply_grad(UnaryOp op, T (&dx)[N], const T (&g)[N], const T (&s)[N]) {
  switch (op) {
    case UnaryOp::Neg:
      return each(dx, g, s, [](T g, T) { return -g; });
    case UnaryOp::Abs:
      return each(dx, g, s, [](T g, T x) { return x > 0 ? g : x < 0 ? -g : x * g; });
    case UnaryOp::Exp:
      return each(dx, g, s, [](T g, T y) { return g * y; });
    case UnaryOp::Exp2:
      return each(dx, g, s, [](T g, T y) { return g * y * T(kLn2); });
    case UnaryOp::Expm1:
      return each(dx, g, s, [](T g, T y) { return g * (y + 1); });
    case UnaryOp::Log:
      return each(dx, g, s, [](T g, T x) { return g / x; });
    case UnaryOp::Log1p:
      return each(dx, g, s, [](T g, T x) { return g / (x + 1); });
    case UnaryOp::Sqrt:
      return each(dx, g, s, [](T g, T y) { return g / (y + y); });
    case UnaryOp::Rsqrt:
      return each(dx, g, s, [](T g, T y) { return g * T(-0.5) * y * y * y; });
    case UnaryOp::Square:
      return each(dx, g, s, [](T g, T x) { return g * (x + x); });
    case UnaryOp::Reciprocal:
      return each(dx, g, s, [](T g, T y) { return -g * y * y; });
    case UnaryOp::Tan:
      return each(dx, g, s, [](T g, T y) { return g * (y * y + 1); });
    case UnaryOp::Tanh:
      return each(dx, g, s, [](T g, T y) { return g * (1 - y * y); });
    case UnaryOp::Sigmoid:
      return each(dx, g, s, [](T g, T y) { return g * y * (1 - y); });
    case UnaryOp::Frac:
      return each(dx, g, s, [](T g, T) { return g; });
    default:
      if constexpr (N == 1) dx[0] = rare_grad(op, g[0], s[0]);
  }
}

template <class T>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    unary_packs(int64_t n, UnaryOp op, const __grid_constant__ DeviceWalk out, const __grid_constant__ DeviceWalk x) {
  constexpr int N = kPack<T>;
  for_runs<N>(n, [&](int64_t i, int count) {
    math_type<T> in[N], y[N];
    load_run<T>(x, i, count, in);
    apply(op, y, in);
    store_run<T>(out, i, count, y);
  });
}

template <class C>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    unary_any(int64_t n, UnaryOp op, const __grid_constant__ DeviceWalk out, const __grid_constant__ DeviceWalk x) {
  for_runs<1>(n, [&](int64_t i, int) {
    const C in[1] = {x.read<C>(i)};
    C y[1];
    if constexpr (is_floating(dtype_of<C>)) {
      apply(op, y, in);
    } else {
      y[0] = integer(op, in[0]);
    }
    out.write<C>(i, y[0]);
  });
}

template <class T>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    unary_grad_packs(int64_t n, UnaryOp op, const __grid_constant__ DeviceWalk dx,
                     const __grid_constant__ DeviceWalk dy, const __grid_constant__ DeviceWalk saved) {
  constexpr int N = kPack<T>;
  for_runs<N>(n, [&](int64_t i, int count) {
    math_type<T> g[N], s[N], y[N];
    load_run<T>(dy, i, count, g);
    load_run<T>(saved, i, count, s);
    apply_grad(op, y, g, s);
    store_run<T>(dx, i, count, y);
  });
}

template <class C>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    unary_grad_any(int64_t n, UnaryOp op, const __grid_constant__ DeviceWalk dx, const __grid_constant__ DeviceWalk dy,
                   const __grid_constant__ DeviceWalk saved) {
  for_runs<1>(n, [&](int64_t i, int) {
    const C g[1] = {dy.read<C>(i)}, s[1] = {saved.read<C>(i)};
    C y[1];
    apply_grad(op, y, g, s);
    dx.write<C>(i, y[0]);
  });
}

}  // namespace

SW_CUDA_KERNEL(elementwise_unary, a, stream) {
  const DType d = a.out.dtype;
  const int pack = int(16 / size_of(d));
  const DeviceWalk out(a.out, a.numel), x(a.x, a.numel);
  if (is_floating(d) && is_common(a.op) && walks_in_packs(a.out, d, pack, true) && walks_in_packs(a.x, d, pack)) {
    return dispatch_cuda(d, [&]<class T>(Type<T>) {
      rt::launch(unary_packs<T>, element_grid(a.numel, pack, stream), a.numel, a.op, out, x);
    });
  }
  dispatch_compute(a.compute, [&]<class C>(Type<C>) {
    rt::launch(unary_any<C>, element_grid(a.numel, 1, stream), a.numel, a.op, out, x);
  });
}

SW_CUDA_KERNEL(elementwise_unary_grad, a, stream) {
  const DType d = a.dx.dtype;
  const int pack = int(16 / size_of(d));
  const DeviceWalk dx(a.dx, a.numel), dy(a.dy, a.numel), saved(a.saved, a.numel);
  if (grad_is_common(a.op) && walks_in_packs(a.dx, d, pack, true) && walks_in_packs(a.dy, d, pack) &&
      walks_in_packs(a.saved, d, pack)) {
    return dispatch_cuda(d, [&]<class T>(Type<T>) {
      rt::launch(unary_grad_packs<T>, element_grid(a.numel, pack, stream), a.numel, a.op, dx, dy, saved);
    });
  }
  const auto any = a.compute == DType::Float64 ? unary_grad_any<double> : unary_grad_any<float>;
  rt::launch(any, element_grid(a.numel, 1, stream), a.numel, a.op, dx, dy, saved);
}

}  // namespace skipway::cuda
