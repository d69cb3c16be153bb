// Hopper's instructions: mbarrier, TMA tile loads and wgmma. They need sm_90a; elsewhere they trap.
//
// The life of a stage of a pipeline: the producer waits for `empty`, announces the bytes to come (arrive_expect_tx on
// `full`), starts its loads; consumers wait for `full`, multiply, wait for their products, arrive on `empty`.
#pragma once
#include "kernels/cuda/ptx.cuh"

namespace ptx {

// A tensor of 16-bit elements as TMA sees it, and the boxes of it that are loaded; the fastest dimension comes first.
// A box is one row of 128 bytes (64 elements) for each place in the other dimensions.
inline constexpr int kMostTensorDims = 5;
struct TensorLayout {
  int dims;
  uint64_t size[kMostTensorDims], pitch[kMostTensorDims];  // pitch in bytes; that of dimension 0 does not count
  uint32_t box[kMostTensorDims];                           // box[0] is 64
};

// bool make_tensor_map(TensorMap* map, const void* data, bool bfloat16, const TensorLayout&): for tma_load, with the
// swizzle of 128 bytes. False: the driver refuses (address and pitches must be multiples of 16 bytes, and no side of a
// box larger than 256) or is too old.

}  // namespace ptx

#ifdef SW_CUDA_EMULATED
#include "cuda_emulator/ptx_sm90.h"
#else
#include <cuda.h>

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SW_PTX_SM90(...) asm volatile(__VA_ARGS__)
#else
#define SW_PTX_SM90(...) __trap()
#endif

namespace ptx {

using TensorMap = CUtensorMap;

inline bool make_tensor_map(TensorMap* map, const void* data, bool bfloat16, const TensorLayout& t) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
#else
    cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
    return found == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(function) : nullptr;
  }();
  const cuuint32_t steps[kMostTensorDims] = {1, 1, 1, 1, 1};
  cuuint64_t sizes[kMostTensorDims], pitches[kMostTensorDims];
  for (int d = 0; d < t.dims; ++d) sizes[d] = t.size[d], pitches[d] = t.pitch[d];
  return encode && encode(map, bfloat16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                          cuuint32_t(t.dims), const_cast<void*>(data), sizes, pitches + 1, t.box, steps,
                          CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, int count) {
  SW_PTX_SM90("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_addr(barrier)), "r"(count) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
  SW_PTX_SM90("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(smem_addr(barrier)) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive_expect_tx(uint64_t* barrier, int bytes) {
  SW_PTX_SM90("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_addr(barrier)),
              "r"(bytes) : "memory");
}
// Returns when the phase of this parity is complete: 0 for the first phase, then 1, 0, ... A new barrier lets parity 1
// pass.
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, int parity) {
  SW_PTX_SM90(
      "{\n.reg .pred done;\nWAIT: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra DONE;\n"
      "bra WAIT;\nDONE:\n}" ::"r"(smem_addr(barrier)),
      "r"(parity) : "memory");
}
// After mbarrier_init, before other threads or TMA use the barrier (a block barrier is needed too); and between
// ordinary writes to shared memory and a wgmma that reads them.
__device__ __forceinline__ void fence_proxy_async() { SW_PTX_SM90("fence.proxy.async;" :: : "memory"); }

// The box at these coordinates, fastest dimension first, to `shared`, a multiple of 1024 bytes; zeros outside of the
// tensor, whose coordinates may be negative. All of the box counts for the barrier's bytes.
#define SW_TMA_LOAD(dims, at)                                                                         \
  "cp.async.bulk.tensor." dims ".shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {" at \
  "}], [%2];" ::"r"(smem_addr(shared)),                                                               \
      "l"(map), "r"(smem_addr(barrier))
template <class... C>
__device__ __forceinline__ void tma_load(void* shared, const TensorMap* map, uint64_t* barrier, C... coordinates) {
  constexpr int kDims = sizeof...(C);
  static_assert(kDims >= 2 && kDims <= 4);
  const int c[] = {coordinates...};
  if constexpr (kDims == 2) SW_PTX_SM90(SW_TMA_LOAD("2d", "%3, %4"), "r"(c[0]), "r"(c[1]) : "memory");
  if constexpr (kDims == 3) SW_PTX_SM90(SW_TMA_LOAD("3d", "%3, %4, %5"), "r"(c[0]), "r"(c[1]), "r"(c[2]) : "memory");
  if constexpr (kDims == 4)
    SW_PTX_SM90(SW_TMA_LOAD("4d", "%3, %4, %5, %6"), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]) : "memory");
}
#undef SW_TMA_LOAD

__device__ __forceinline__ void wgmma_fence() { SW_PTX_SM90("wgmma.fence.sync.aligned;" :: : "memory"); }
__device__ __forceinline__ void wgmma_commit() { SW_PTX_SM90("wgmma.commit_group.sync.aligned;" :: : "memory"); }
// Waits for all groups but the last kPendingGroups; the compiler moves no use of d before it.
template <int kPendingGroups, int kRegisters>
__device__ __forceinline__ void wgmma_wait(float (&d)[kRegisters]) {
  SW_PTX_SM90("wgmma.wait_group.sync.aligned %0;" ::"n"(kPendingGroups) : "memory");
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// d (64 x kN) = a b, or += where accumulate; a and b are K-major in shared memory, by their descriptors.
#define SW_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SW_D32(i) \
  SW_D4(i), SW_D4(i + 4), SW_D4(i + 8), SW_D4(i + 12), SW_D4(i + 16), SW_D4(i + 20), SW_D4(i + 24), SW_D4(i + 28)
#define SW_WGMMA_N64(type)                                                                                           \
  SW_PTX_SM90("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type  \
              " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26," \
              "%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, 0, 0;\n}" : SW_D32(0) : "l"(a),                              \
              "l"(b), "r"(int(accumulate)))
#define SW_WGMMA_N128(type)                                                                                          \
  SW_PTX_SM90("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type \
              " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26," \
              "%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51," \
              "%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, %64, %65, p, 1, 1, 0, 0;\n}" : SW_D32(0),           \
              SW_D32(32) : "l"(a), "l"(b), "r"(int(accumulate)))
template <bool kBFloat16, int kRegisters>
__device__ __forceinline__ void wgmma(float (&d)[kRegisters], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kRegisters == 32 || kRegisters == 64, "results of 64 x 64 or 64 x 128");
  if constexpr (kBFloat16 && kRegisters == 32) SW_WGMMA_N64("bf16");
  if constexpr (!kBFloat16 && kRegisters == 32) SW_WGMMA_N64("f16");
  if constexpr (kBFloat16 && kRegisters == 64) SW_WGMMA_N128("bf16");
  if constexpr (!kBFloat16 && kRegisters == 64) SW_WGMMA_N128("f16");
}
#undef SW_D4
#undef SW_D32
#undef SW_WGMMA_N64
#undef SW_WGMMA_N128

}  // namespace ptx

#undef SW_PTX_SM90
#endif

namespace ptx {

// Describes a K-major tile of rows of 64 elements (128 bytes) with the swizzle of 128 bytes, as tma_load leaves it.
// The next 16 columns are at the descriptor + 2.
__device__ __forceinline__ uint64_t matrix_descriptor(const void* tile) {
  constexpr uint64_t kBytesOf8Rows = 1024, kSwizzle128 = 1;
  return uint64_t((smem_addr(tile) & 0x3ffff) >> 4) | kBytesOf8Rows >> 4 << 32 | kSwizzle128 << 62;
}

}  // namespace ptx
