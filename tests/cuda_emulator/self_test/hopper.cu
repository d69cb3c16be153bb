// mbarrier, TMA and wgmma: a product with a producer warp and a consumer warpgroup, and what can be wrong with it.
#include "cuda_emulator/self_test/self_test.h"
#include "kernels/cuda/ptx_sm90.cuh"

using self_test::DeviceArray;
using self_test::expect;

namespace {

constexpr int kStages = 3, kRows = 64, kCols = 128, kDepth = 64, kConsumers = 128;

constexpr int kBoxW = 4, kBoxH = 3, kBoxImages = 2, kBoxRows = kBoxW * kBoxH * kBoxImages;

enum class Mistake {
  None,
  NoWaitForEmpty,
  NoWaitForFull,
  TooFewBytes,
  ReleasedTooEarly,
  ReadTooEarly,
  NoInit,
  NoInitFence,
  NoFence,
  NoCommit
};

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
    ptx::tma_load(s.a[stage], &a, &s.full[stage], step * kDepth, row);  // fault: shared memory race|TMA with
    ptx::tma_load(s.b[stage], &b, &s.full[stage], step * kDepth, 0);    // fault: shared memory race
  }
}

template <Mistake kMistake>
__device__ __forceinline__ void consume(Pipeline& s, float* c, int rows, int cols, int steps) {
  float d[kCols / 2];
  for (int step = 0; step < steps; ++step) {
    const int stage = step % kStages, use = step / kStages, lane = int(threadIdx.x) % 32;
    if (kMistake != Mistake::NoWaitForFull) ptx::mbarrier_wait(&s.full[stage], use & 1);  // fault: use of|deadlock
    if (kMistake != Mistake::NoFence) ptx::wgmma_fence();
    const uint64_t a = ptx::matrix_descriptor(s.a[stage]), b = ptx::matrix_descriptor(s.b[stage]);
    for (uint64_t k = 0; k < kDepth / 16; ++k) {
      const bool more = step > 0 || k > 0;
      ptx::wgmma<true>(d, a + 2 * k, b + 2 * k, more);  // fault: wgmma
    }
    if (kMistake != Mistake::NoCommit) ptx::wgmma_commit();
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
    if (kMistake != Mistake::NoInitFence) ptx::fence_proxy_async();
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
  constexpr int rows = 100, cols = 120, depth = 232;
  const DeviceArray<uint16_t> a(bfloat16_values(size_t(rows * depth), 0)), b(bfloat16_values(size_t(cols * depth), 5));
  const DeviceArray<float> c(size_t(rows * cols));
  const auto matrix = [](int lines, uint32_t box) {
    return ptx::TensorLayout{2, {uint64_t(depth), uint64_t(lines)}, {0, depth * 2}, {kDepth, box}};
  };
  ptx::TensorMap a_map, b_map, unaligned;
  expect(ptx::make_tensor_map(&a_map, a, true, matrix(rows, kRows)) &&
             ptx::make_tensor_map(&b_map, b, true, matrix(cols, kCols)) &&
             !ptx::make_tensor_map(&unaligned, b + 1, true, matrix(cols, kCols)),
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

// A box of 2 images x 3 rows x 4 columns x 64 channels, which lies over three corners of the tensor
__global__ void __launch_bounds__(32)
    load_box(const __grid_constant__ ptx::TensorMap map, int image, int y, int x, uint16_t* to) {
  Pipeline& s = rt::dyn_shared<Pipeline>();
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(&s.full[0], 1);
    ptx::fence_proxy_async();
    ptx::mbarrier_arrive_expect_tx(&s.full[0], kBoxRows * kDepth * 2);
    ptx::tma_load(s.a[0], &map, &s.full[0], 0, x, y, image);
    ptx::mbarrier_wait(&s.full[0], 0);
    for (int row = 0; row < kBoxRows; ++row)
      for (int i = 0; i < kDepth; ++i) {
        const int chunk = i / 8 ^ row % 8;  // the swizzle of 128 bytes
        to[row * kDepth + i] = s.a[0][row * kDepth + chunk * 8 + i % 8];
      }
  }
}

void run_boxes() {
  constexpr int images = 3, h = 5, w = 6, channels = 40;  // 24 channels of the box are outside
  const DeviceArray<uint16_t> data(bfloat16_values(size_t(images * h * w * channels), 3));
  const auto from = data.host();
  const DeviceArray<uint16_t> to(size_t(kBoxRows * kDepth));
  ptx::TensorMap map;
  expect(ptx::make_tensor_map(&map, data, true,
                              {4,
                               {channels, w, h, images},
                               {0, channels * 2, w * channels * 2, h * w * channels * 2},
                               {kDepth, kBoxW, kBoxH, kBoxImages}}),
         "make_tensor_map");
  const int places[3][3] = {{0, -1, -2}, {2, 3, 4}, {1, 1, 1}};
  for (const auto& [image, y, x] : places) {
    rt::launch(load_box, {1, 32, sizeof(Pipeline)}, map, image, y, x, to);
    const auto box = to.host();
    for (int i = 0; i < kBoxRows * kDepth; ++i) {
      const int c = i % kDepth, px = x + i / kDepth % kBoxW, py = y + i / kDepth / kBoxW % kBoxH,
                n = image + i / kDepth / kBoxW / kBoxH;
      const bool inside = c < channels && px >= 0 && px < w && py >= 0 && py < h && n < images;
      expect(box[size_t(i)] == (inside ? from[size_t(((n * h + py) * w + px) * channels + c)] : 0), "wrong box");
    }
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
EMULATOR_TEST(mbarrier_not_fenced) { right ? run_product<Mistake::None>() : run_product<Mistake::NoInitFence>(); }
EMULATOR_TEST(accumulators_not_fenced) { right ? run_product<Mistake::None>() : run_product<Mistake::NoFence>(); }
EMULATOR_TEST(products_not_committed) { right ? run_product<Mistake::None>() : run_product<Mistake::NoCommit>(); }
EMULATOR_TEST(boxes_of_images) { run_boxes(); }
EMULATOR_TEST(stored_operands) {
  const DeviceArray<float> c(kConsumers);
  LAUNCH(stored_operands, (rt::At{1, kConsumers, sizeof(Pipeline)}), c);
  expect(c.host()[77] == 16.f, "wrong product");
}
