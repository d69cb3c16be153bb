// Local response normalisation. Formulas: ops/local_response_norm.h. A thread computes one element; its neighbours are
// in cache. Memory-bound for small windows: one read and one write forward; backward, the terms of the window sums are
// written and read once more.
#include "kernels/cuda/pack.cuh"
#include "ops/local_response_norm.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float power(float a, float b) { return powf(a, b); }
__device__ __forceinline__ double power(double a, double b) { return pow(a, b); }

struct Window {
  int64_t first, last;
  __device__ __forceinline__ Window(int64_t c, int64_t before, int64_t after, int64_t channels)
      : first(c > before ? c - before : 0), last(c + after < channels ? c + after : channels - 1) {}
};

// s of channel c of the row at x, in A.
template <class A, class T>
__device__ __forceinline__ A window_scale(const LocalResponseArgs& a, const T* x, int64_t c) {
  const Window w(c, a.size / 2, (a.size - 1) / 2, a.channels);
  A sum = 0;
  for (int64_t j = w.first; j <= w.last; ++j) sum += A(x[j]) * A(x[j]);
  return A(a.k) + A(a.alpha / double(a.size)) * sum;
}

// value * s^exponent, in float64 where s leaves float32's range.
template <class T>
__device__ __forceinline__ double scaled(const LocalResponseArgs& a, const T* x, int64_t c, double value,
                                         double exponent) {
  using A = math_type<T>;
  const A s = window_scale<A>(a, x, c);
  if (sizeof(A) == sizeof(double) || (s > A(1e-20) && s < A(1e18))) return double(A(value) * power(s, A(exponent)));
  return value * pow(window_scale<double>(a, x, c), exponent);
}

template <class T>
__global__ void __launch_bounds__(kThreads) local_response(LocalResponseArgs a) {
  const int64_t n = a.rows * a.channels, stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    const int64_t c = i % a.channels;
    const T* x = static_cast<const T*>(a.x) + (i - c);
    static_cast<T*>(a.y)[i] = T(math_type<T>(scaled(a, x, c, double(x[c]), -a.beta)));
  }
}

// terms = dy * x * s^(-beta - 1)
template <class T>
__global__ void __launch_bounds__(kThreads) local_response_terms(LocalResponseArgs a, math_type<T>* terms) {
  const int64_t n = a.rows * a.channels, stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    const int64_t c = i % a.channels;
    const T* x = static_cast<const T*>(a.x) + (i - c);
    const double dy = double(static_cast<const T*>(a.dy)[i]);
    terms[i] = math_type<T>(scaled(a, x, c, dy * double(x[c]), -a.beta - 1));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) local_response_grad(LocalResponseArgs a, const math_type<T>* terms) {
  using A = math_type<T>;
  const int64_t n = a.rows * a.channels, stride = int64_t(gridDim.x) * kThreads;
  T* dx = static_cast<T*>(a.dx.data);
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    const int64_t c = i % a.channels;
    const T* x = static_cast<const T*>(a.x) + (i - c);
    const Window w(c, (a.size - 1) / 2, a.size / 2, a.channels);  // the windows that c is in: mirrored
    A sum = 0;
    for (int64_t j = w.first; j <= w.last; ++j) sum += terms[i - c + j];
    const double own = scaled(a, x, c, double(static_cast<const T*>(a.dy)[i]), -a.beta);
    const double d = own - 2 * a.alpha * a.beta / double(a.size) * double(x[c]) * double(sum);
    dx[i] = T(A(a.dx.mode == GradMode::Add ? double(dx[i]) + d : d));
  }
}

}  // namespace

SW_CUDA_KERNEL(local_response_forward, a, stream) {
  const int64_t n = a.rows * a.channels;
  if (n == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    rt::launch(local_response<T>, {grid_for(n, kThreads, stream), kThreads, 0, stream.handle}, a);
  });
}

SW_CUDA_KERNEL(local_response_backward, a, stream) {
  const int64_t n = a.rows * a.channels;
  if (n == 0 || a.dx.mode == GradMode::Skip) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const rt::At at{grid_for(n, kThreads, stream), kThreads, 0, stream.handle};
    const Workspace terms(stream, size_t(n) * sizeof(math_type<T>));
    rt::launch(local_response_terms<T>, at, a, terms.as<math_type<T>>());
    rt::launch(local_response_grad<T>, at, a, terms.as<math_type<T>>());
  });
}

}  // namespace skipway::cuda
