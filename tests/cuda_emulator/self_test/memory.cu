// Bounds, initialisation, alignment, lifetime.
#include "cuda_emulator/self_test/self_test.h"

using self_test::DeviceArray;
using self_test::expect;

namespace {

template <bool kRight>
__global__ void read_past_end(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (!kRight || i < n) y[i % n] = x[i];  // fault: global memory read out of bounds
}

template <bool kRight>
__global__ void write_before_start(float* y) {
  y[int(threadIdx.x) - (kRight ? 0 : 1)] = 1.f;  // fault: global memory write out of bounds
}

template <bool kRight>
__global__ void copy_vector_tail(const float4* x, float4* y, int n) {
  const int i = threadIdx.x;
  if (kRight ? i < n / 4 : i < (n + 3) / 4) y[i] = x[i];  // fault: global memory write out of bounds
}

template <bool kRight>
__global__ void read_uninitialised(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x] + 1.f;  // fault: read of uninitialised global memory
}

struct Sums {
  float part[32];
};

template <bool kRight>
__global__ void read_uninitialised_shared(float* y) {
  Sums& s = rt::static_shared<Sums>();
  if (threadIdx.x < (kRight ? 32 : 31)) s.part[threadIdx.x] = 1.f;
  __syncthreads();
  y[threadIdx.x] = s.part[31 - threadIdx.x];  // fault: read of uninitialised shared memory
}

template <bool kRight>
__global__ void shared_of_last_block(float* y) {
  Sums& s = rt::static_shared<Sums>();
  if (kRight || blockIdx.x == 0) s.part[threadIdx.x] = float(blockIdx.x);
  __syncthreads();
  y[blockIdx.x * 32 + threadIdx.x] = s.part[31 - threadIdx.x];  // fault: read of uninitialised shared memory
}

template <bool kRight>
__global__ void overrun_static_shared(float* y) {
  Sums& s = rt::static_shared<Sums>();
  float* p = s.part;
  p[threadIdx.x + (kRight ? 0 : 1)] = 1.f;  // fault: shared memory write out of bounds
  __syncthreads();
  y[threadIdx.x] = s.part[threadIdx.x];
}

template <bool kRight>
__global__ void overrun_dynamic_shared(float* y) {
  float* p = &rt::dyn_shared<float>();
  p[threadIdx.x + (kRight ? 0 : 1)] = 1.f;  // fault: shared memory write out of bounds
  __syncthreads();
  y[threadIdx.x] = p[threadIdx.x];
}

template <bool kRight>
__global__ void dynamic_struct_too_large(float* y) {
  Sums& s = rt::dyn_shared<Sums>();  // fault: dynamic shared memory is smaller than its struct
  s.part[threadIdx.x] = 1.f;
  y[threadIdx.x] = s.part[threadIdx.x];
}

template <bool kRight>
__global__ void local_array_index(float* y, int n) {
  float v[4] = {1.f, 2.f, 3.f, 4.f};
  float sum = 0.f;
  for (int i = 0; kRight ? i < n : i <= n; ++i) sum += v[i];  // fault: array index out of bounds
  y[threadIdx.x] = sum;
}

template <bool kRight>
__global__ void misaligned_vector(const float* x, float* y) {
  const float4 v = *reinterpret_cast<const float4*>(x + (kRight ? 4 : 1) * threadIdx.x);  // fault: misaligned access
  y[threadIdx.x] = v.x + v.w;
}

template <bool kRight>
__global__ void divide_by_zero(const int* x, int* y) {
  y[threadIdx.x] = kRight && x[threadIdx.x] == 0 ? 0 : 7 / x[threadIdx.x];  // fault: integer division by zero
}

template <bool kRight>
__global__ void increment(float* y) {
  y[threadIdx.x] += 1.f;  // fault: read through a pointer that is not device memory
}

struct Large {
  float v[64];
};
template <bool kRight>
__global__ void copy_struct_past_end(const Large* x, Large* y) {
  y[threadIdx.x] = x[threadIdx.x + (kRight ? 0 : 1)];  // fault: global memory read out of bounds
}

__constant__ const int kTable[4] = {3, 1, 4, 1};
template <bool kRight>
__global__ void constant_table(int* y, int n) {
  y[threadIdx.x] = kTable[threadIdx.x % n];  // fault: array index out of bounds
}

