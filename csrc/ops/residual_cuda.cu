// Memory-bound, one pass: 2 reads + 1 write forward, up to 3 reads + 2 writes backward.
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/grad.cuh"
#include "ops/residual.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    residual_add(int64_t n, FusedAct act, math_type<T> scale, const T* x, const T* branch, T* y) {
  for_packs<N>(n, [&]<int count>(int64_t i, Type<char[count]>) {
    const auto a = load_pack<count>(x + i), b = load_pack<count>(branch + i);
    Pack<T, count> out;
#pragma unroll
    for (int k = 0; k < count; ++k) out.v[k] = T(fused_act(act, math_type<T>(a.v[k]) + scale * math_type<T>(b.v[k])));
    store_pack(y + i, out);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 6)
    residual_add_grad(int64_t n, FusedAct act, math_type<T> scale, const T* dy, const T* y, T* dx, GradMode dx_mode,
                      T* dbranch, GradMode dbranch_mode) {
  using A = math_type<T>;
  for_packs<N>(n, [&]<int count>(int64_t i, Type<char[count]>) {
    const auto g = load_pack<count>(dy + i);
    A dz[count], scaled[count];
    Pack<T, count> out = g;
    if (y) out = load_pack<count>(y + i);
#pragma unroll
    for (int k = 0; k < count; ++k) {
      dz[k] = fused_act_grad(act, A(g.v[k]), A(out.v[k]));
      scaled[k] = scale * dz[k];
    }
    store_grad(dx + i, dx_mode, dz);
    store_grad(dbranch + i, dbranch_mode, scaled);
  });
}

}  // namespace

SW_CUDA_KERNEL(residual_add_forward, a, stream) {
  if (a.n == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const auto *x = static_cast<const T*>(a.x), *branch = static_cast<const T*>(a.branch);
    auto* y = static_cast<T*>(a.y);
    const bool packs = packs_at<T>(x, 0) && packs_at<T>(branch, 0) && packs_at<T>(y, 0);
    const int64_t work = packs ? ceil_div(a.n, kPack<T>) : a.n;
    rt::launch(packs ? residual_add<T, kPack<T>> : residual_add<T, 1>,
               {grid_for(work, kThreads, stream), kThreads, 0, stream.handle}, a.n, a.activation, math_type<T>(a.scale),
               x, branch, y);
  });
}

SW_CUDA_KERNEL(residual_add_backward, a, stream) {
  if (a.n == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const auto *dy = static_cast<const T*>(a.dy), *y = static_cast<const T*>(a.y);
    auto *dx = static_cast<T*>(a.dx.data), *dbranch = static_cast<T*>(a.dbranch.data);
    const bool packs = packs_at<T>(dy, 0) && packs_at<T>(y, 0) && packs_at<T>(dx, 0) && packs_at<T>(dbranch, 0);
    const int64_t work = packs ? ceil_div(a.n, kPack<T>) : a.n;
    rt::launch(packs ? residual_add_grad<T, kPack<T>> : residual_add_grad<T, 1>,
               {grid_for(work, kThreads, stream), kThreads, 0, stream.handle}, a.n, a.activation, math_type<T>(a.scale),
               dy, y, dx, a.dx.mode, dbranch, a.dbranch.mode);
  });
}

}  // namespace skipway::cuda
