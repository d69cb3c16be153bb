// The instructions of kernels/cuda/ptx_sm90.cuh, emulated.
#pragma once
#include <cstdint>

#include "cuda_emulator/interface.h"

namespace ptx {

using TensorMap = emulator::TensorMap;

inline bool make_tensor_map(TensorMap* map, const void* data, [[maybe_unused]] bool bfloat16, uint64_t rows,
                            uint64_t cols, uint64_t pitch_bytes, uint32_t box_rows) {
  if (reinterpret_cast<uintptr_t>(data) % 16 || pitch_bytes % 16 || box_rows > 256 || !box_rows) return false;
  *map = {static_cast<const char*>(data), rows, cols, pitch_bytes, box_rows, 64, {}};
  return true;
}

EMULATOR_INLINE void mbarrier_init(uint64_t* barrier, int count) { emulator::mbarrier_init(barrier, count); }
EMULATOR_INLINE void mbarrier_arrive(uint64_t* barrier) { emulator::mbarrier_arrive(barrier, 0); }
EMULATOR_INLINE void mbarrier_arrive_expect_tx(uint64_t* barrier, int bytes) {
  emulator::mbarrier_arrive(barrier, bytes);
}
EMULATOR_INLINE void mbarrier_wait(uint64_t* barrier, int parity) { emulator::mbarrier_wait(barrier, parity); }
EMULATOR_INLINE void fence_proxy_async() { emulator::fence_proxy_async(); }
EMULATOR_INLINE void tma_load(void* shared, const TensorMap* map, int col, int row, uint64_t* barrier) {
  emulator::tensor_load(shared, map, col, row, barrier);
}

EMULATOR_INLINE void wgmma_fence() {}
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
