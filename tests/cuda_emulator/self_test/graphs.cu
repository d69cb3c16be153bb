// Captures and what may not be part of them.
#include <algorithm>
#include <utility>

#include "cuda_emulator/self_test/self_test.h"

using self_test::DeviceArray;
using self_test::expect;

namespace {

constexpr int kThreads = 32;
constexpr size_t kBytes = kThreads * sizeof(float);

__global__ void add(float* y, float value) {
  y[threadIdx.x] += value;  // fault: read of uninitialised global|use of freed
}
__global__ void set(float* y, float value) { y[threadIdx.x] = value; }

struct Stream {
  explicit Stream(unsigned flags = cudaStreamNonBlocking) { cudaStreamCreateWithFlags(&handle, flags); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(handle); }
  operator cudaStream_t() const { return handle; }
  cudaStream_t handle = nullptr;
};

// A capture that ends in any case
class Capture {
 public:
  explicit Capture(cudaStream_t stream, cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal)
      : stream_(stream) {
    expect(cudaStreamBeginCapture(stream, mode) == cudaSuccess, "begin");
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() {
    end();
    if (launchable) cudaGraphExecDestroy(launchable);
  }
  cudaError_t end() {
    if (!stream_) return cudaSuccess;
    cudaGraph_t graph;
    const cudaError_t error = cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph);
    if (error != cudaSuccess) return error;
    cudaGraphGetNodes(graph, nullptr, &nodes);
    cudaGraphInstantiate(&launchable, graph);
    cudaGraphDestroy(graph);
    return cudaSuccess;
  }
  void launch() { expect(cudaGraphLaunch(launchable, nullptr) == cudaSuccess, "launch"); }

  size_t nodes = 0;
  cudaGraphExec_t launchable = nullptr;

 private:
  cudaStream_t stream_;
};

rt::At on(cudaStream_t stream) { return {1, kThreads, 0, stream}; }

// In a capture `call` is an error, and the capture is lost; its `permitted` variant is fine.
template <class Call>
void forbidden(bool right, cudaError_t error, const Call& call) {
  const DeviceArray<float> y(kThreads, 0.f);
  const Stream stream;
  Capture capture(stream);
  rt::launch(set, on(stream), y, 1.f);
  if (!right) {
    expect(call(stream) == error, "not noticed");
    expect(capture.end() == cudaErrorStreamCaptureInvalidated, "the capture went on");
    throw std::runtime_error(std::string("CUDA emulator: ") + cudaGetErrorString(error));
  }
  expect(capture.end() == cudaSuccess && call(stream) == cudaSuccess, "an error without a cause");
}

}  // namespace

