// Warp operations, block barriers, deadlock, kernels without end.
#include "cuda_emulator/self_test/self_test.h"

using self_test::DeviceArray;
using self_test::expect;

namespace {

constexpr unsigned kAll = 0xffffffffu;

template <bool kRight>
__global__ void half_a_warp_shuffles(float* y) {
  float v = 1.f;
  const unsigned mask = kRight ? 0xffffu : kAll;
  if (threadIdx.x < 16) v += __shfl_xor_sync(mask, v, 8);  // fault: the mask of a warp operation names
  y[threadIdx.x] = v;
}

template <bool kRight>
__global__ void early_return_then_vote(int* y, int n) {
  if (!kRight && int(threadIdx.x) >= n) return;
  y[threadIdx.x] =
      __any_sync(kAll, threadIdx.x == 3);  // fault: the mask of a warp operation names lanes that have exited
}

template <bool kRight>
__global__ void not_in_own_mask(float* y) {
  y[threadIdx.x] =
      __shfl_sync(kRight ? kAll : 0xffffu, 1.f, 0);  // fault: a lane calls a warp operation that its mask does not
}

template <bool kRight>
__global__ void partial_warp(float* y) {
  const unsigned mask = kRight ? (1u << blockDim.x) - 1 : kAll;
  y[threadIdx.x] = __shfl_sync(mask, 1.f, 0);  // fault: the mask of a warp operation names lanes that do not exist
}

template <bool kRight>
__global__ void source_outside_mask(float* y) {
  float v = float(threadIdx.x);
  if (threadIdx.x < 8)
    v = __shfl_sync(0xffu, v, kRight ? 7 : 8);  // fault: a shuffle reads from a lane that does not take part
  y[threadIdx.x] = v;
}

template <bool kRight>
__global__ void different_masks(float* y) {
  const unsigned mask = kRight ? kAll : threadIdx.x < 16 ? kAll : 0xffff0000u;
  y[threadIdx.x] = __shfl_xor_sync(mask, 1.f, 1);  // fault: lanes of a warp meet at different warp operations
}

template <bool kRight>
__global__ void different_operations(int* y) {
  if (kRight || threadIdx.x % 2) {
    y[threadIdx.x] = int(__ballot_sync(kAll, 1));  // fault: lanes of a warp meet at different warp operations|
  } else {
    y[threadIdx.x] = __shfl_sync(kAll, 1, 0);  // fault: lanes of a warp meet at different warp operations|
  }
}

template <bool kRight>
__global__ void divergent_barrier(float* y) {
  if (kRight || threadIdx.x < 32) {
    __syncthreads();  // fault: barrier divergence: threads wait at different __syncthreads|
    y[threadIdx.x] = 1.f;
  } else {
    y[threadIdx.x] = 2.f;
    __syncthreads();  // fault: barrier divergence: threads wait at different __syncthreads|
  }
}

template <bool kRight>
__global__ void return_before_barrier(float* y, int n) {
  if (!kRight && int(threadIdx.x) >= n) return;
  y[threadIdx.x] = 1.f;
  __syncthreads();  // fault: barrier divergence: __syncthreads is not reached by threads that have exited
}

template <bool kRight>
__global__ void barrier_and_shuffle(float* y) {
  float v = 1.f;
  if (kRight || threadIdx.x < 16) __syncthreads();  // fault: deadlock|
  v += __shfl_xor_sync(kAll, v, 1);                 // fault: deadlock|
  y[threadIdx.x] = v;
}

template <bool kRight>
__global__ void spin(int* flag, int* y) {
  if (kRight || blockIdx.x == 1) atomicExch(flag, 1);
  while (atomicAdd(flag, 0) == 0) {  // fault: the kernel does not end
  }
  y[blockIdx.x] = 1;
}

template <bool kRight>
__global__ void endless_arithmetic(unsigned* y, unsigned step) {
  unsigned x = threadIdx.x;
  while (x != 40u) x = kRight ? 40u : x * x * step;  // fault: the kernel does not end
  y[threadIdx.x] = x;
}

// All right, and each result checked
__global__ void lane_arithmetic(int* y) {
  const int lane = int(threadIdx.x);
  int* out = y + lane * 12;
  out[0] = __shfl_sync(kAll, lane, 5);
  out[1] = __shfl_sync(kAll, lane, 3, 8);
  out[2] = __shfl_up_sync(kAll, lane, 2);
  out[3] = __shfl_up_sync(kAll, lane, 1, 8);
  out[4] = __shfl_down_sync(kAll, lane, 3);
  out[5] = __shfl_down_sync(kAll, lane, 1, 8);
  out[6] = __shfl_xor_sync(kAll, lane, 9);
  out[7] = int(__ballot_sync(kAll, lane % 3 == 0));
  out[8] = __any_sync(kAll, lane == 31) + 2 * __all_sync(kAll, lane < 31);
  out[9] = int(__match_any_sync(kAll, lane / 8));
  out[10] = __reduce_add_sync(kAll, lane) + 1000 * __reduce_max_sync(kAll, -lane);
  out[11] = __syncthreads_count(lane < 7) + 100 * __syncthreads_and(lane >= 0) + 1000 * __syncthreads_or(lane > 40);
}

}  // namespace

