// The interfaces of core/cuda.h and core/cuda_graph_backend.h on the CUDA runtime.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda_graph_backend.h"
#include "kernels/cuda/launch.cuh"

namespace skipway::cuda {
namespace {

KernelEntry*& first_entry() {
  static KernelEntry* first = nullptr;
  return first;
}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // a later call must not report it again
  throw DeviceError(concat("cuda: ", what, ": ", cudaGetErrorString(error)));
}

cudaStream_t as_stream(void* p) { return static_cast<cudaStream_t>(p); }
cudaEvent_t as_event(void* p) { return static_cast<cudaEvent_t>(p); }

// What a graph is launched as, with the pinned memory that its copies read.
struct LaunchableGraph {
  cudaGraphExec_t graph = nullptr;
  std::vector<void*> pinned;
  LaunchableGraph() = default;
  LaunchableGraph(const LaunchableGraph&) = delete;
  LaunchableGraph& operator=(const LaunchableGraph&) = delete;
  ~LaunchableGraph() {
    if (graph) cudaGraphExecDestroy(graph);
    for (void* p : pinned) cudaFreeHost(p);
  }
};
// Of this thread: the stream that it captures, and what will be launched.
thread_local cudaStream_t captured_stream = nullptr;
thread_local LaunchableGraph* captured_graph = nullptr;

// Memory may be allocated during a capture, as the captured work does not depend on when that happens.
class AllowAllocation {
 public:
  AllowAllocation() {
    if (captured_graph) cudaThreadExchangeStreamCaptureMode(&mode_);
  }
  ~AllowAllocation() {
    if (captured_graph) cudaThreadExchangeStreamCaptureMode(&mode_);
  }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

class RuntimeBackend : public GraphBackend {
 public:
  std::string description() const override {
    int runtime = 0;
    cudaRuntimeGetVersion(&runtime);
#ifdef SW_CUDA_TARGETS
    return concat("CUDA ", version(runtime), ", ", SW_CUDA_TARGETS);
#else
    return concat("CUDA emulator, as CUDA ", version(runtime));
#endif
  }
  bool emulated() const override {
#ifdef SW_CUDA_EMULATED
    return true;
#else
    return false;
#endif
  }

  int device_count(std::string* why_none) override {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) return count;
    cudaGetLastError();
    if (why_none) *why_none = reason(error);
    return 0;
  }

