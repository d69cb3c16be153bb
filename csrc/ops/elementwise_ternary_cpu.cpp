#include "kernels/vmath.h"
#include "kernels/walk.h"
#include "ops/elementwise.h"

namespace skipway {
namespace SW_ISA {
namespace {

SW_INLINE float pow_of(float a, float b) { return ::powf(a, b); }
SW_INLINE double pow_of(double a, double b) { return ::pow(a, b); }

// f(x, y, z) element by element.
template <class T, class F>
SW_INLINE void each(T* o, const T* const (&in)[3], int64_t n, const F& f) {
  for (int64_t i = 0; i < n; ++i) o[i] = f(in[0][i], in[1][i], in[2][i]);
}

#define SW_VECTOR(expression) return map_wide<T, 3>(o, in, n, [&](V x, V y, V z) -> V { return expression; })

template <class T>
void float_run(const TernaryArgs& a, T* o, const T* const (&in)[3], int64_t n) {
  using V = typename Wide<T>::vec;
  const V zero{};
  switch (a.op) {
    case TernaryOp::Lerp:  // from the nearer end, so that weight 1 gives `end` exactly
      SW_VECTOR(vabs(z) < T(0.5) ? x + z * (y - x) : y - (y - x) * (1 - z));
    case TernaryOp::Addcdiv: {
      const V value = wide_set<T>(T(a.value));
      SW_VECTOR(x + value * (y / z));
    }
    case TernaryOp::MaxGrad:
      SW_VECTOR(y < z ? zero : (y == z ? x * T(0.5) : x));
    case TernaryOp::MinGrad:
      SW_VECTOR(y > z ? zero : (y == z ? x * T(0.5) : x));
    case TernaryOp::DivGradDivisor:  // g, quotient, divisor
      SW_VECTOR(-x * y / z);
    case TernaryOp::PowGradBase:
      each(o, in, n, [](T g, T b, T e) -> T { return e == 0 ? T(0) : g * e * pow_of(b, e - 1); });
      return;
    case TernaryOp::PowGradExponent:  // g, base, y
      SW_VECTOR((y == zero) & (z == zero) ? zero : x * z * vlog(y));
    default:
      return;
  }
}

template <class T>
void ternary_run(const TernaryArgs& a, T* o, const T* const (&in)[3], int64_t n) {
  using V = typename Wide<T>::vec;
  switch (a.op) {
    case TernaryOp::Where:
      SW_VECTOR(x != V{} ? y : z);
    case TernaryOp::Clamp:  // NaN in any of the three gives NaN; hi wins over lo
      SW_VECTOR(x != x ? x : (y != y ? y : (z != z ? z : ((x < y ? y : x) > z ? z : (x < y ? y : x)))));
    case TernaryOp::Addcmul: {
      const V value = wide_set<T>(T(a.value));
      SW_VECTOR(wide_add(x, wide_mul(value, wide_mul(y, z))));
    }
    default:
      if constexpr (is_floating(dtype_of<T>)) return float_run<T>(a, o, in, n);
  }
}

}  // namespace

void elementwise_ternary(const TernaryArgs& a) {
  dispatch_compute(a.compute, [&]<class T>(Type<T>) {
    run_elementwise<T, 3>(a.numel, a.out, {&a.a, &a.b, &a.c},
                          [&](T* o, const T* const(&in)[3], int64_t n) { ternary_run<T>(a, o, in, n); });
  });
}

}  // namespace SW_ISA
}  // namespace skipway
