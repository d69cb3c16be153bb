// cp.async, ldmatrix, mma.
#include <cmath>

#include "cuda_emulator/self_test/self_test.h"

using self_test::DeviceArray;
using self_test::expect;

namespace {

struct Stages {
  alignas(16) float v[2][128];
};

// Each thread brings 4 floats per stage, and reads what its neighbour brought.
template <int kFault>
__global__ void pipeline(const float* x, float* y, int steps) {
  Stages& s = rt::dyn_shared<Stages>();
  const int t = int(threadIdx.x);
  const auto bring = [&](int step) {
    if (step < steps)
      ptx::cp_async16(&s.v[step % 2][4 * t], x + step * 128 + 4 * t, true);  // fault: shared memory race
    ptx::cp_async_commit();
  };
  bring(0);
  float sum = 0.f;
  for (int step = 0; step < steps; ++step) {
    if (kFault == 3) {
      bring(step + 1);
      ptx::cp_async_wait<1>();
      __syncthreads();
    } else {
      if (kFault == 0 || kFault == 2) ptx::cp_async_wait<0>();
      if (kFault == 1) ptx::cp_async_wait<1>();
      if (kFault != 2) __syncthreads();
      bring(step + 1);
    }
    for (int k = 0; k < 4; ++k)
      sum += s.v[step % 2][(4 * t + 4 + k) % 128];  // fault: read of shared|shared memory race
  }
  ptx::cp_async_wait<0>();
  y[t] = sum;
}

void run_pipeline(bool right, void (*wrong)(const float*, float*, int)) {
  const DeviceArray<float> x(128 * 5, 1.f), y(32);
  rt::launch(right ? pipeline<0> : wrong, {1, 32, sizeof(Stages)}, x, y, 5);
  expect(y.host()[11] == 20.f, "wrong result");
}

template <bool kRight>
__global__ void never_waited(const float* x, float* y) {
  Stages& s = rt::dyn_shared<Stages>();
  ptx::cp_async16(&s.v[0][4 * threadIdx.x], x + 4 * threadIdx.x, true);  // fault: cp.async has not been
  ptx::cp_async_commit();
  if constexpr (kRight) ptx::cp_async_wait<0>();
  y[threadIdx.x] = 0.f;
}

template <bool kRight>
__global__ void misaligned_copy(const float* x, float* y) {
  Stages& s = rt::dyn_shared<Stages>();
  ptx::cp_async16(&s.v[0][4 * threadIdx.x], x + (kRight ? 4 : 2) * threadIdx.x, true);  // fault: misaligned cp.async
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  y[threadIdx.x] = s.v[0][4 * threadIdx.x];
}

template <bool kRight>
__global__ void copy_past_end(const float* x, float* y, int n) {
  Stages& s = rt::dyn_shared<Stages>();
  const int i = 4 * int(threadIdx.x);
  ptx::cp_async16(&s.v[0][i], x + (i < n ? i : 0), kRight ? i < n : true);
  const float* from = kRight && i >= n ? x : x + i;
  ptx::cp_async16(&s.v[1][i], from, kRight ? i < n : true);  // fault: global memory read out of bounds
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  y[threadIdx.x] = s.v[0][i] + s.v[1][i];
}

// d = a b with A 16 x 16 and B 16 x 8, both with contiguous k; bits of A and B as 16-bit floats
struct Tiles {
  alignas(16) uint16_t a[16][16 + 8], b[8][16 + 8];
};
template <bool kHalf, int kFault>
__global__ void tile_product(const uint16_t* a, const uint16_t* b, float* d) {
  Tiles& s = rt::static_shared<Tiles>();
  const int lane = int(threadIdx.x);
  for (int i = lane; i < 256; i += 32) s.a[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) s.b[i / 16][i % 16] = b[i];
  if (kFault != 1) __syncwarp();
  uint32_t fa[4], fb[2];
  float acc[4] = {0.f, 0.f, 0.f, 0.f};
  const int chunk = 8 * (lane >> 4) + (kFault == 2 ? 1 : 0);
  ptx::ldmatrix_x4(fa, &s.a[lane & 15][chunk]);  // fault: shared memory race|misaligned ldmatrix
  ptx::ldmatrix_x2(fb, &s.b[lane & 7][8 * ((lane >> 3) & 1)]);
  if (kFault == 3 && lane == 0) return;
  if constexpr (kHalf) {
    ptx::mma_f16_16816(acc, fa, fb[0], fb[1]);
  } else {
    ptx::mma_bf16_16816(acc, fa, fb[0], fb[1]);  // fault: the mask of a warp operation
  }
  for (int r = 0; r < 4; ++r) d[(lane / 4 + 8 * (r >> 1)) * 8 + 2 * (lane % 4) + (r & 1)] = acc[r];
}

uint16_t bits_of(int value, bool half) {  // -15 .. 15
  if (value == 0) return 0;
  const int magnitude = value < 0 ? -value : value, exponent = 31 - __builtin_clz(unsigned(magnitude));
  const unsigned sign = value < 0 ? 0x8000u : 0u, fraction = unsigned(magnitude) << (23 - exponent) & 0x7fffffu;
  return half ? uint16_t(sign | unsigned(exponent + 15) << 10 | fraction >> 13)
              : uint16_t(sign | unsigned(exponent + 127) << 7 | fraction >> 16);
}

void run_tile_product(bool half, void (*kernel)(const uint16_t*, const uint16_t*, float*)) {
  std::vector<int> a(256), b(128);
  for (int i = 0; i < 256; ++i) a[size_t(i)] = (i * 37 + 11) % 31 - 15;
  for (int i = 0; i < 128; ++i) b[size_t(i)] = (i * 53 + 7) % 29 - 14;
  std::vector<uint16_t> a_bits(256), b_bits(128);
  for (size_t i = 0; i < 256; ++i) a_bits[i] = bits_of(a[i], half);
  for (size_t i = 0; i < 128; ++i) b_bits[i] = bits_of(b[i], half);
  const DeviceArray<uint16_t> da(a_bits), db(b_bits);
  const DeviceArray<float> d(128);
  rt::launch(kernel, {1, 32}, da, db, d);
  const auto result = d.host();
  for (size_t i = 0; i < 16; ++i)
    for (size_t j = 0; j < 8; ++j) {
      int sum = 0;
      for (size_t k = 0; k < 16; ++k) sum += a[i * 16 + k] * b[j * 16 + k];
      expect(result[i * 8 + j] == float(sum), "wrong product");
    }
}

// B with contiguous n, through ldmatrix.trans; and tf32
template <bool kRight>
__global__ void transposed_load(const uint16_t* b, uint32_t* fragments) {
  struct Tile {
    alignas(16) uint16_t v[16][8];
  };
  Tile& s = rt::static_shared<Tile>();
  for (unsigned i = threadIdx.x; i < 128; i += 32) s.v[i / 8][i % 8] = b[i];
  __syncwarp();
  uint32_t r[2];
  ptx::ldmatrix_x2_trans(r, &s.v[threadIdx.x & 15][0]);
  fragments[2 * threadIdx.x] = r[0];
  fragments[2 * threadIdx.x + 1] = r[1];
}

__global__ void tf32_product(const float* a, const float* b, float* d) {  // 16 x 8 by 8 x 8
  const int lane = int(threadIdx.x), g = lane >> 2, q = lane & 3;
  uint32_t fa[4];
  float acc[4] = {0.f, 0.f, 0.f, 0.f};
  for (int r = 0; r < 4; ++r) fa[r] = ptx::to_tf32(a[(g + 8 * (r & 1)) * 8 + q + 4 * (r >> 1)]);
  ptx::mma_tf32_1688(acc, fa, ptx::to_tf32(b[q * 8 + g]), ptx::to_tf32(b[(q + 4) * 8 + g]));
  for (int r = 0; r < 4; ++r) d[(g + 8 * (r >> 1)) * 8 + 2 * q + (r & 1)] = acc[r];
}

}  // namespace

