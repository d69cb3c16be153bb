#include "kernels/vmath.h"
#include "kernels/walk.h"
#include "ops/elementwise.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr double kLn2 = 0.69314718055994530942, kLn10 = 2.30258509299404568402;
constexpr double kTwoOverSqrtPi = 1.12837916709551257390;

// The C library's function of T: name_of(float) and name_of(double).
#define SW_LIBM(name)                                         \
  SW_INLINE float name##_of(float x) { return ::name##f(x); } \
  SW_INLINE double name##_of(double x) { return ::name(x); }
SW_LIBM(log10)
SW_LIBM(tan)
SW_LIBM(asin)
SW_LIBM(acos)
SW_LIBM(atan)
SW_LIBM(sinh)
SW_LIBM(cosh)
SW_LIBM(asinh)
SW_LIBM(acosh)
SW_LIBM(atanh)
SW_LIBM(erfc)
SW_LIBM(log)
#undef SW_LIBM

// The y with erf(y) = x: a start from the approximation of S. Winitzki (2008), then Newton's steps with the
// second-order correction (Halley), in double.
SW_INLINE double erfinv_of(double x) {
  const double a = x < 0 ? -x : x;
  if (!(a < 1)) return a == 1 ? x * __builtin_inf() : __builtin_nan("");
  const double l = ::log1p(-a * a), b = 4.3307467508 + 0.5 * l;  // 2 / (pi 0.147) = 4.33...
  double y = __builtin_sqrt(__builtin_sqrt(b * b - l / 0.147) - b);
  for (int i = 0; i < 3; ++i) {
    // erf(y) - a, through erfc in the tail where 1 - a is exact
    const double error = a > 0.5 ? (1 - a) - ::erfc(y) : ::erf(y) - a;
    const double step = error / (kTwoOverSqrtPi * ::exp(-y * y));
    y -= step / (1 + y * step);
  }
  return x < 0 ? -y : y;
}

template <class T>
using One = const T* const (&)[1];
template <class T>
using Two = const T* const (&)[2];

#define SW_VECTOR(expression) \
  return map_wide<T, 1>(o, in, n, [&](typename Wide<T>::vec x) -> typename Wide<T>::vec { return expression; })
#define SW_TRUTH(expression) SW_VECTOR((expression) ? one : zero)
#define SW_SCALAR(expression) return map_scalar<T, 1>(o, in, n, [&](T x) -> T { return expression; })

template <class T>
void scalar_run(UnaryOp op, T* o, One<T> in, int64_t n) {
  switch (op) {
    case UnaryOp::Log10:
      SW_SCALAR(log10_of(x));
    case UnaryOp::Tan:
      SW_SCALAR(tan_of(x));
    case UnaryOp::Asin:
      SW_SCALAR(asin_of(x));
    case UnaryOp::Acos:
      SW_SCALAR(acos_of(x));
    case UnaryOp::Atan:
      SW_SCALAR(atan_of(x));
    case UnaryOp::Sinh:
      SW_SCALAR(sinh_of(x));
    case UnaryOp::Cosh:
      SW_SCALAR(cosh_of(x));
    case UnaryOp::Asinh:
      SW_SCALAR(asinh_of(x));
    case UnaryOp::Acosh:
      SW_SCALAR(acosh_of(x));
    case UnaryOp::Atanh:
      SW_SCALAR(atanh_of(x));
    case UnaryOp::Erfc:
      SW_SCALAR(erfc_of(x));
    case UnaryOp::Erfinv:
      SW_SCALAR(T(erfinv_of(double(x))));
    case UnaryOp::Logit:
      SW_SCALAR(log_of(x / (1 - x)));
    default:
      return;
  }
}

