// mbarrier, TMA and wgmma: a product with a producer warp and a consumer warpgroup, and what can be wrong with it.
#include "cuda_emulator/self_test/self_test.h"
#include "kernels/cuda/ptx_sm90.cuh"

using self_test::DeviceArray;
using self_test::expect;

namespace {

constexpr int kStages = 3, kRows = 64, kCols = 128, kDepth = 64, kConsumers = 128;

enum class Mistake { None, NoWaitForEmpty, NoWaitForFull, TooFewBytes, ReleasedTooEarly, ReadTooEarly, NoInit };

struct Pipeline {
  alignas(1024) uint16_t a[kStages][kRows * kDepth], b[kStages][kCols * kDepth];
  alignas(8) uint64_t full[kStages], empty[kStages];
};

template <Mistake kMistake>
__device__ __forceinline__ void produce(Pipeline& s, const ptx::TensorMap& a, const ptx::TensorMap& b, int steps) {
  for (int step = 0; step < steps; ++step) {
    const int stage = step % kStages, use = step / kStages;
    if (kMistake != Mistake::NoWaitForEmpty) ptx::mbarrier_wait(&s.empty[stage], (use & 1) ^ 1);  // fault: deadlock
    const int bytes = int(kMistake == Mistake::TooFewBytes ? sizeof s.a[0] : sizeof s.a[0] + sizeof s.b[0]);
    ptx::mbarrier_arrive_expect_tx(&s.full[stage], bytes);  // fault: more arrivals at an mbarrier
    const int row = int(blockIdx.x) * kRows;
    ptx::tma_load(s.a[stage], &a, step * kDepth, row, &s.full[stage]);  // fault: shared memory race
    ptx::tma_load(s.b[stage], &b, step * kDepth, 0, &s.full[stage]);    // fault: shared memory race
  }
}

template <Mistake kMistake>
__device__ __forceinline__ void consume(Pipeline& s, float* c, int rows, int cols, int steps) {
  float d[kCols / 2];
  for (int step = 0; step < steps; ++step) {
    const int stage = step % kStages, use = step / kStages, lane = int(threadIdx.x) % 32;
    if (kMistake != Mistake::NoWaitForFull) ptx::mbarrier_wait(&s.full[stage], use & 1);  // fault: use of|deadlock
    ptx::wgmma_fence();
    for (int k = 0; k < kDepth / 16; ++k)
      ptx::wgmma<true>(d, ptx::matrix_descriptor(s.a[stage]) + uint64_t(2 * k),
                       ptx::matrix_descriptor(s.b[stage]) + uint64_t(2 * k), step + k > 0);
    ptx::wgmma_commit();
    if (kMistake == Mistake::ReleasedTooEarly && lane == 0) ptx::mbarrier_arrive(&s.empty[stage]);
    if (kMistake == Mistake::ReadTooEarly && step == steps - 1) break;
    ptx::wgmma_wait<0>(d);  // fault: read of|race
    if (kMistake != Mistake::ReleasedTooEarly && lane == 0) ptx::mbarrier_arrive(&s.empty[stage]);
  }
  const int warp = int(threadIdx.x) / 32, g = int(threadIdx.x) % 32 / 4, q = int(threadIdx.x) % 4;
  for (int r = 0; r < kCols / 2; ++r) {
    const int row = int(blockIdx.x) * kRows + warp * 16 + g + 8 * (r >> 1 & 1), col = 8 * (r >> 2) + 2 * q + (r & 1);
    if (row < rows && col < cols) c[row * cols + col] = d[r];
  }
  if (kMistake == Mistake::ReadTooEarly) ptx::wgmma_wait<0>(d);
}

// c = a b^T, for 16-bit a (rows x depth) and b (cols x depth), cols <= 128
template <Mistake kMistake>
__global__ void __launch_bounds__(kConsumers + 32)
    product(const __grid_constant__ ptx::TensorMap a, const __grid_constant__ ptx::TensorMap b, float* c, int rows,
            int cols, int depth) {
  Pipeline& s = rt::dyn_shared<Pipeline>();
  const int steps = (depth + kDepth - 1) / kDepth;
  if (threadIdx.x == 0 && kMistake != Mistake::NoInit) {
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(&s.full[i], 1);
      ptx::mbarrier_init(&s.empty[i], kConsumers / 32);
    }
    ptx::fence_proxy_async();
  }
  __syncthreads();
  if (threadIdx.x == kConsumers) produce<kMistake>(s, a, b, steps);
  if (threadIdx.x < kConsumers) consume<kMistake>(s, c, rows, cols, steps);
}

