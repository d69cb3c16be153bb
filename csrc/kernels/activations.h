// Activation functions on vectors: value(x), and grad(g, s) = g f'(x), where s is the output y for those of
// activation_saves_output and the input x for the others. NaN goes through; infinities give the limit.
#pragma once
#include "kernels/activation_args.h"
#include "kernels/vmath.h"
#include "kernels/walk.h"

namespace skipway {
namespace SW_ISA {

#define SW_LANES(T)                 \
  using V = typename Lanes<T>::vec; \
  using A = typename Lanes<T>::scalar;

// x within [-1000, 1000]: e^-1000 is 0 in every dtype, and 1000 * 0 is 0 where infinity * 0 would be NaN.
template <class V>
SW_INLINE V finite_low(V x) {
  return at_least(x, V{} - 1000);
}
template <class V>
SW_INLINE V finite(V x) {
  return at_most(finite_low(x), V{} + 1000);
}

template <class T>
struct IdentityOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const { return x; }
  SW_INLINE V grad(V g, V) const { return g; }
};

// max(x, 0)
template <class T>
struct ReluOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const { return x < 0 ? V{} : x; }
  SW_INLINE V grad(V g, V y) const { return y <= 0 ? V{} : g; }
};

// max(-x, 0), the second half of CReLU
template <class T>
struct NegReluOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const { return x > 0 ? V{} : -x; }
  SW_INLINE V grad(V g, V x) const { return x >= 0 ? V{} : -g; }
};

// x > 0 ? x : a x
template <class T>
struct LeakyReluOf {
  SW_LANES(T)
  A a;
  SW_INLINE V value(V x) const { return x > 0 ? x : x * a; }
  SW_INLINE V grad(V g, V s) const { return s > 0 ? g : g * a; }
};

// x > 0 ? b x : a b (e^(c x) - 1): ELU with b = c = 1, SELU with c = 1, CELU with b = 1 and c = 1 / a
template <class T>
struct EluOf {
  SW_LANES(T)
  A a, b, c;
  SW_INLINE V value(V x) const { return x > 0 ? x * b : vexpm1(x * c) * (a * b); }
  SW_INLINE V grad(V g, V x) const { return x > 0 ? g * b : g * vexp(x * c) * (a * b * c); }
};

// x Phi(x), Phi the normal distribution's; (x Phi)' = Phi + x phi. x Phi(x) is also max(x, 0) - |x| Phi(-|x|).
template <class T>
struct GeluOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const {
    if constexpr (dtype_of<T> == DType::BFloat16) {  // not in grad, where two large terms may cancel
      const V a = at_most(vabs(x), V{} + 15);
      return at_least(x, V{}) - a * short_normal_tail(a);
    } else {
      return finite_low(x) * vnormal(x).cdf;
    }
  }
  SW_INLINE V grad(V g, V x) const {
    const auto n = vnormal(x);
    return g * (n.cdf + finite(x) * n.pdf);
  }
};

// x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
template <class T>
struct GeluTanhOf {
  SW_LANES(T)
  static constexpr A k = A(1.59576912160573071176), k3 = A(1.59576912160573071176 * 0.044715);  // twice sqrt(2 / pi)
  SW_INLINE V value(V x) const {
    const V z = finite(x);
    return finite_low(x) * vsigmoid(z * (k + k3 * z * z));
  }
  SW_INLINE V grad(V g, V x) const {
    const V z = finite(x), s = vsigmoid(z * (k + k3 * z * z));
    return g * (s + z * s * (1 - s) * (k + 3 * k3 * z * z));
  }
};

// log(1 + e^(a x)) / a, x itself where a x > b
template <class T>
struct SoftplusOf {
  SW_LANES(T)
  A a, b;
  SW_INLINE V value(V x) const { return x * a > b ? x : vsoftplus(x * a) / a; }
  SW_INLINE V grad(V g, V x) const { return x * a > b ? g : g * vsigmoid(x * a); }
};

// x sigmoid(x)
template <class T>
struct SiluOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const { return finite_low(x) * vsigmoid(x); }
  SW_INLINE V grad(V g, V x) const {
    const V s = vsigmoid(x);
    return g * s * (1 + finite(x) * (1 - s));
  }
};

// x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2); the slope is n / (n + 2) + 4 x e^x (e^x + 1) / (n + 2)^2
template <class T>
struct MishOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const {
    const V e = vexp(x > 20 ? V{} + 20 : x), n = e * (e + 2);
    return finite_low(x) * (n / (n + 2));
  }
  SW_INLINE V grad(V g, V x) const {
    const V e = vexp(x > 20 ? V{} + 20 : x), n = e * (e + 2), d = n + 2;
    const V bend = x > 20 ? V{} : 4 * finite(x) * e * (e + 1) / (d * d);
    return g * (n / d + bend);
  }
};

