// What the host does wrong: launches, copies, allocations.
#include "cuda_emulator/self_test/self_test.h"

using self_test::DeviceArray;
using self_test::expect;

namespace {

struct Parameters {
  char bytes[4200];
};
struct FewerParameters {
  char bytes[3000];
};
struct HalfTheSharedMemory {
  char bytes[30 << 10];
};
struct MoreSharedMemory {
  char bytes[24 << 10];
};

__global__ void fill(float* y, float value, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] = value;  // fault: access to the memory of another|use of freed|global memory write out of bounds
}
__global__ void add_one(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x] + 1.f;  // fault: read of uninitialised global|global memory read out of bounds
}
template <class P>
__global__ void with_parameters(P p, char* y) {
  y[threadIdx.x] = p.bytes[threadIdx.x];
}
template <bool kRight>
__global__ void two_static_structs(char* y) {
  auto& a = rt::static_shared<HalfTheSharedMemory>();
  using Second = std::conditional_t<kRight, FewerParameters, MoreSharedMemory>;
  auto& b = rt::static_shared<Second>();  // fault: too much shared memory
  a.bytes[threadIdx.x] = b.bytes[threadIdx.x] = 1;
  y[threadIdx.x] = char(a.bytes[threadIdx.x] + b.bytes[threadIdx.x]);
}

void make_current(int device) { expect(cudaSetDevice(device) == cudaSuccess, "cudaSetDevice"); }
struct OnDevice0 {
  ~OnDevice0() { cudaSetDevice(0); }
};

}  // namespace

