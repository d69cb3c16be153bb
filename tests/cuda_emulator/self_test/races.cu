// Races within a block, between blocks, and of atomic operations.
#include "cuda_emulator/self_test/self_test.h"

using self_test::DeviceArray;
using self_test::expect;

namespace {

struct Sums {
  float part[64];
};

template <bool kRight>
__global__ void shared_read_after_write(float* y) {
  Sums& s = rt::static_shared<Sums>();
  s.part[threadIdx.x] = float(threadIdx.x);
  if constexpr (kRight) __syncthreads();
  y[threadIdx.x] = s.part[63 - threadIdx.x];  // fault: shared memory race (read after write)|read of uninitialised
}

template <bool kRight>
__global__ void shared_write_after_read(float* y) {
  Sums& s = rt::static_shared<Sums>();
  s.part[threadIdx.x] = 1.f;
  __syncthreads();
  const float v = s.part[63 - threadIdx.x];
  if constexpr (kRight) __syncthreads();
  s.part[threadIdx.x] = v + 1.f;  // fault: shared memory race (write after read)
  __syncthreads();
  y[threadIdx.x] = s.part[threadIdx.x];
}

template <bool kRight>
__global__ void shared_write_after_write(float* y) {
  Sums& s = rt::static_shared<Sums>();
  if (!kRight || threadIdx.x == 0) s.part[0] = 1.f;  // fault: shared memory race (write after write)
  __syncthreads();
  y[threadIdx.x] = s.part[0];
}

template <bool kRight>
__global__ void within_a_warp(float* y) {
  Sums& s = rt::static_shared<Sums>();
  s.part[threadIdx.x] = 1.f;
  if constexpr (kRight) __syncwarp();
  y[threadIdx.x] = s.part[threadIdx.x ^ 1];  // fault: shared memory race (read after write)|read of uninitialised
}

template <bool kRight>
__global__ void shuffle_is_no_barrier(float* y) {
  Sums& s = rt::static_shared<Sums>();
  s.part[threadIdx.x] = 1.f;
  const float sum = __shfl_xor_sync(0xffffffffu, 1.f, 1);
  if constexpr (kRight) __syncwarp();
  y[threadIdx.x] = sum + s.part[threadIdx.x ^ 1];  // fault: shared memory race (read after write)
}

template <bool kRight>
__global__ void between_blocks(float* y) {
  y[kRight ? blockIdx.x : 0] = float(blockIdx.x);  // fault: global memory race (write after write)
}

template <bool kRight>
__global__ void read_of_other_block(float* y) {
  const unsigned from = kRight ? blockIdx.x : (blockIdx.x + 1) % gridDim.x;
  const float v = y[from];  // fault: global memory race (read after write)
  y[blockIdx.x] = v + 1.f;  // fault: global memory race (write after read)
}

template <bool kRight>
__global__ void histogram(const int* x, int* counts) {
  const int bin = x[blockIdx.x * blockDim.x + threadIdx.x];
  if constexpr (kRight) {
    atomicAdd(&counts[bin], 1);
  } else {
    counts[bin] += 1;  // fault: global memory race
  }
}

template <bool kRight>
__global__ void plain_read_of_atomic(int* count, int* y) {
  atomicAdd(count, 1);                                     // fault: global memory race (write after read)
  y[threadIdx.x] = kRight ? atomicAdd(count, 0) : *count;  // fault: global memory race (read after write)
}

// The last block to arrive sums what all have written.
template <bool kRight, bool kAcquire = true>
__global__ void last_block_sums(const float* x, float* part, float* y, unsigned* arrived) {
  struct Flag {
    bool last;
  };
  Flag& flag = rt::static_shared<Flag>();
  part[blockIdx.x * 32 + threadIdx.x] = x[blockIdx.x * 32 + threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) {
    if constexpr (kRight) __threadfence();
    flag.last = atomicAdd(arrived, 1u) == gridDim.x - 1;
    if constexpr (kAcquire) __threadfence();
  }
  __syncthreads();
  if (!flag.last) return;
  float sum = 0.f;
  for (unsigned b = 0; b < gridDim.x; ++b)
    sum += part[b * 32 + threadIdx.x];  // fault: global memory race (read after write)
  y[threadIdx.x] = sum;
}

// As above, each thread with its own fence before the barrier, and after it.
template <bool kRight>
__global__ void last_block_own_fences(const float* x, float* part, float* y, unsigned* arrived) {
  struct Flag {
    bool last;
  };
  Flag& flag = rt::static_shared<Flag>();
  part[blockIdx.x * 32 + threadIdx.x] = x[blockIdx.x * 32 + threadIdx.x];
  if (kRight || threadIdx.x == 0) __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) flag.last = atomicAdd(arrived, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!flag.last) return;
  __threadfence();
  float sum = 0.f;
  for (unsigned b = 0; b < gridDim.x; ++b)
    sum += part[b * 32 + threadIdx.x];  // fault: global memory race (read after write)
  y[threadIdx.x] = sum;
}

}  // namespace

