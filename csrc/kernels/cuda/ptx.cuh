// The only place with inline PTX. Under the emulator its functions do the same on the CPU.
//
// sm_80 and up; on older devices these trap, so kernels that use them are launched by compute capability.
#pragma once
#include "kernels/cuda/launch.cuh"

#ifdef SW_CUDA_EMULATED
#include "cuda_emulator/ptx.h"
#else

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define SW_PTX_SM80(...) asm volatile(__VA_ARGS__)
#else
#define SW_PTX_SM80(...) __trap()
#endif

namespace ptx {

__device__ __forceinline__ uint32_t smem_addr(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

// 16 bytes from global to shared memory, past the L1 cache; zeros where !valid (`global` must still be a pointer
// value).
__device__ __forceinline__ void cp_async16(void* shared, const void* global, bool valid) {
  [[maybe_unused]] const int bytes = valid ? 16 : 0;
  SW_PTX_SM80("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem_addr(shared)), "l"(global),
              "r"(bytes) : "memory");
}
// 4, 8 or 16 bytes, of which valid_bytes are copied and the rest is zeroed.
template <int kBytes>
__device__ __forceinline__ void cp_async(void* shared, const void* global, int valid_bytes = kBytes) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  SW_PTX_SM80("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(smem_addr(shared)), "l"(global), "n"(kBytes),
              "r"(valid_bytes) : "memory");
}
__device__ __forceinline__ void cp_async_commit() { SW_PTX_SM80("cp.async.commit_group;" :: : "memory"); }
// Waits for all of this thread's groups but the last kPendingGroups; a barrier shows the data to other threads.
template <int kPendingGroups>
__device__ __forceinline__ void cp_async_wait() {
  SW_PTX_SM80("cp.async.wait_group %0;" ::"n"(kPendingGroups) : "memory");
}

// 8 x 8 matrices of 16-bit elements: lane 8 i + r gives the address of row r of matrix i, which goes to register i.
__device__ __forceinline__ void ldmatrix_x1(uint32_t (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(smem_addr(row)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(smem_addr(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(smem_addr(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(smem_addr(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(smem_addr(row))
               : "memory");
}

// d += a b for one tile of 16 x 8, with k = 16 (16-bit types) or 8 (tf32), a by rows and b by columns.
#define SW_PTX_MMA(shape, type)                                                          \
  SW_PTX_SM80("mma.sync.aligned." shape ".row.col.f32." type "." type                    \
              ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+f"(d[0]), \
              "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
__device__ __forceinline__ void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  SW_PTX_MMA("m16n8k16", "bf16");
}
__device__ __forceinline__ void mma_f16_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  SW_PTX_MMA("m16n8k16", "f16");
}
__device__ __forceinline__ void mma_tf32_1688(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  SW_PTX_MMA("m16n8k8", "tf32");
}
#undef SW_PTX_MMA

// To the nearest tf32, halves away from zero; NaN stays NaN.
__device__ __forceinline__ uint32_t to_tf32(float x) {
  uint32_t bits = 0;
  SW_PTX_SM80("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

}  // namespace ptx

#undef SW_PTX_SM80
#endif