template <class T>
void float_run(UnaryOp op, T* o, One<T> in, int64_t n) {
  const typename Wide<T>::vec zero{}, one = zero + 1;
  switch (op) {
    case UnaryOp::Exp:
      SW_VECTOR(vexp(x));
    case UnaryOp::Exp2:
      SW_VECTOR(vexp2(x));
    case UnaryOp::Expm1:
      SW_VECTOR(vexpm1(x));
    case UnaryOp::Log2:
      SW_VECTOR(vlog2(x));
    case UnaryOp::Sin:
      SW_VECTOR(vsin(x));
    case UnaryOp::Cos:
      SW_VECTOR(vcos(x));
    case UnaryOp::Log:
      SW_VECTOR(vlog(x));
    case UnaryOp::Log1p:
      SW_VECTOR(vlog1p(x));
    case UnaryOp::Sqrt:
      SW_VECTOR(vsqrt(x));
    case UnaryOp::Rsqrt:
      SW_VECTOR(1 / vsqrt(x));
    case UnaryOp::Reciprocal:
      SW_VECTOR(1 / x);
    case UnaryOp::Tanh:
      SW_VECTOR(vtanh(x));
    case UnaryOp::Sigmoid:
      SW_VECTOR(vsigmoid(x));
    case UnaryOp::Erf:
      SW_VECTOR(verf(x));
    case UnaryOp::Abs:
      SW_VECTOR(vabs(x));
    case UnaryOp::Floor:
      SW_VECTOR(vfloor(x));
    case UnaryOp::Ceil:
      SW_VECTOR(vceil(x));
    case UnaryOp::Round:
      SW_VECTOR(vround(x));
    case UnaryOp::Trunc:
      SW_VECTOR(vtrunc(x));
    case UnaryOp::Frac:
      SW_VECTOR(x - vtrunc(x));
    case UnaryOp::IsNan:
      SW_TRUTH(x != x);
    case UnaryOp::IsInf:
      SW_TRUTH(vabs(x) == T(__builtin_inf()));
    case UnaryOp::IsFinite:
      SW_TRUTH(vabs(x) < T(__builtin_inf()));
    default:
      return scalar_run<T>(op, o, in, n);
  }
}

template <class T>
void integer_run(UnaryOp op, T* o, One<T> in, int64_t n) {
  const vlong zero{}, one = zero + 1;
  switch (op) {
    case UnaryOp::Abs:
      SW_VECTOR(x < 0 ? wide_sub(zero, x) : x);
    case UnaryOp::BitNot:
      SW_VECTOR(~x);
    case UnaryOp::IsNan:
    case UnaryOp::IsInf:
      SW_VECTOR(x & 0);
    case UnaryOp::IsFinite:
      SW_VECTOR(x == x ? one : zero);
    default:  // floor, ceil, round, trunc
      SW_VECTOR(x);
  }
}

template <class T>
void unary_run(UnaryOp op, T* o, One<T> in, int64_t n) {
  const typename Wide<T>::vec zero{}, one = zero + 1;
  switch (op) {
    case UnaryOp::Neg:
      if constexpr (is_floating(dtype_of<T>)) {
        SW_VECTOR(-x);
      } else {
        SW_VECTOR(wide_sub(zero, x));
      }
    case UnaryOp::Square:
      SW_VECTOR(wide_mul(x, x));
    case UnaryOp::Sign:
      SW_VECTOR(x > zero ? one : (x < zero ? -one : (x != x ? x : zero)));
    case UnaryOp::LogicalNot:
      SW_TRUTH(x == zero);
    default:
      if constexpr (is_floating(dtype_of<T>)) {
        return float_run<T>(op, o, in, n);
      } else {
        return integer_run<T>(op, o, in, n);
      }
  }
}

#undef SW_VECTOR
#undef SW_SCALAR
#define SW_VECTOR(expression) \
  return map_wide<T, 2>(o, in, n, [&](V g, [[maybe_unused]] V x) -> V { return expression; })
#define SW_SCALAR(expression) return map_scalar<T, 2>(o, in, n, [&](T g, T x) -> T { return expression; })

