// Mathematics by overloads for float and double: the CUDA library's functions, and what it lacks.
#pragma once
#include "kernels/cuda/launch.cuh"

namespace skipway::cuda {

#define SW_DEVICE_MATH(name)                                                 \
  __device__ __forceinline__ float d##name(float x) { return ::name##f(x); } \
  __device__ __forceinline__ double d##name(double x) { return ::name(x); }
SW_DEVICE_MATH(exp)
SW_DEVICE_MATH(exp2)
SW_DEVICE_MATH(expm1)
SW_DEVICE_MATH(log)
SW_DEVICE_MATH(log2)
SW_DEVICE_MATH(log10)
SW_DEVICE_MATH(log1p)
SW_DEVICE_MATH(sqrt)
SW_DEVICE_MATH(sin)
SW_DEVICE_MATH(cos)
SW_DEVICE_MATH(tan)
SW_DEVICE_MATH(asin)
SW_DEVICE_MATH(acos)
SW_DEVICE_MATH(atan)
SW_DEVICE_MATH(sinh)
SW_DEVICE_MATH(cosh)
SW_DEVICE_MATH(tanh)
SW_DEVICE_MATH(asinh)
SW_DEVICE_MATH(acosh)
SW_DEVICE_MATH(atanh)
SW_DEVICE_MATH(erf)
SW_DEVICE_MATH(erfc)
SW_DEVICE_MATH(fabs)
SW_DEVICE_MATH(floor)
SW_DEVICE_MATH(ceil)
SW_DEVICE_MATH(trunc)
SW_DEVICE_MATH(rint)
#undef SW_DEVICE_MATH
#define SW_DEVICE_MATH(name)                                                             \
  __device__ __forceinline__ float d##name(float x, float y) { return ::name##f(x, y); } \
  __device__ __forceinline__ double d##name(double x, double y) { return ::name(x, y); }
SW_DEVICE_MATH(pow)
SW_DEVICE_MATH(fmod)
SW_DEVICE_MATH(atan2)
SW_DEVICE_MATH(hypot)
SW_DEVICE_MATH(copysign)
#undef SW_DEVICE_MATH

// 1 / (1 + e^-x), without overflow: z = e^-|x|, 1 / (1 + z) or z / (1 + z).
template <class T>
__device__ __forceinline__ T dsigmoid(T x) {
  const T z = dexp(-dfabs(x));
  return (x < 0 ? z : T(1)) / (z + 1);
}
// log(1 + e^x) = max(x, 0) + log1p(e^-|x|)
template <class T>
__device__ __forceinline__ T dsoftplus(T x) {
  return (x < 0 ? T(0) : x) + dlog1p(dexp(-dfabs(x)));
}

// The normal distribution: Phi(x) = erfc(-x / sqrt(2)) / 2, accurate in the left tail, and phi(x).
template <class T>
struct NormalAt {
  T cdf, pdf;
};
// With a = |x| / sqrt(2): erfc(a) = e^(-a^2) t P(t), t = 1 / (1 + 0.4 a), P a least-squares Chebyshev fit over
// 0 <= a <= 10.3 (relative error 8e-8): one exponential for both.
__device__ __forceinline__ NormalAt<float> dnormal(float x) {
  const float a = fabsf(x) > 15.0f ? 15.0f : fabsf(x);
  const float e = expf(-0.5f * a * a), t = 1.0f / (a * (0.707106781f * 0.4f) + 1.0f);
  float p = 0.0425013635f;
  p = p * t - 0.146310101f;
  p = p * t + 0.0961802538f;
  p = p * t + 0.0742585054f;
  p = p * t + 0.0890351311f;
  p = p * t + 0.189530872f;
  p = p * t + 0.20285035f;
  p = p * t + 0.226312004f;
  p = p * t + 0.225641689f;
  const float tail = 0.5f * e * t * p;
  return {x != x ? x : x < 0.0f ? tail : 1.0f - tail, e * 0.398942280f};
}
__device__ __forceinline__ NormalAt<double> dnormal(double x) {
  return {0.5 * ::erfc(-x * 0.70710678118654752440), 0.39894228040143267794 * ::exp(-0.5 * x * x)};
}

}  // namespace skipway::cuda
