// The activation functions of kernels/activation_args.h, one element: value(x), and grad(g, s) = g f'(x), where s is
// the output y for those of activation_saves_output and the input x for the others. NaN goes through; infinities give
// the limit. The formulas stand in kernels/activations.h.
#pragma once
#include "kernels/activation_args.h"
#include "kernels/cuda/math.cuh"

namespace skipway::cuda {

// x within [-1000, 1000]: e^-1000 is 0 in every dtype, and 1000 * 0 is 0 where infinity * 0 would be NaN.
template <class T>
__device__ __forceinline__ T finite_low(T x) {
  return x < -1000 ? T(-1000) : x;
}
template <class T>
__device__ __forceinline__ T finite(T x) {
  return x > 1000 ? T(1000) : finite_low(x);
}

template <class T>
struct Numbers {
  T a, b, c;
};
template <class T>
Numbers<T> numbers_of(const ActivationParams& p) {
  return {T(p.a), T(p.b), T(p.c)};
}

template <class T>
inline constexpr T kGeluTanh = T(1.59576912160573071176);  // twice sqrt(2 / pi)
template <class T>
inline constexpr T kGeluTanh3 = T(1.59576912160573071176 * 0.044715);

template <class T, int N, class F>
__device__ __forceinline__ void each_value(T (&y)[N], const T (&x)[N], const F& f) {
#pragma unroll
  for (int k = 0; k < N; ++k) y[k] = f(x[k]);
}
template <class T, int N, class F>
__device__ __forceinline__ void each_grad(T (&dx)[N], const T (&g)[N], const T (&s)[N], const F& f) {
#pragma unroll
  for (int k = 0; k < N; ++k) dx[k] = f(g[k], s[k]);
}

template <class T, int N>
__device__ __forceinline__ void activate(Activation f, const Numbers<T>& p, T (&y)[N], const T (&x)[N]) {
  const T a = p.a, b = p.b, c = p.c;
  switch (f) {
    case Activation::Identity:
      return each_value(y, x, [](T x) { return x; });
    case Activation::Relu:
      return each_value(y, x, [](T x) { return x < 0 ? T(0) : x; });
    case Activation::NegRelu:
      return each_value(y, x, [](T x) { return x > 0 ? T(0) : -x; });
    case Activation::LeakyRelu:
      return each_value(y, x, [=](T x) { return x > 0 ? x : x * a; });
    case Activation::Elu:
      return each_value(y, x, [=](T x) { return x > 0 ? x * b : dexpm1(x * c) * (a * b); });
    case Activation::Gelu:
      return each_value(y, x, [](T x) { return finite_low(x) * dnormal(x).cdf; });
    case Activation::GeluTanh:
      return each_value(y, x, [](T x) {
        const T z = finite(x);
        return finite_low(x) * dsigmoid(z * (kGeluTanh<T> + kGeluTanh3<T> * z * z));
      });
    case Activation::Softplus:
      return each_value(y, x, [=](T x) { return x * a > b ? x : dsoftplus(x * a) / a; });
    case Activation::Silu:
      return each_value(y, x, [](T x) { return finite_low(x) * dsigmoid(x); });
    case Activation::Mish:
      return each_value(y, x, [](T x) {
        const T e = dexp(x > 20 ? T(20) : x), n = e * (e + 2);
        return finite_low(x) * (n / (n + 2));
      });
    case Activation::Hardtanh:
      return each_value(y, x, [=](T x) { return x < a ? a : x > b ? b : x; });
    case Activation::Hardswish:
      return each_value(y, x, [](T x) { return x <= -3 ? T(0) : x >= 3 ? x : x * (x + 3) / 6; });
    case Activation::Hardsigmoid:
      return each_value(y, x, [](T x) { return x <= -3 ? T(0) : x >= 3 ? T(1) : (x + 3) / 6; });
    case Activation::Softsign:
      return each_value(y, x, [](T x) {
        const T limit = x > 0 ? T(1) : T(-1);
        return dfabs(x) == T(INFINITY) ? limit : x / (1 + dfabs(x));
      });
    case Activation::LogSigmoid:
      return each_value(y, x, [](T x) { return -dsoftplus(-x); });
    case Activation::Tanhshrink:
      return each_value(y, x, [](T x) { return x - dtanh(x); });
    case Activation::Softshrink:
      return each_value(y, x, [=](T x) { return x > a ? x - a : x < -a ? x + a : x != x ? x : T(0); });
    case Activation::Hardshrink:
      return each_value(y, x, [=](T x) { return dfabs(x) <= a ? T(0) : x; });
    case Activation::Threshold:
      return each_value(y, x, [=](T x) { return x <= a ? b : x; });
  }
}

template <class T, int N>
__device__ __forceinline__ void activate_grad(Activation f, const Numbers<T>& p, T (&dx)[N], const T (&g)[N],
                                              const T (&s)[N]) {
  const T a = p.a, b = p.b, c = p.c;
  switch (f) {
    case Activation::Identity:
      return each_grad(dx, g, s, [](T g, T) { return g; });
    case Activation::Relu:
      return each_grad(dx, g, s, [](T g, T y) { return y <= 0 ? T(0) : g; });
    case Activation::NegRelu:
      return each_grad(dx, g, s, [](T g, T x) { return x >= 0 ? T(0) : -g; });
    case Activation::LeakyRelu:
      return each_grad(dx, g, s, [=](T g, T s) { return s > 0 ? g : g * a; });
    case Activation::Elu:
      return each_grad(dx, g, s, [=](T g, T x) { return x > 0 ? g * b : g * dexp(x * c) * (a * b * c); });
    case Activation::Gelu:
      return each_grad(dx, g, s, [](T g, T x) {
        const auto n = dnormal(x);
        return g * (n.cdf + finite(x) * n.pdf);
      });
    case Activation::GeluTanh:
      return each_grad(dx, g, s, [](T g, T x) {
        const T k = kGeluTanh<T>, k3 = kGeluTanh3<T>, z = finite(x), t = dsigmoid(z * (k + k3 * z * z));
        return g * (t + z * t * (1 - t) * (k + 3 * k3 * z * z));
      });
    case Activation::Softplus:
      return each_grad(dx, g, s, [=](T g, T x) { return x * a > b ? g : g * dsigmoid(x * a); });
    case Activation::Silu:
      return each_grad(dx, g, s, [](T g, T x) {
        const T t = dsigmoid(x);
        return g * t * (1 + finite(x) * (1 - t));
      });
    case Activation::Mish:
      return each_grad(dx, g, s, [](T g, T x) {
        const T e = dexp(x > 20 ? T(20) : x), n = e * (e + 2), d = n + 2;
        const T bend = x > 20 ? T(0) : 4 * finite(x) * e * (e + 1) / (d * d);
        return g * (n / d + bend);
      });
    case Activation::Hardtanh:
      return each_grad(dx, g, s, [=](T g, T y) { return y <= a || y >= b ? T(0) : g; });
    case Activation::Hardswish:
      return each_grad(dx, g, s, [](T g, T x) { return x <= -3 ? T(0) : x >= 3 ? g : g * (x / 3 + T(0.5)); });
    case Activation::Hardsigmoid:
      return each_grad(dx, g, s, [](T g, T x) { return x <= -3 || x >= 3 ? T(0) : g / 6; });
    case Activation::Softsign:
      return each_grad(dx, g, s, [](T g, T x) {
        const T d = 1 + dfabs(x);
        return g / d / d;
      });
    case Activation::LogSigmoid:
      return each_grad(dx, g, s, [](T g, T x) { return g * dsigmoid(-x); });
    case Activation::Tanhshrink:
      return each_grad(dx, g, s, [](T g, T x) {
        const T t = dtanh(x);
        return g * t * t;
      });
    case Activation::Softshrink:
    case Activation::Hardshrink:
      return each_grad(dx, g, s, [=](T g, T x) { return dfabs(x) <= a ? T(0) : g; });
    case Activation::Threshold:
      return each_grad(dx, g, s, [=](T g, T x) { return x <= a ? T(0) : g; });
  }
}

}  // namespace skipway::cuda
