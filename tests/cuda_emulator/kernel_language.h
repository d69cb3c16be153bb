// The CUDA kernel language for a host compiler: included in place of <cuda_runtime.h> (see README.md).
#pragma once
#include <cstring>
#include <tuple>
#include <type_traits>

#include "cuda_emulator/atomics.h"
#include "cuda_emulator/interface.h"
#include "cuda_emulator/intrinsics.h"
#include "cuda_emulator/runtime_api.h"
#include "cuda_emulator/vector_types.h"
#include "cuda_emulator/warp_functions.h"

// The tag becomes part of a kernel's symbol, so that a list of the kernels in a binary can be made from its symbols.
#define __global__ __attribute__((noipa, abi_tag("cuda_kernel")))
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ shared memory comes from rt::static_shared or rt::dyn_shared

#define threadIdx (::emulator::thread_index())
#define blockIdx (::emulator::block_index())
#define blockDim (::emulator::block_dimensions())
#define gridDim (::emulator::grid_dimensions())
constexpr int warpSize = 32;

EMULATOR_INLINE void __syncthreads() { emulator::sync_block(emulator::BlockVote::None, 0); }
EMULATOR_INLINE int __syncthreads_count(int p) { return emulator::sync_block(emulator::BlockVote::Count, p); }
EMULATOR_INLINE int __syncthreads_and(int p) { return emulator::sync_block(emulator::BlockVote::And, p); }
EMULATOR_INLINE int __syncthreads_or(int p) { return emulator::sync_block(emulator::BlockVote::Or, p); }
EMULATOR_INLINE void __syncwarp(unsigned mask = 0xffffffffu) { emulator::sync_warp(mask); }
EMULATOR_INLINE void __threadfence() { emulator::fence(); }
EMULATOR_INLINE void __threadfence_system() { emulator::fence(); }
EMULATOR_INLINE void __threadfence_block() { asm volatile("" ::: "memory"); }  // orders nothing without a barrier

namespace rt {

template <class T>
EMULATOR_INLINE T& dyn_shared() {
  return *static_cast<T*>(emulator::dynamic_shared(sizeof(T), alignof(T)));
}
template <class T>
EMULATOR_INLINE T& static_shared() {
  return *static_cast<T*>(emulator::static_shared(&emulator::static_shared_key<T>, sizeof(T), alignof(T)));
}

struct At {
  dim3 grid, block;
  size_t smem = 0;
  void* stream = nullptr;
};

// Parameters lie one behind the other, each at its own alignment.
template <class... P>
constexpr size_t parameters_bytes() {
  size_t bytes = 0;
  ((bytes = (bytes + alignof(P) - 1) / alignof(P) * alignof(P) + sizeof(P)), ...);
  return bytes;
}

template <class... P, class... A>
EMULATOR_INLINE void launch(void (*kernel)(P...), const At& at, A&&... arguments) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<std::decay_t<P>...> arguments;
  };
  Call call{kernel, {static_cast<P>(arguments)...}};
  emulator::launch({reinterpret_cast<const void*>(kernel), at.grid, at.block, at.smem, at.stream,
                    [](void* p) { std::apply(static_cast<Call*>(p)->kernel, static_cast<Call*>(p)->arguments); }, &call,
                    sizeof call, parameters_bytes<std::decay_t<P>...>()});
}

}  // namespace rt