  Properties properties(int device) override {
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, device), "reading the device's properties");
    return {p.name,
            p.major,
            p.minor,
            p.multiProcessorCount,
            int64_t(p.totalGlobalMem),
            int64_t(p.sharedMemPerBlockOptin),
            int64_t(p.l2CacheSize)};
  }
  void set_device(int device) override { check(cudaSetDevice(device), "cudaSetDevice"); }

  void* allocate(int device, size_t bytes) override {
    void* p = nullptr;
    const OnDevice on(device);
    const AllowAllocation allow;
    const cudaError_t error = cudaMalloc(&p, bytes);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return nullptr;
    }
    check(error, "allocating memory");
    return p;
  }
  void release(int device, void* p) override {
    const OnDevice on(device);
    const AllowAllocation allow;
    cudaFree(p);  // at the end of a process the driver may be gone already
  }
  void memory_info(int device, size_t* free, size_t* total) override {
    const OnDevice on(device);
    check(cudaMemGetInfo(free, total), "cudaMemGetInfo");
  }
  void* allocate_pinned(size_t bytes) override {
    void* p = nullptr;
    const AllowAllocation allow;
    const cudaError_t error = cudaHostAlloc(&p, bytes, cudaHostAllocPortable | cudaHostAllocMapped);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return nullptr;
    }
    check(error, "allocating pinned memory");
    return p;
  }
  void release_pinned(void* p) override { cudaFreeHost(p); }
  void handed_out([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) override {
#ifdef SW_CUDA_EMULATED
    emulator_handed_out(p, bytes);
#endif
  }

  void copy(void* to, const void* from, size_t bytes, void* stream) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, as_stream(stream)), "copying memory");
  }
  void fill(void* to, int byte, size_t bytes, void* stream) override {
    check(cudaMemsetAsync(to, byte, bytes, as_stream(stream)), "filling memory");
  }

  void* create_stream(int device, int priority) override {
    const OnDevice on(device);
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority), "creating a stream");
    return stream;
  }
  void destroy_stream(void* stream) override { cudaStreamDestroy(as_stream(stream)); }
  void synchronize_stream(void* stream) override { check(cudaStreamSynchronize(as_stream(stream)), "a kernel failed"); }
  bool stream_is_done(void* stream) override { return is_done(cudaStreamQuery(as_stream(stream))); }
  void synchronize_device(int device) override {
    const OnDevice on(device);
    check(cudaDeviceSynchronize(), "a kernel failed");
  }

  void* create_event(int device, bool timing) override {
    const OnDevice on(device);
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, timing ? cudaEventDefault : cudaEventDisableTiming), "creating an event");
    return event;
  }
  void destroy_event(void* event) override { cudaEventDestroy(as_event(event)); }
  void record_event(void* event, void* stream) override {
    check(cudaEventRecord(as_event(event), as_stream(stream)), "recording an event");
  }
  void wait_event(void* stream, void* event) override {
    check(cudaStreamWaitEvent(as_stream(stream), as_event(event), 0), "waiting for an event");
  }
  void synchronize_event(void* event) override { check(cudaEventSynchronize(as_event(event)), "a kernel failed"); }
  bool event_is_done(void* event) override { return is_done(cudaEventQuery(as_event(event))); }
  float elapsed_ms(void* start, void* end) override {
    float ms = 0;
    check(cudaEventElapsedTime(&ms, as_event(start), as_event(end)), "reading the time between events");
    return ms;
  }

  void begin_capture(void* stream) override {
    check(cudaStreamBeginCapture(as_stream(stream), cudaStreamCaptureModeThreadLocal), "beginning a capture");
    captured_stream = as_stream(stream);
    captured_graph = new LaunchableGraph;
  }
  void* end_capture(void* stream, size_t* nodes) override {
    std::unique_ptr<LaunchableGraph> launchable(std::exchange(captured_graph, nullptr));
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(as_stream(stream), &graph), "ending a capture");
    cudaError_t error = cudaGraphGetNodes(graph, nullptr, nodes);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&launchable->graph, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "instantiating a graph");
    return launchable.release();
  }
  void abandon_capture(void* stream) noexcept override {
    const std::unique_ptr<LaunchableGraph> launchable(std::exchange(captured_graph, nullptr));
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(as_stream(stream), &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
  }
  void launch_graph(void* graph, void* stream) override {
    check(cudaGraphLaunch(static_cast<LaunchableGraph*>(graph)->graph, as_stream(stream)), "launching a graph");
  }
  void destroy_graph(void* graph) noexcept override { delete static_cast<LaunchableGraph*>(graph); }

  void (*kernel(const char* name))() override {
    for (const KernelEntry* e = first_entry(); e; e = e->next)
      if (std::strcmp(e->name, name) == 0) return e->function;
    return nullptr;
  }

 private:
  // Makes a device current, and the former one again.
  class OnDevice {
   public:
    explicit OnDevice(int device) {
      cudaGetDevice(&before_);
      if (before_ != device) cudaSetDevice(device);
      changed_ = before_ != device;
    }
    ~OnDevice() {
      if (changed_) cudaSetDevice(before_);
    }

   private:
    int before_ = 0;
    bool changed_ = false;
  };

  static bool is_done(cudaError_t error) {
    if (error == cudaErrorNotReady) return false;
    check(error, "a kernel failed");
    return true;
  }
  static std::string version(int v) { return concat(v / 1000, ".", v % 1000 / 10); }
  static std::string reason(cudaError_t error) {
    if (error == cudaErrorInsufficientDriver) {
      int driver = 0, runtime = 0;
      cudaDriverGetVersion(&driver);
      cudaRuntimeGetVersion(&runtime);
      if (driver == 0) return "no NVIDIA driver is installed";
      return concat("the NVIDIA driver supports CUDA ", version(driver), ", older than the CUDA ", version(runtime),
                    " that skipway was built with; update the driver");
    }
    if (error == cudaSuccess || error == cudaErrorNoDevice) return "there is no CUDA device";
    return cudaGetErrorString(error);
  }
};

}  // namespace

const void* kept_for_replays(const Stream& stream, const void* from, size_t bytes) {
  if (!captured_graph || stream.handle != captured_stream || bytes == 0) return from;
  const AllowAllocation allow;
  void* p = nullptr;
  check(cudaHostAlloc(&p, bytes, cudaHostAllocPortable), "allocating pinned memory");
  captured_graph->pinned.push_back(p);
  std::memcpy(p, from, bytes);
  return p;
}

KernelEntry::KernelEntry(const char* name, void (*function)()) : name(name), function(function), next(first_entry()) {
  first_entry() = this;
}

}  // namespace skipway::cuda

extern "C" __attribute__((visibility("default"))) skipway::cuda::Backend* skipway_cuda_backend(int interface) {
  static auto* const backend = new skipway::cuda::RuntimeBackend;
  return interface == skipway::cuda::kGraphInterface ? backend : nullptr;
}
