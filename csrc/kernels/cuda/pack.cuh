// Reading and writing several neighbouring elements with one instruction of up to 128 bits.
#pragma once
#include "kernels/cuda/launch.cuh"

namespace skipway::cuda {

// What elements are computed in: float for the 16-bit types.
template <class T>
struct math_of {
  using type = T;
};
template <>
struct math_of<bfloat16> {
  using type = float;
};
template <>
struct math_of<float16> {
  using type = float;
};
template <class T>
using math_type = typename math_of<T>::type;

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};
template <class T>
inline constexpr int kPack = 16 / int(sizeof(T));  // elements of 128 bits

template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <int N, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, N>& x) {
  *reinterpret_cast<Pack<T, N>*>(p) = x;
}

// May packs of N elements of T be read at p, rows of `cols` elements apart?
template <class T>
bool packs_at(const void* p, int64_t cols, int n = kPack<T>) {
  return p == nullptr || (reinterpret_cast<uintptr_t>(p) % (sizeof(T) * n) == 0 && cols % n == 0);
}

// f(first, count) over n elements: whole packs of N, one per thread and step, then the tail's elements one by one as
// count 1. Launch with grid_for(ceil_div(n, N), blockDim.x, stream).
template <int N, class F>
__device__ __forceinline__ void for_packs(int64_t n, const F& f) {
  const int64_t packs = n / N, stride = int64_t(gridDim.x) * blockDim.x;
  const int64_t first = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  for (int64_t i = first; i < packs; i += stride) f(i * N, Type<char[N]>{});
  if constexpr (N > 1) {
    for (int64_t i = packs * N + first; i < n; i += stride) f(i, Type<char[1]>{});
  }
}

}  // namespace skipway::cuda