EMULATOR_TEST(shared_read_after_write) {
  const DeviceArray<float> y(64);
  LAUNCH(shared_read_after_write, (rt::At{1, 64}), y);
}
EMULATOR_TEST(shared_write_after_read) {
  const DeviceArray<float> y(64);
  LAUNCH(shared_write_after_read, (rt::At{1, 64}), y);
  expect(y.host()[9] == 2.f, "wrong result");
}
EMULATOR_TEST(shared_write_after_write) {
  const DeviceArray<float> y(64);
  LAUNCH(shared_write_after_write, (rt::At{1, 64}), y);
}
EMULATOR_TEST(within_a_warp) {
  const DeviceArray<float> y(64);
  LAUNCH(within_a_warp, (rt::At{1, 64}), y);
}
EMULATOR_TEST(shuffle_is_no_barrier) {
  const DeviceArray<float> y(64);
  LAUNCH(shuffle_is_no_barrier, (rt::At{1, 64}), y);
}
EMULATOR_TEST(between_blocks) {
  const DeviceArray<float> y(8);
  LAUNCH(between_blocks, (rt::At{8, 1}), y);
}
EMULATOR_TEST(read_of_other_block) {
  const DeviceArray<float> y(8, 0.f);
  LAUNCH(read_of_other_block, (rt::At{8, 1}), y);
}
EMULATOR_TEST(histogram) {
  const DeviceArray<int> x(128, 3), counts(8, 0);
  LAUNCH(histogram, (rt::At{2, 64}), x, counts);
  expect(counts.host()[3] == 128, "wrong result");
}
EMULATOR_TEST(plain_read_of_atomic) {
  const DeviceArray<int> count(1, 0), y(64);
  LAUNCH(plain_read_of_atomic, (rt::At{1, 64}), count, y);
}
EMULATOR_TEST(last_block_sums) {  // released without a fence
  const DeviceArray<float> x(320, 1.f), part(320), y(32);
  const DeviceArray<unsigned> arrived(1, 0u);
  LAUNCH(last_block_sums, (rt::At{10, 32}), x, part, y, arrived);
  expect(y.host()[7] == 10.f, "wrong result");
}
EMULATOR_TEST(last_block_sums_acquired) {  // acquired without a fence
  const DeviceArray<float> x(320, 1.f), part(320), y(32);
  const DeviceArray<unsigned> arrived(1, 0u);
  if (right) {
    rt::launch(last_block_sums<true, true>, {10, 32}, x, part, y, arrived);
  } else {
    rt::launch(last_block_sums<true, false>, {10, 32}, x, part, y, arrived);
  }
}
EMULATOR_TEST(last_block_own_fences) {
  const DeviceArray<float> x(320, 1.f), part(320), y(32);
  const DeviceArray<unsigned> arrived(1, 0u);
  LAUNCH(last_block_own_fences, (rt::At{10, 32}), x, part, y, arrived);
  expect(y.host()[7] == 10.f, "wrong result");
}