// min(max(x, a), b)
template <class T>
struct HardtanhOf {
  SW_LANES(T)
  A a, b;
  SW_INLINE V value(V x) const { return x < a ? V{} + a : (x > b ? V{} + b : x); }
  SW_INLINE V grad(V g, V y) const { return (y <= a) | (y >= b) ? V{} : g; }
};

// x min(max(x + 3, 0), 6) / 6
template <class T>
struct HardswishOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const { return x <= -3 ? V{} : (x >= 3 ? x : x * (x + 3) / 6); }
  SW_INLINE V grad(V g, V x) const { return x <= -3 ? V{} : (x >= 3 ? g : g * (x / 3 + A(0.5))); }
};

// min(max(x + 3, 0), 6) / 6
template <class T>
struct HardsigmoidOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const { return x <= -3 ? V{} : (x >= 3 ? V{} + 1 : (x + 3) / 6); }
  SW_INLINE V grad(V g, V x) const { return (x <= -3) | (x >= 3) ? V{} : g / 6; }
};

// x / (1 + |x|)
template <class T>
struct SoftsignOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const {
    const V limit = x > 0 ? V{} + 1 : V{} - 1;
    return vabs(x) == A(__builtin_inf()) ? limit : x / (1 + vabs(x));
  }
  SW_INLINE V grad(V g, V x) const {
    const V d = 1 + vabs(x);
    return g / d / d;
  }
};

// log sigmoid(x) = -log(1 + e^-x)
template <class T>
struct LogSigmoidOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const { return -vsoftplus(-x); }
  SW_INLINE V grad(V g, V x) const { return g * vsigmoid(-x); }
};

// x - tanh(x)
template <class T>
struct TanhshrinkOf {
  SW_LANES(T)
  SW_INLINE V value(V x) const { return x - vtanh(x); }
  SW_INLINE V grad(V g, V x) const {
    const V t = vtanh(x);
    return g * t * t;
  }
};

// x moved by a towards 0, and 0 within [-a, a]
template <class T>
struct SoftshrinkOf {
  SW_LANES(T)
  A a;
  SW_INLINE V value(V x) const { return x > a ? x - a : (x < -a ? x + a : (x != x ? x : V{})); }
  SW_INLINE V grad(V g, V x) const { return vabs(x) <= a ? V{} : g; }
};

// 0 within [-a, a], x outside
template <class T>
struct HardshrinkOf {
  SW_LANES(T)
  A a;
  SW_INLINE V value(V x) const { return vabs(x) <= a ? V{} : x; }
  SW_INLINE V grad(V g, V x) const { return vabs(x) <= a ? V{} : g; }
};

// x > a ? x : b
template <class T>
struct ThresholdOf {
  SW_LANES(T)
  A a, b;
  SW_INLINE V value(V x) const { return x <= a ? V{} + b : x; }
  SW_INLINE V grad(V g, V x) const { return x <= a ? V{} : g; }
};

#undef SW_LANES

// run(functor) with the functor of T for f.
template <class T, class F>
SW_INLINE void with_activation(Activation f, const ActivationParams& p, const F& run) {
  using A = typename Lanes<T>::scalar;
  const A a = A(p.a), b = A(p.b), c = A(p.c);
  switch (f) {
    case Activation::Identity:
      return run(IdentityOf<T>{});
    case Activation::Relu:
      return run(ReluOf<T>{});
    case Activation::NegRelu:
      return run(NegReluOf<T>{});
    case Activation::LeakyRelu:
      return run(LeakyReluOf<T>{a});
    case Activation::Elu:
      return run(EluOf<T>{a, b, c});
    case Activation::Gelu:
      return run(GeluOf<T>{});
    case Activation::GeluTanh:
      return run(GeluTanhOf<T>{});
    case Activation::Softplus:
      return run(SoftplusOf<T>{a, b});
    case Activation::Silu:
      return run(SiluOf<T>{});
    case Activation::Mish:
      return run(MishOf<T>{});
    case Activation::Hardtanh:
      return run(HardtanhOf<T>{a, b});
    case Activation::Hardswish:
      return run(HardswishOf<T>{});
    case Activation::Hardsigmoid:
      return run(HardsigmoidOf<T>{});
    case Activation::Softsign:
      return run(SoftsignOf<T>{});
    case Activation::LogSigmoid:
      return run(LogSigmoidOf<T>{});
    case Activation::Tanhshrink:
      return run(TanhshrinkOf<T>{});
    case Activation::Softshrink:
      return run(SoftshrinkOf<T>{a});
    case Activation::Hardshrink:
      return run(HardshrinkOf<T>{a});
    case Activation::Threshold:
      return run(ThresholdOf<T>{a, b});
  }
}

}  // namespace SW_ISA
}  // namespace skipway