EMULATOR_TEST(captured_work_runs_later) {
  const DeviceArray<float> x(kThreads, 1.f), y(kThreads, 0.f);
  const Stream stream;
  Capture capture(stream);
  cudaMemcpyAsync(y, x, kBytes, cudaMemcpyDeviceToDevice, stream);
  rt::launch(add, on(stream), y, 2.f);
  cudaMemsetAsync(x, 0, kBytes, stream);
  cudaStreamCaptureStatus status;
  expect(cudaStreamIsCapturing(stream, &status) == cudaSuccess && status == cudaStreamCaptureStatusActive, "status");
  expect(capture.end() == cudaSuccess && capture.nodes == 3, "three nodes");
  expect(cudaStreamIsCapturing(stream, &status) == cudaSuccess && status == cudaStreamCaptureStatusNone, "status");
  expect(y.host()[0] == 0.f && x.host()[0] == 1.f, "done in the capture");
  capture.launch();
  expect(y.host()[31] == 3.f && x.host()[31] == 0.f, "the first launch");
  capture.launch();
  expect(y.host()[31] == 2.f, "the second launch");
}
EMULATOR_TEST(capture_on_legacy_stream) {
  expect(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported,
         "not noticed");
  const DeviceArray<float> y(kThreads, 0.f);
  const Stream blocking(cudaStreamDefault);
  Capture capture(blocking);
  expect(cudaMemsetAsync(y, 0, kBytes, nullptr) == cudaErrorStreamCaptureImplicit, "an implicit dependency");
  expect(capture.end() == cudaErrorStreamCaptureInvalidated, "the capture went on");
}
EMULATOR_TEST(fork_and_join) {
  const DeviceArray<float> y(kThreads, 0.f);
  const Stream stream, other;
  cudaEvent_t fork, join;
  cudaEventCreateWithFlags(&fork, cudaEventDisableTiming);
  cudaEventCreateWithFlags(&join, cudaEventDisableTiming);
  for (const bool joined : {false, true}) {
    Capture capture(stream);
    cudaEventRecord(fork, stream);
    cudaStreamWaitEvent(other, fork);
    rt::launch(add, on(other), y, 1.f);
    cudaEventRecord(join, other);
    if (joined) cudaStreamWaitEvent(stream, join);
    expect(capture.end() == (joined ? cudaSuccess : cudaErrorStreamCaptureUnjoined), "unjoined work");
    if (joined) capture.launch();
  }
  expect(y.host()[0] == 1.f, "wrong result");
  cudaEventDestroy(fork);
  cudaEventDestroy(join);
}
EMULATOR_TEST(relaxed_allocation) {
  const Stream stream;
  Capture capture(stream, cudaStreamCaptureModeGlobal);
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  void* p = nullptr;
  expect(cudaMalloc(&p, 512) == cudaSuccess && cudaFree(p) == cudaSuccess, "allocation");
  cudaThreadExchangeStreamCaptureMode(&mode);
  expect(capture.end() == cudaSuccess, "the capture");
}
EMULATOR_TEST(wait_in_capture) {
  forbidden(right, cudaErrorStreamCaptureUnsupported, [](cudaStream_t s) { return cudaStreamSynchronize(s); });
}
EMULATOR_TEST(device_wait_in_capture) {
  forbidden(right, cudaErrorStreamCaptureUnsupported, [](cudaStream_t) { return cudaDeviceSynchronize(); });
}
EMULATOR_TEST(allocation_in_capture) {
  forbidden(right, cudaErrorStreamCaptureUnsupported, [](cudaStream_t) {
    void* p = nullptr;
    const cudaError_t error = cudaMalloc(&p, 512);
    cudaFree(p);
    return error;
  });
}
EMULATOR_TEST(pinned_allocation_in_capture) {
  forbidden(right, cudaErrorStreamCaptureUnsupported, [](cudaStream_t) {
    void* p = nullptr;
    const cudaError_t error = cudaMallocHost(&p, 512);
    cudaFreeHost(p);
    return error;
  });
}
EMULATOR_TEST(event_wait_in_capture) {
  forbidden(right, cudaErrorCapturedEvent, [](cudaStream_t s) {
    cudaEvent_t event;
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    cudaEventRecord(event, s);
    const cudaError_t error = cudaEventSynchronize(event);
    cudaEventDestroy(event);
    return error;
  });
}
EMULATOR_TEST(pageable_copy_in_capture) {
  const DeviceArray<float> y(kThreads, 0.f);
  std::vector<float> pageable(kThreads, 1.f);
  float* pinned;
  cudaMallocHost(&pinned, kBytes);
  std::fill(pinned, pinned + kThreads, 2.f);
  const Stream stream;
  Capture capture(stream);
  cudaMemcpyAsync(y, right ? pinned : pageable.data(), kBytes, cudaMemcpyHostToDevice, stream);
  capture.end();
  capture.launch();
  expect(y.host()[0] == 2.f, "wrong result");
  cudaFreeHost(pinned);
}
EMULATOR_TEST(memory_gone_before_the_launch) {
  float* y;
  cudaMalloc(&y, kBytes);
  cudaMemset(y, 0, kBytes);
  const Stream stream;
  Capture capture(stream);
  rt::launch(add, on(stream), y, 1.f);
  capture.end();
  if (!right) cudaFree(y);
  capture.launch();
  if (right) cudaFree(y);
}
// Memory that was handed out in the capture starts uninitialised in each launch.
EMULATOR_TEST(handed_out_in_capture) {
  const DeviceArray<float> block(1024, 0.f);
  emulator_handed_out(block, 0);
  const Stream stream;
  Capture capture(stream);
  emulator_handed_out(block, kBytes);
  if (right) rt::launch(set, on(stream), block, 1.f);
  rt::launch(add, on(stream), block, 1.f);
  emulator_handed_out(block, 0);
  capture.end();
  capture.launch();
  capture.launch();
}
