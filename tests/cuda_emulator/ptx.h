// The instructions of kernels/cuda/ptx.cuh, emulated. All lanes of a warp take part in the matrix instructions.
#pragma once
#include <cstdint>

#include "cuda_emulator/interface.h"

namespace ptx {

EMULATOR_INLINE uint32_t smem_addr(const void* p) { return emulator::shared_address(p); }

// 16 bytes from global to shared memory; zeros where !valid (`global` must still be a pointer value)
EMULATOR_INLINE void cp_async16(void* shared, const void* global, bool valid) {
  emulator::async_copy(shared, global, 16, valid ? 16 : 0);
}
template <int kBytes>
EMULATOR_INLINE void cp_async(void* shared, const void* global, int valid_bytes = kBytes) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  emulator::async_copy(shared, global, kBytes, valid_bytes);
}
EMULATOR_INLINE void cp_async_commit() { emulator::async_commit(); }
template <int kPendingGroups>
EMULATOR_INLINE void cp_async_wait() {
  emulator::async_wait(kPendingGroups);
}

EMULATOR_INLINE void ldmatrix_x1(uint32_t (&r)[1], const void* row) { emulator::load_matrices(r, row, 1, false); }
EMULATOR_INLINE void ldmatrix_x2(uint32_t (&r)[2], const void* row) { emulator::load_matrices(r, row, 2, false); }
EMULATOR_INLINE void ldmatrix_x4(uint32_t (&r)[4], const void* row) { emulator::load_matrices(r, row, 4, false); }
EMULATOR_INLINE void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) { emulator::load_matrices(r, row, 2, true); }
EMULATOR_INLINE void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) { emulator::load_matrices(r, row, 4, true); }

// d += a * b for one m16n8k16 (16-bit types) or m16n8k8 (tf32) tile
EMULATOR_INLINE void mma(emulator::MatrixType type, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  emulator::multiply_matrices(type, d, a, b);
}
EMULATOR_INLINE void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  mma(emulator::MatrixType::BFloat16, d, a, b0, b1);
}
EMULATOR_INLINE void mma_f16_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  mma(emulator::MatrixType::Float16, d, a, b0, b1);
}
EMULATOR_INLINE void mma_tf32_1688(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  mma(emulator::MatrixType::TFloat32, d, a, b0, b1);
}

// cvt.rna.tf32.f32: half a unit rounds away from zero; NaN stays NaN
EMULATOR_INLINE uint32_t to_tf32(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  return x != x ? 0x7fffffffu : (bits + 0x1000u) & ~0x1fffu;
}

}  // namespace ptx
