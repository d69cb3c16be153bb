// Products of tiles by warpgroups (wgmma), fed by TMA: the inner layers of a convolution on sm_90a.
//
// A block has one warp that produces and two warpgroups that consume. Between them lies a ring of stages, each 64
// values of k (128 bytes) of 128 rows of a and of kN rows of b. The producer waits until a stage is empty and starts
// two loads into it; the consumers wait until it is full. Each of them multiplies 64 of the rows of a.
#pragma once
#include <type_traits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx_sm90.cuh"

namespace skipway::cuda {

inline constexpr int kGroupWarps = 4, kGroups = 2;  // consuming
inline constexpr int kConsumerWarps = kGroups * kGroupWarps, kRingThreads = (kConsumerWarps + 1) * kWarp;
inline constexpr int kGroupRows = 64, kRingRows = kGroups * kGroupRows;
inline constexpr int kRingK = 64, kRowBytes = 2 * kRingK;

// kN x 3 or more stages: two blocks share the 227 KB of a multiprocessor.
template <int kN>
struct RingStages {
  static constexpr int kCount = kN == 128 ? 3 : 4, kBytes = (kRingRows + kN) * kRowBytes;
  alignas(1024) unsigned char a[kCount][kRingRows * kRowBytes];  // the swizzle repeats after 1024 bytes
  unsigned char b[kCount][kN * kRowBytes];
};
template <int kCount>
struct RingBarriers {
  uint64_t full[kCount], empty[kCount];

  // By one thread, before a block barrier.
  __device__ __forceinline__ void init() {
    for (int i = 0; i < kCount; ++i) {
      ptx::mbarrier_init(&full[i], 1);
      ptx::mbarrier_init(&empty[i], kConsumerWarps);
    }
    ptx::fence_proxy_async();
  }
};
// Where a producer or a consumer is: the phases of a stage's barriers alternate.
template <int kCount>
struct RingPlace {
  int stage = 0, phase = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kCount) stage = 0, phase ^= 1;
  }
};

// The results of a warp in a warpgroup's 64 x kN: its 16 rows. An interface as in products.cuh, with kM = 16.
template <class T, int kN>
struct WarpgroupProducts {
  float sum[kN / 2] = {};

  // All four warps: += a b^T of one stage. Returns while it is under way; after it, all those before it are complete.
  __device__ __forceinline__ void add(const void* a, const void* b) {
    constexpr bool kBFloat16 = std::is_same_v<T, bfloat16>;
    const uint64_t rows = ptx::matrix_descriptor(a), columns = ptx::matrix_descriptor(b);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kRingK / 16; ++k) ptx::wgmma<kBFloat16>(sum, rows + 2 * k, columns + 2 * k, true);
    ptx::wgmma_commit();
    ptx::wgmma_wait<1>(sum);
  }
  __device__ __forceinline__ void complete() { ptx::wgmma_wait<0>(sum); }

  __device__ __forceinline__ float at(int i, int j) const { return sum[j / 2 * 4 + i * 2 + j % 2]; }
  static __device__ __forceinline__ int column_of(int j) { return j / 2 * 8 + int(threadIdx.x) % 4 * 2 + j % 2; }
  template <class F>
  __device__ __forceinline__ void strip(int, const F& f) const {
    const int g = threadIdx.x % kWarp / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) f(g + e / 2 * 8, j * 8 + q * 2 + e % 2, sum[j * 4 + e]);
  }
};

// The sum over `steps` stages, by a consumer of this warpgroup (0 or 1).
template <class T, int kN>
__device__ __forceinline__ void consume(const RingStages<kN>& stages, RingBarriers<RingStages<kN>::kCount>& barriers,
                                        int group, int steps, WarpgroupProducts<T, kN>& products) {
  RingPlace<RingStages<kN>::kCount> at;
  int before = 0;
  const bool first_lane = threadIdx.x % kWarp == 0;
#pragma unroll 1
  for (int k = 0; k < steps; ++k) {
    ptx::mbarrier_wait(&barriers.full[at.stage], at.phase);
    products.add(stages.a[at.stage] + group * kGroupRows * kRowBytes, stages.b[at.stage]);
    if (k > 0 && first_lane) ptx::mbarrier_arrive(&barriers.empty[before]);  // its products are complete
    before = at.stage;
    at.advance();
  }
  products.complete();
}

}  // namespace skipway::cuda