EMULATOR_TEST(wait_too_lax) { run_pipeline(right, pipeline<1>); }
EMULATOR_TEST(wait_without_barrier) { run_pipeline(right, pipeline<2>); }
EMULATOR_TEST(stage_overwritten_too_early) { run_pipeline(right, pipeline<3>); }
EMULATOR_TEST(never_waited) {
  const DeviceArray<float> x(128, 1.f), y(32);
  LAUNCH(never_waited, (rt::At{1, 32, sizeof(Stages)}), x, y);
}
EMULATOR_TEST(misaligned_copy) {
  const DeviceArray<float> x(128, 1.f), y(32);
  LAUNCH(misaligned_copy, (rt::At{1, 32, sizeof(Stages)}), x, y);
}
EMULATOR_TEST(copy_past_end) {
  const DeviceArray<float> x(100, 1.f), y(32);
  LAUNCH(copy_past_end, (rt::At{1, 32, sizeof(Stages)}), x, y, 100);
  expect(y.host()[24] == 2.f && y.host()[25] == 0.f, "wrong result");
}
EMULATOR_TEST(ldmatrix_race) { run_tile_product(false, right ? tile_product<false, 0> : tile_product<false, 1>); }
EMULATOR_TEST(ldmatrix_misaligned) { run_tile_product(true, right ? tile_product<true, 0> : tile_product<true, 2>); }
EMULATOR_TEST(mma_without_a_lane) { run_tile_product(false, right ? tile_product<false, 0> : tile_product<false, 3>); }
EMULATOR_TEST(transposed_load) {
  std::vector<uint16_t> b(128);
  for (size_t i = 0; i < 128; ++i) b[i] = uint16_t(i);
  const DeviceArray<uint16_t> on_device(b);
  const DeviceArray<uint32_t> fragments(64);
  rt::launch(transposed_load<true>, {1, 32}, on_device, fragments);
  const auto words = fragments.host();
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t r = 0; r < 2; ++r)
      for (uint32_t h = 0; h < 2; ++h)
        expect((words[2 * lane + r] >> (16 * h) & 0xffff) == (2 * (lane % 4) + h + 8 * r) * 8 + lane / 4,
               "wrong element");
}
EMULATOR_TEST(tf32_product) {
  std::vector<float> a(128), b(64);
  for (size_t i = 0; i < 128; ++i) a[i] = float(i * 37 % 31) - 15.f;
  for (size_t i = 0; i < 64; ++i) b[i] = float(i * 53 % 29) - 14.f;
  const DeviceArray<float> da(a), db(b), d(128);
  rt::launch(tf32_product, {1, 32}, da, db, d);
  const auto result = d.host();
  for (size_t i = 0; i < 16; ++i)
    for (size_t j = 0; j < 8; ++j) {
      float sum = 0.f;
      for (size_t k = 0; k < 8; ++k) sum += a[i * 8 + k] * b[k * 8 + j];
      expect(result[i * 8 + j] == sum, "wrong product");
    }
}
