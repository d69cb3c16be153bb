// The instructions of kernels/cuda/ptx_sm90.cuh, emulated.
#pragma once
#include <cstdint>

#include "cuda_emulator/interface.h"

namespace ptx {

using TensorMap = emulator::TensorMap;

inline bool make_tensor_map(TensorMap* map, const void* data, [[maybe_unused]] bool bfloat16, const TensorLayout& t) {
  *map = {static_cast<const char*>(data), t.dims, {}, {}, {}, {}};
  bool possible = t.dims >= 1 && t.dims <= kMostTensorDims && reinterpret_cast<uintptr_t>(data) % 16 == 0;
  for (int d = 0; d < t.dims; ++d) {
    map->size[d] = t.size[d], map->pitch[d] = d ? t.pitch[d] : 2, map->box[d] = t.box[d];
    possible = possible && t.size[d] >= 1 && t.size[d] <= uint64_t(1) << 32 && t.box[d] >= 1 && t.box[d] <= 256 &&
               (!d || (t.pitch[d] % 16 == 0 && t.pitch[d] < uint64_t(1) << 40));
  }
  return possible && t.box[0] * 2 <= 128;
}

EMULATOR_INLINE void mbarrier_init(uint64_t* barrier, int count) { emulator::mbarrier_init(barrier, count); }
EMULATOR_INLINE void mbarrier_arrive(uint64_t* barrier) { emulator::mbarrier_arrive(barrier, 0); }
EMULATOR_INLINE void mbarrier_arrive_expect_tx(uint64_t* barrier, int bytes) {
  emulator::mbarrier_arrive(barrier, bytes);
}
EMULATOR_INLINE void mbarrier_wait(uint64_t* barrier, int parity) { emulator::mbarrier_wait(barrier, parity); }
EMULATOR_INLINE void fence_proxy_async() { emulator::fence_proxy_async(); }
template <class... C>
EMULATOR_INLINE void tma_load(void* shared, const TensorMap* map, uint64_t* barrier, C... coordinates) {
  emulator::tensor_load(shared, map, {sizeof...(C), {coordinates...}}, barrier);
}

EMULATOR_INLINE void wgmma_fence() { emulator::warpgroup_fence(); }
EMULATOR_INLINE void wgmma_commit() { emulator::warpgroup_commit(); }
template <int kPendingGroups, int kRegisters>
EMULATOR_INLINE void wgmma_wait(float (&d)[kRegisters]) {
  emulator::warpgroup_wait(kPendingGroups, d);
}
template <bool kBFloat16, int kRegisters>
EMULATOR_INLINE void wgmma(float (&d)[kRegisters], uint64_t a, uint64_t b, bool accumulate) {
  constexpr auto type = kBFloat16 ? emulator::MatrixType::BFloat16 : emulator::MatrixType::Float16;
  emulator::warpgroup_multiply(type, d, kRegisters, a, b, accumulate);
}

}  // namespace ptx