EMULATOR_TEST(half_a_warp_shuffles) {
  const DeviceArray<float> y(32);
  LAUNCH(half_a_warp_shuffles, (rt::At{1, 32}), y);
}
EMULATOR_TEST(early_return_then_vote) {
  const DeviceArray<int> y(32);
  LAUNCH(early_return_then_vote, (rt::At{1, 32}), y, 20);
}
EMULATOR_TEST(not_in_own_mask) {
  const DeviceArray<float> y(32);
  LAUNCH(not_in_own_mask, (rt::At{1, 32}), y);
}
EMULATOR_TEST(partial_warp) {
  const DeviceArray<float> y(20);
  LAUNCH(partial_warp, (rt::At{1, 20}), y);
}
EMULATOR_TEST(source_outside_mask) {
  const DeviceArray<float> y(32);
  LAUNCH(source_outside_mask, (rt::At{1, 32}), y);
  expect(y.host()[2] == 7.f, "wrong result");
}
EMULATOR_TEST(different_masks) {
  const DeviceArray<float> y(32);
  LAUNCH(different_masks, (rt::At{1, 32}), y);
}
EMULATOR_TEST(different_operations) {
  const DeviceArray<int> y(32);
  LAUNCH(different_operations, (rt::At{1, 32}), y);
}
EMULATOR_TEST(divergent_barrier) {
  const DeviceArray<float> y(64);
  LAUNCH(divergent_barrier, (rt::At{1, 64}), y);
}
EMULATOR_TEST(return_before_barrier) {
  const DeviceArray<float> y(64);
  LAUNCH(return_before_barrier, (rt::At{1, 64}), y, 50);
}
EMULATOR_TEST(barrier_and_shuffle) {
  const DeviceArray<float> y(32);
  LAUNCH(barrier_and_shuffle, (rt::At{1, 32}), y);
}
EMULATOR_TEST(spin) {  // blocks run in any order, one after the other
  const DeviceArray<int> flag(1, 0), y(2);
  LAUNCH(spin, (rt::At{2, 1}), flag, y);
}
EMULATOR_TEST(endless_arithmetic) {
  const DeviceArray<unsigned> y(1);
  LAUNCH(endless_arithmetic, (rt::At{1, 1}), y, 2u);
}
EMULATOR_TEST(lane_arithmetic) {
  const DeviceArray<int> y(32 * 12);
  rt::launch(lane_arithmetic, {1, 32}, y);
  const auto all = y.host();
  for (int lane = 0; lane < 32; ++lane) {
    const int* out = &all[size_t(lane) * 12];
    expect(out[0] == 5 && out[1] == (lane & ~7) + 3, "__shfl_sync");
    expect(out[2] == (lane < 2 ? lane : lane - 2) && out[3] == (lane % 8 < 1 ? lane : lane - 1), "__shfl_up_sync");
    expect(out[4] == (lane > 28 ? lane : lane + 3) && out[5] == (lane % 8 == 7 ? lane : lane + 1), "__shfl_down_sync");
    expect(out[6] == (lane ^ 9), "__shfl_xor_sync");
    expect(unsigned(out[7]) == 0x49249249u && out[8] == 1, "votes");
    expect(unsigned(out[9]) == 0xffu << (lane & ~7), "__match_any_sync");
    expect(out[10] == 496, "__reduce_*_sync");
    expect(out[11] == 107, "__syncthreads_*");
  }
}
