// Matrix products: cuBLASLt for float32, bfloat16 and float16, where it takes the strides; the tiles of tile.cuh for
// float64, integers and the rest. Bound by arithmetic: 2 m n k operations.
#include <type_traits>

#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/tile.cuh"
#include "ops/matmul.h"
#include "ops/matmul_cublas.cuh"

namespace skipway::cuda {
namespace {

// What elements are multiplied and summed in; integers modulo 2^64, of which a store keeps the low bits.
template <class T>
using product_type = std::conditional_t<std::is_integral_v<T>, uint64_t, math_type<T>>;

template <class T, bool kContiguousK>
struct MatrixOperand {
  using A = product_type<T>;
  using Fixed = const T*;
  using Moving = int64_t;
  static constexpr bool kAlongK = kContiguousK;
  const T* data;
  int64_t stride, k_stride;
  __device__ __forceinline__ Fixed at(int64_t i) const { return data + i * stride; }
  __device__ __forceinline__ Moving step(int64_t k) const { return k * k_stride; }
  __device__ __forceinline__ A value(const Fixed& p, const Moving& k) const { return A(p[k]); }
};

template <class T, bool kAlongA, bool kAlongB>
__global__ void __launch_bounds__(kTileThreads) multiply(GemmArgs g) {
  using A = product_type<T>;
  const int64_t rows = (g.m + kTileM - 1) / kTileM, columns = (g.n + kTileN - 1) / kTileN;
  int64_t batches = 1;
  for (int d = 0; d < g.batch_ndim; ++d) batches *= g.batch[d];
  for (int64_t task = blockIdx.x; task < batches * rows * columns; task += gridDim.x) {
    const int64_t n0 = task % columns * kTileN, m0 = task / columns % rows * kTileM, batch = task / columns / rows;
    int64_t rest = batch, a_at = 0, b_at = 0;
    for (int d = g.batch_ndim - 1; d >= 0; --d) {
      a_at += rest % g.batch[d] * g.a_batch[d];
      b_at += rest % g.batch[d] * g.b_batch[d];
      rest /= g.batch[d];
    }
    const MatrixOperand<T, kAlongA> a{static_cast<const T*>(g.a) + a_at, g.a_strides[0], g.a_strides[1]};
    const MatrixOperand<T, kAlongB> b{static_cast<const T*>(g.b) + b_at, g.b_strides[1], g.b_strides[0]};
    const T* bias = static_cast<const T*>(g.bias);
    T* c = static_cast<T*>(g.c) + batch * g.m * g.n;
    tile_product<A>(a, b, m0, g.m, n0, g.n, 0, g.k, [&](int64_t m, int64_t n, A sum) {
      const A z = bias ? sum + A(bias[n]) : sum;
      if constexpr (std::is_integral_v<T>)
        c[m * g.n + n] = T(z);
      else
        c[m * g.n + n] = T(fused_act(g.activation, z));
    });
  }
}

template <class T>
void multiply_tiles(const GemmArgs& g, const Stream& stream) {
  int64_t tiles = ceil_div(g.m, kTileM) * ceil_div(g.n, kTileN);
  for (int d = 0; d < g.batch_ndim; ++d) tiles *= g.batch[d];
  if (tiles == 0) return;
  const bool along_a = g.a_strides[1] == 1, along_b = g.b_strides[0] == 1 && g.b_strides[1] != 1;
  rt::launch(along_a ? (along_b ? multiply<T, true, true> : multiply<T, true, false>)
                     : (along_b ? multiply<T, false, true> : multiply<T, false, false>),
             {grid_for(tiles, 1, stream), kTileThreads, 0, stream.handle}, g);
}

// c = act(c), where a library's product could not apply it. Bound by memory: c is read and written once.
template <class T>
__global__ void __launch_bounds__(256) activate_in_place(T* c, int64_t count, FusedAct act) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride)
    c[i] = T(fused_act(act, math_type<T>(c[i])));
}

void activate_result(const GemmArgs& g, const Stream& stream) {
  int64_t count = g.m * g.n;
  for (int d = 0; d < g.batch_ndim; ++d) count *= g.batch[d];
  if (count == 0) return;
  dispatch_cuda(g.dtype, [&]<class T>(Type<T>) {
    if constexpr (!std::is_same_v<T, double>)
      rt::launch(activate_in_place<T>, {grid_for(count, 256, stream), 256, 0, stream.handle}, static_cast<T*>(g.c),
                 count, g.activation);
  });
}

}  // namespace

SW_CUDA_KERNEL(gemm, g, stream) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k > 0) {
    const CublasResult done = multiply_cublas(g, stream);
    if (done == CublasResult::WithoutActivation) activate_result(g, stream);
    if (done != CublasResult::None) return;
  }
  if (is_floating(g.dtype)) {
    dispatch_cuda(g.dtype, [&]<class T>(Type<T>) { multiply_tiles<T>(g, stream); });
  } else if (size_of(g.dtype) == 8) {
    multiply_tiles<uint64_t>(g, stream);
  } else if (size_of(g.dtype) == 4) {
    multiply_tiles<uint32_t>(g, stream);
  } else {
    multiply_tiles<uint8_t>(g, stream);
  }
}

}  // namespace skipway::cuda