EMULATOR_TEST(too_many_threads) {
  const DeviceArray<float> y(2048);
  rt::launch(fill, {1, right ? 1024u : 1025u}, y, 1.f, 2048);  // fault: impossible launch
}
EMULATOR_TEST(grid_too_large) {
  const DeviceArray<float> y(1);
  rt::launch(fill, {dim3(1, right ? 65535 : 65536), 1}, y, 1.f, 0);  // fault: impossible launch
}
EMULATOR_TEST(empty_grid) {
  const DeviceArray<float> y(1);
  rt::launch(fill, {right ? 1u : 0u, 1}, y, 1.f, 1);  // fault: impossible launch
}
EMULATOR_TEST(too_much_dynamic_shared) {
  const DeviceArray<float> y(1);
  rt::launch(fill, {1, 1, size_t(right ? 227 : 228) << 10}, y, 1.f, 1);  // fault: impossible launch
}
EMULATOR_TEST(two_static_structs) {
  const DeviceArray<char> y(32);
  LAUNCH(two_static_structs, (rt::At{1, 32}), y);
}
EMULATOR_TEST(too_many_parameters) {
  const DeviceArray<char> y(32);
  if (right) {
    rt::launch(with_parameters<FewerParameters>, {1, 32}, FewerParameters{}, y);
  } else {
    rt::launch(with_parameters<Parameters>, {1, 32}, Parameters{}, y);  // fault: impossible launch
  }
}
EMULATOR_TEST(memory_of_other_device) {
  const DeviceArray<float> y(32);
  const OnDevice0 later;
  if (!right) make_current(1);
  rt::launch(fill, {1, 32}, y, 1.f, 32);
}
EMULATOR_TEST(stream_of_other_device) {
  const OnDevice0 later;
  make_current(1);
  const DeviceArray<float> y(32);
  if (!right) make_current(0);
  cudaStream_t stream;
  cudaStreamCreate(&stream);
  make_current(1);
  rt::launch(fill, {1, 32, 0, stream}, y, 1.f, 32);  // fault: launch on a stream of another device
  cudaStreamDestroy(stream);
}
EMULATOR_TEST(use_after_free) {
  float *p, *q;
  cudaMalloc(&p, 128);
  cudaMalloc(&q, 128);
  if (!right) cudaFree(p);
  rt::launch(fill, {1, 32}, p, 1.f, 32);
  cudaFree(q);
  if (right) cudaFree(p);
}
EMULATOR_TEST(double_free) {
  float* p;
  cudaMalloc(&p, 128);
  cudaFree(p);
  if (!right) expect(cudaFree(p) != cudaSuccess, "not noticed");
  const DeviceArray<float> y(32);
  rt::launch(fill, {1, 32}, y, 1.f, 32);
}
EMULATOR_TEST(copy_out_of_bounds) {
  const DeviceArray<float> y(32, 1.f);
  std::vector<float> host(33);
  cudaMemcpy(host.data(), y, (right ? 32 : 33) * sizeof(float), cudaMemcpyDeviceToHost);
  expect(host[31] == 1.f, "wrong result");
}
EMULATOR_TEST(copy_of_wrong_kind) {
  const DeviceArray<float> y(32, 1.f);
  std::vector<float> host(32);
  cudaMemcpy(host.data(), right ? +y : host.data(), 128, cudaMemcpyDeviceToHost);
}
EMULATOR_TEST(fill_out_of_bounds) {
  const DeviceArray<float> y(32, 1.f);
  cudaMemset(y, 0, right ? 128 : 129);
}
EMULATOR_TEST(copied_uninitialised) {  // a copy of uninitialised memory is uninitialised
  const DeviceArray<float> x(32), y(32), z(32, 0.f);
  if (right) cudaMemset(x, 0, 128);
  cudaMemcpy(y, x, 128, cudaMemcpyDefault);
  rt::launch(add_one, {1, 32}, y, z);
}
EMULATOR_TEST(out_of_memory) {
  size_t free, total;
  cudaMemGetInfo(&free, &total);
  void* p;
  expect(cudaMalloc(&p, free + 512) == cudaErrorMemoryAllocation && p == nullptr, "too much memory was given");
  expect(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess, "the last error");
  expect(cudaMalloc(&p, free) == cudaSuccess && p, "not all memory was given");
  size_t left;
  cudaMemGetInfo(&left, &total);
  expect(left == 0, "cudaMemGetInfo");
  cudaFree(p);
}
EMULATOR_TEST(many_allocations) {
  for (int i = 0; i < 5000; ++i) {
    void* p;
    expect(cudaMalloc(&p, size_t(1) << 14) == cudaSuccess, "cudaMalloc");
    cudaFree(p);
  }
}
// An allocator that hands out parts of one allocation: each part has its own bounds, and starts uninitialised.
EMULATOR_TEST(handed_out_part_bounds) {
  const DeviceArray<float> block(1024, 0.f);
  emulator_handed_out(block, 100 * sizeof(float));
  emulator_handed_out(block + 128, 100 * sizeof(float));
  rt::launch(fill, {2, 64}, block, 1.f, right ? 100 : 101);
}
EMULATOR_TEST(handed_out_again) {
  const DeviceArray<float> block(1024, 0.f), y(32, 0.f);
  emulator_handed_out(block, 32 * sizeof(float));
  rt::launch(fill, {1, 32}, block, 1.f, 32);
  if (!right) emulator_handed_out(block, 32 * sizeof(float));
  rt::launch(add_one, {1, 32}, block, y);
}
EMULATOR_TEST(taken_back) {
  const DeviceArray<float> block(1024, 0.f);
  emulator_handed_out(block, 32 * sizeof(float));
  if (!right) emulator_handed_out(block, 0);
  rt::launch(fill, {1, 32}, block, 1.f, 32);
}
EMULATOR_TEST(pinned_memory) {  // is the host's and the device's
  float* p;
  expect(cudaMallocHost(&p, 128) == cudaSuccess, "cudaMallocHost");
  for (int i = 0; i < 32; ++i) p[i] = 3.f;
  rt::launch(add_one, {1, 32}, p, p);
  expect(p[31] == 4.f, "wrong result");
  if (!right) rt::launch(add_one, {1, 33}, p, p);
  cudaFreeHost(p);
}
EMULATOR_TEST(streams_and_events) {
  cudaStream_t stream;
  cudaEvent_t start, end;
  cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0);
  cudaEventCreate(&start);
  cudaEventCreate(&end);
  expect(cudaEventRecord(start, stream) == cudaSuccess && cudaEventRecord(end, stream) == cudaSuccess, "record");
  float ms = -1.f;
  expect(cudaEventElapsedTime(&ms, start, end) == cudaSuccess && ms >= 0.f, "elapsed time");
  expect(cudaStreamWaitEvent(stream, end) == cudaSuccess && cudaStreamQuery(stream) == cudaSuccess, "wait");
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  cudaStreamDestroy(stream);
  expect(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle, "a destroyed stream was used");
}
