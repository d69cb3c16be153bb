// Memory-bound: one read and one write forward, two (or three, when adding to a gradient) reads and one write backward,
// in packs of 128 bits; mixed dtypes and odd strides element by element.
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/elementwise.cuh"
#include "ops/activation.h"

namespace skipway::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    activation_packs(int64_t n, Activation f, Numbers<math_type<T>> p, const __grid_constant__ DeviceWalk out,
                     const __grid_constant__ DeviceWalk in) {
  constexpr int N = kPack<T>;
  for_runs<N>(n, [&](int64_t i, int count) {
    math_type<T> x[N], y[N];
    load_run<T>(in, i, count, x);
    activate(f, p, y, x);
    store_run<T>(out, i, count, y);
  });
}

template <class C>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    activation_any(int64_t n, Activation f, Numbers<C> p, const __grid_constant__ DeviceWalk out,
                   const __grid_constant__ DeviceWalk in) {
  for_runs<1>(n, [&](int64_t i, int) {
    const C x[1] = {in.read<C>(i)};
    C y[1];
    activate(f, p, y, x);
    out.write<C>(i, y[0]);
  });
}

template <class T>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    activation_grad_packs(int64_t n, Activation f, Numbers<math_type<T>> p, GradMode mode,
                          const __grid_constant__ DeviceWalk dx, const __grid_constant__ DeviceWalk dy,
                          const __grid_constant__ DeviceWalk saved) {
  constexpr int N = kPack<T>;
  for_runs<N>(n, [&](int64_t i, int count) {
    math_type<T> g[N], s[N], d[N];
    load_run<T>(dy, i, count, g);
    load_run<T>(saved, i, count, s);
    activate_grad(f, p, d, g, s);
    if (mode == GradMode::Add) {
      load_run<T>(dx, i, count, s);
#pragma unroll
      for (int k = 0; k < N; ++k) d[k] += s[k];
    }
    store_run<T>(dx, i, count, d);
  });
}

template <class C>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    activation_grad_any(int64_t n, Activation f, Numbers<C> p, GradMode mode, const __grid_constant__ DeviceWalk dx,
                        const __grid_constant__ DeviceWalk dy, const __grid_constant__ DeviceWalk saved) {
  for_runs<1>(n, [&](int64_t i, int) {
    const C g[1] = {dy.read<C>(i)}, s[1] = {saved.read<C>(i)};
    C d[1];
    activate_grad(f, p, d, g, s);
    dx.write<C>(i, mode == GradMode::Add ? d[0] + dx.read<C>(i) : d[0]);
  });
}

// g is x itself in the forward pass.
template <class T>
__device__ __forceinline__ T prelu_of(PreluPass pass, T g, T x, T w) {
  return pass == PreluPass::GradWeight ? (x > 0 ? T(0) : g * x) : x > 0 ? g : g * w;
}

template <class T>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    prelu_packs(int64_t n, PreluPass pass, const __grid_constant__ DeviceWalk out, const __grid_constant__ DeviceWalk g,
                const __grid_constant__ DeviceWalk x, const __grid_constant__ DeviceWalk w) {
  constexpr int N = kPack<T>;
  for_runs<N>(n, [&](int64_t i, int count) {
    math_type<T> dy[N], in[N], weight[N], o[N];
    load_run<T>(g, i, count, dy);
    load_run<T>(x, i, count, in);
    load_run<T>(w, i, count, weight);
#pragma unroll
    for (int k = 0; k < N; ++k) o[k] = prelu_of(pass, dy[k], in[k], weight[k]);
    store_run<T>(out, i, count, o);
  });
}

template <class C>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    prelu_any(int64_t n, PreluPass pass, const __grid_constant__ DeviceWalk out, const __grid_constant__ DeviceWalk g,
              const __grid_constant__ DeviceWalk x, const __grid_constant__ DeviceWalk w) {
  for_runs<1>(n, [&](int64_t i, int) { out.write<C>(i, prelu_of(pass, g.read<C>(i), x.read<C>(i), w.read<C>(i))); });
}

}  // namespace

SW_CUDA_KERNEL(activation_forward, a, stream) {
  const DType d = a.y.dtype;
  const int pack = int(16 / size_of(d));
  const DeviceWalk y(a.y, a.numel), x(a.x, a.numel);
  if (walks_in_packs(a.y, d, pack, true) && walks_in_packs(a.x, d, pack)) {
    return dispatch_cuda(d, [&]<class T>(Type<T>) {
      rt::launch(activation_packs<T>, element_grid(a.numel, pack, stream), a.numel, a.f,
                 numbers_of<math_type<T>>(a.params), y, x);
    });
  }
  const auto at = element_grid(a.numel, 1, stream);
  if (a.compute == DType::Float64) {
    rt::launch(activation_any<double>, at, a.numel, a.f, numbers_of<double>(a.params), y, x);
  } else {
    rt::launch(activation_any<float>, at, a.numel, a.f, numbers_of<float>(a.params), y, x);
  }
}

SW_CUDA_KERNEL(activation_backward, a, stream) {
  const DType d = a.dx.dtype;
  const int pack = int(16 / size_of(d));
  const DeviceWalk dx(a.dx, a.numel), dy(a.dy, a.numel), saved(a.saved, a.numel);
  if (walks_in_packs(a.dx, d, pack, true) && walks_in_packs(a.dy, d, pack) && walks_in_packs(a.saved, d, pack)) {
    return dispatch_cuda(d, [&]<class T>(Type<T>) {
      rt::launch(activation_grad_packs<T>, element_grid(a.numel, pack, stream), a.numel, a.f,
                 numbers_of<math_type<T>>(a.params), a.mode, dx, dy, saved);
    });
  }
  const auto at = element_grid(a.numel, 1, stream);
  if (a.compute == DType::Float64) {
    rt::launch(activation_grad_any<double>, at, a.numel, a.f, numbers_of<double>(a.params), a.mode, dx, dy, saved);
  } else {
    rt::launch(activation_grad_any<float>, at, a.numel, a.f, numbers_of<float>(a.params), a.mode, dx, dy, saved);
  }
}

SW_CUDA_KERNEL(activation_prelu, a, stream) {
  const DType d = a.out.dtype;
  const int pack = int(16 / size_of(d));
  const DeviceWalk out(a.out, a.numel), g(a.g, a.numel), x(a.x, a.numel), w(a.w, a.numel);
  if (walks_in_packs(a.out, d, pack, true) && walks_in_packs(a.g, d, pack) && walks_in_packs(a.x, d, pack) &&
      walks_in_packs(a.w, d, pack)) {
    return dispatch_cuda(d, [&]<class T>(Type<T>) {
      rt::launch(prelu_packs<T>, element_grid(a.numel, pack, stream), a.numel, a.pass, out, g, x, w);
    });
  }
  const auto any = a.compute == DType::Float64 ? prelu_any<double> : prelu_any<float>;
  rt::launch(any, element_grid(a.numel, 1, stream), a.numel, a.pass, out, g, x, w);
}

}  // namespace skipway::cuda