// Small integers, exact in bfloat16
int value(size_t i) { return int(i * 37 % 15) - 7; }
std::vector<uint16_t> bfloat16_values(size_t n, size_t seed) {
  std::vector<uint16_t> bits(n);
  for (size_t i = 0; i < n; ++i) {
    const float f = float(value(i + seed));
    uint32_t word;
    __builtin_memcpy(&word, &f, 4);
    bits[i] = uint16_t(word >> 16);
  }
  return bits;
}

template <Mistake kMistake>
void run_product() {
  const int rows = 100, cols = 120, depth = 232;
  const DeviceArray<uint16_t> a(bfloat16_values(size_t(rows * depth), 0)), b(bfloat16_values(size_t(cols * depth), 5));
  const DeviceArray<float> c(size_t(rows * cols));
  ptx::TensorMap a_map, b_map;
  expect(ptx::make_tensor_map(&a_map, a, true, rows, depth, depth * 2, kRows) &&
             ptx::make_tensor_map(&b_map, b, true, cols, depth, depth * 2, kCols) &&
             !ptx::make_tensor_map(&b_map, b + 1, true, cols, depth, depth * 2, kCols),
         "make_tensor_map");
  rt::launch(product<kMistake>, {2, kConsumers + 32, sizeof(Pipeline)}, a_map, b_map, c, rows, cols, depth);
  const auto result = c.host();
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < cols; ++j) {
      int sum = 0;
      for (int k = 0; k < depth; ++k) sum += value(size_t(i * depth + k)) * value(size_t(j * depth + k) + 5);
      expect(result[size_t(i * cols + j)] == float(sum), "wrong product");
    }
}

// Operands that ordinary stores put into shared memory
template <bool kRight>
__global__ void stored_operands(float* c) {
  Pipeline& s = rt::dyn_shared<Pipeline>();
  for (int i = int(threadIdx.x); i < kRows * kDepth; i += kConsumers) s.a[0][i] = s.b[0][i] = 0x3f80;  // 1
  if constexpr (kRight) ptx::fence_proxy_async();
  __syncthreads();
  float d[32];
  ptx::wgmma_fence();
  ptx::wgmma<true>(d, ptx::matrix_descriptor(s.a[0]), ptx::matrix_descriptor(s.b[0]), false);
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>(d);  // fault: wgmma reads what was written without a fence
  c[threadIdx.x] = d[31];
}

}  // namespace

EMULATOR_TEST(stage_not_empty) { right ? run_product<Mistake::None>() : run_product<Mistake::NoWaitForEmpty>(); }
EMULATOR_TEST(stage_not_full) { right ? run_product<Mistake::None>() : run_product<Mistake::NoWaitForFull>(); }
EMULATOR_TEST(too_few_bytes_expected) { right ? run_product<Mistake::None>() : run_product<Mistake::TooFewBytes>(); }
EMULATOR_TEST(stage_released_too_early) {
  right ? run_product<Mistake::None>() : run_product<Mistake::ReleasedTooEarly>();
}
EMULATOR_TEST(accumulators_read_too_early) {
  right ? run_product<Mistake::None>() : run_product<Mistake::ReadTooEarly>();
}
EMULATOR_TEST(mbarrier_not_initialised) { right ? run_product<Mistake::None>() : run_product<Mistake::NoInit>(); }
EMULATOR_TEST(stored_operands) {
  const DeviceArray<float> c(kConsumers);
  LAUNCH(stored_operands, (rt::At{1, kConsumers, sizeof(Pipeline)}), c);
  expect(c.host()[77] == 16.f, "wrong product");
}