// A transpose of 32 x 32 through shared memory: with a column more, columns meet no bank twice.
template <bool kRight>
__global__ void transpose_tile(const float* x, float* y) {
  struct Tile {
    float v[32][32 + (kRight ? 1 : 0)];
  };
  Tile& tile = rt::static_shared<Tile>();
  tile.v[threadIdx.y][threadIdx.x] = x[threadIdx.y * 32 + threadIdx.x];
  __syncthreads();
  y[threadIdx.y * 32 + threadIdx.x] = tile.v[threadIdx.x][threadIdx.y];  // conflicts
}
__global__ void vector_accesses(float* y) {
  struct Row {
    float4 v[64];
  };
  Row& row = rt::static_shared<Row>();
  row.v[threadIdx.x] = make_float4(1.f, 2.f, 3.f, 4.f);
  __syncthreads();
  y[threadIdx.x] = row.v[threadIdx.x ^ 1].w + row.v[0].x;
}

}  // namespace

EMULATOR_TEST(transpose_tile) {
  std::vector<float> values(1024);
  for (size_t i = 0; i < 1024; ++i) values[i] = float(i);
  const DeviceArray<float> x(values), y(1024);
  LAUNCH(transpose_tile, (rt::At{1, dim3(32, 32)}), x, y);
  expect(y.host()[33 * 5 + 1] == 32.f * 6 + 5, "wrong result");
}
EMULATOR_TEST(vector_accesses) {
  const DeviceArray<float> y(64);
  rt::launch(vector_accesses, {1, 64}, y);
}
EMULATOR_TEST(read_past_end) {
  const DeviceArray<float> x(100, 1.f), y(100, 0.f);
  LAUNCH(read_past_end, (rt::At{101, 1}), x, y, 100);
}
EMULATOR_TEST(write_before_start) {
  const DeviceArray<float> y(32);
  LAUNCH(write_before_start, (rt::At{1, 32}), y);
}
EMULATOR_TEST(copy_vector_tail) {
  const DeviceArray<float> x(30, 1.f), y(30);
  LAUNCH(copy_vector_tail, (rt::At{1, 32}), reinterpret_cast<float4*>(+x), reinterpret_cast<float4*>(+y), 30);
}
EMULATOR_TEST(read_uninitialised) {
  const DeviceArray<float> x(32), y(32);
  if (right) cudaMemset(x, 0, 32 * sizeof(float));
  LAUNCH(read_uninitialised, (rt::At{1, 32}), x, y);
  expect(y.host()[5] == 1.f, "wrong result");
}
EMULATOR_TEST(read_uninitialised_shared) {
  const DeviceArray<float> y(32);
  LAUNCH(read_uninitialised_shared, (rt::At{1, 32}), y);
}
EMULATOR_TEST(shared_of_last_block) {
  const DeviceArray<float> y(64);
  LAUNCH(shared_of_last_block, (rt::At{2, 32}), y);
}
EMULATOR_TEST(overrun_static_shared) {
  const DeviceArray<float> y(32);
  LAUNCH(overrun_static_shared, (rt::At{1, 32}), y);
}
EMULATOR_TEST(overrun_dynamic_shared) {
  const DeviceArray<float> y(32);
  LAUNCH(overrun_dynamic_shared, (rt::At{1, 32, 32 * sizeof(float)}), y);
}
EMULATOR_TEST(dynamic_struct_too_large) {
  const DeviceArray<float> y(32);
  LAUNCH(dynamic_struct_too_large, (rt::At{1, 32, right ? sizeof(Sums) : sizeof(Sums) / 2}), y);
}
EMULATOR_TEST(local_array_index) {
  const DeviceArray<float> y(32);
  LAUNCH(local_array_index, (rt::At{1, 32}), y, 4);
  expect(y.host()[0] == 10.f, "wrong result");
}
EMULATOR_TEST(misaligned_vector) {
  const DeviceArray<float> x(128, 1.f), y(32);
  LAUNCH(misaligned_vector, (rt::At{1, 32}), x, y);
}
EMULATOR_TEST(divide_by_zero) {
  const DeviceArray<int> x(32, 0), y(32);
  LAUNCH(divide_by_zero, (rt::At{1, 32}), x, y);
}
EMULATOR_TEST(increment) {  // of host memory
  const DeviceArray<float> on_device(4, 1.f);
  std::vector<float> on_host(4, 1.f);
  LAUNCH(increment, (rt::At{1, 4}), right ? +on_device : on_host.data());
}
EMULATOR_TEST(copy_struct_past_end) {
  const DeviceArray<Large> x(2, Large{}), y(2);
  LAUNCH(copy_struct_past_end, (rt::At{1, 2}), x, y);
}
EMULATOR_TEST(constant_table) {
  const DeviceArray<int> y(8);
  LAUNCH(constant_table, (rt::At{1, 8}), y, right ? 4 : 5);
}