// dx = g * f'; `x` stands for what was saved, y for the ops of unary_saves_output.
template <class T>
void grad_run(UnaryOp op, T* o, Two<T> in, int64_t n) {
  using V = typename Wide<T>::vec;
  const V zero{};
  switch (op) {
    case UnaryOp::Neg:
      SW_VECTOR(-g);
    case UnaryOp::Abs:
      SW_VECTOR(x > zero ? g : (x < zero ? -g : x * g));
    case UnaryOp::Exp:
      SW_VECTOR(g * x);
    case UnaryOp::Exp2:
      SW_VECTOR(g * x * T(kLn2));
    case UnaryOp::Expm1:
      SW_VECTOR(g * (x + 1));
    case UnaryOp::Log:
      SW_VECTOR(g / x);
    case UnaryOp::Log2:
      SW_VECTOR(g / (x * T(kLn2)));
    case UnaryOp::Log10:
      SW_VECTOR(g / (x * T(kLn10)));
    case UnaryOp::Log1p:
      SW_VECTOR(g / (x + 1));
    case UnaryOp::Sqrt:
      SW_VECTOR(g / (x + x));
    case UnaryOp::Rsqrt:
      SW_VECTOR(g * T(-0.5) * x * x * x);
    case UnaryOp::Square:
      SW_VECTOR(g * (x + x));
    case UnaryOp::Reciprocal:
      SW_VECTOR(-g * x * x);
    case UnaryOp::Sin:
      SW_VECTOR(g * vcos(x));
    case UnaryOp::Cos:
      SW_VECTOR(-g * vsin(x));
    case UnaryOp::Tan:
      SW_VECTOR(g * (x * x + 1));
    case UnaryOp::Asin:
      SW_VECTOR(g / vsqrt(1 - x * x));
    case UnaryOp::Acos:
      SW_VECTOR(-g / vsqrt(1 - x * x));
    case UnaryOp::Atan:
      SW_VECTOR(g / (x * x + 1));
    case UnaryOp::Sinh:
      SW_SCALAR(g * cosh_of(x));
    case UnaryOp::Cosh:
      SW_SCALAR(g * sinh_of(x));
    case UnaryOp::Tanh:
      SW_VECTOR(g * (1 - x * x));
    case UnaryOp::Sigmoid:
      SW_VECTOR(g * x * (1 - x));
    case UnaryOp::Erf:
      SW_VECTOR(g * T(kTwoOverSqrtPi) * vexp(-x * x));
    case UnaryOp::Erfc:
      SW_VECTOR(g * T(-kTwoOverSqrtPi) * vexp(-x * x));
    case UnaryOp::Erfinv:
      SW_VECTOR(g / T(kTwoOverSqrtPi) * vexp(x * x));
    case UnaryOp::Logit:
      SW_VECTOR(g / (x * (1 - x)));
    case UnaryOp::Asinh:
      SW_VECTOR(g / vsqrt(x * x + 1));
    case UnaryOp::Acosh:
      SW_VECTOR(g / vsqrt(x * x - 1));
    case UnaryOp::Atanh:
      SW_VECTOR(g / (1 - x * x));
    case UnaryOp::Frac:
      return void(__builtin_memmove(o, in[0], size_t(n) * sizeof(T)));
    default:  // piecewise constant
      return void(__builtin_memset(o, 0, size_t(n) * sizeof(T)));
  }
}

}  // namespace

void elementwise_unary(const UnaryArgs& a) {
  dispatch_compute(a.compute, [&]<class T>(Type<T>) {
    run_elementwise<T, 1>(a.numel, a.out, {&a.x},
                          [&](T* o, const T* const(&in)[1], int64_t n) { unary_run<T>(a.op, o, in, n); });
  });
}

void elementwise_unary_grad(const UnaryGradArgs& a) {
  dispatch_float(a.compute, [&]<class T>(Type<T>) {
    if constexpr (dtype_of<T> != DType::BFloat16) {
      run_elementwise<T, 2>(a.numel, a.dx, {&a.dy, &a.saved},
                            [&](T* o, const T* const(&in)[2], int64_t n) { grad_run<T>(a.op, o, in, n); });
    }
  });
}

}  // namespace SW_ISA
}  // namespace skipway
