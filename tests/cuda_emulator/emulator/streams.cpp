#include "cuda_emulator/emulator/streams.h"

#include <chrono>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cuda_emulator/emulator/launches.h"

using namespace emulator;

namespace {

struct Node {
  std::function<void()> run;
  bool work;  // a kernel, a copy or a fill
};
struct Capture {
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  cudaStream_t origin;
  bool valid = true;
  std::vector<Node> nodes;
  std::unordered_set<const void*> handed_out;
  std::unordered_set<cudaStream_t> streams;  // that take part
};

}  // namespace

struct EmulatedStream {
  int device;
  bool blocking;                // waits for the legacy stream and makes it wait
  Capture* capture = nullptr;   // that it takes part in
  size_t seen = 0, joined = 0;  // nodes of the capture when it was last worked on, and when the origin waited for it
};
struct EmulatedEvent {
  bool recorded = false, timing = true;
  std::chrono::steady_clock::time_point at{};
  Capture* capture = nullptr;  // in which it was recorded last
  cudaStream_t stream = nullptr;
};
struct EmulatedGraph {
  std::vector<Node> nodes;
};
struct EmulatedGraphExec {
  std::vector<Node> nodes;
};

namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;
thread_local bool replaying = false;

// Handles that are alive
template <class T>
class Handles {
 public:
  T* add(T* handle) {
    const std::lock_guard lock(mutex_);
    alive_.insert(handle);
    return handle;
  }
  bool alive(const void* handle) {
    const std::lock_guard lock(mutex_);
    return alive_.count(handle) != 0;
  }
  bool remove(T* handle) {
    const std::lock_guard lock(mutex_);
    if (!alive_.erase(handle)) return false;
    delete handle;
    return true;
  }

 private:
  std::mutex mutex_;
  std::unordered_set<const void*> alive_;
};
template <class T>
Handles<T>& alive() {
  static auto& all = *new Handles<T>;
  return all;
}
bool known(cudaStream_t stream) { return !stream || alive<EmulatedStream>().alive(stream); }
bool known(cudaEvent_t event) { return alive<EmulatedEvent>().alive(event); }
cudaError_t handle_error(bool fine) { return result(fine ? cudaSuccess : cudaErrorInvalidResourceHandle); }

// One capture at a time in the process is enough.
std::mutex capture_mutex;
Capture* active = nullptr;

cudaError_t invalidate(cudaError_t error) {
  if (active) active->valid = false;
  return result(error);
}

// May this thread make calls that could disturb a capture?
bool disturbs() {
  if (!active || thread_mode == cudaStreamCaptureModeRelaxed) return false;
  return active->mode == cudaStreamCaptureModeGlobal ||
         (active->mode == cudaStreamCaptureModeThreadLocal && active->thread == std::this_thread::get_id());
}

void leave(Capture* capture) {
  for (cudaStream_t stream : capture->streams) stream->capture = nullptr;
  active = nullptr;
}

}  // namespace

namespace emulator {

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

bool stream_usable(const void* stream) {
  return !stream || (alive<EmulatedStream>().alive(stream) &&
                     static_cast<const EmulatedStream*>(stream)->device == current_device());
}

cudaError_t while_capturing(Forbidden how) {
  const bool forbidden =
      how == Forbidden::UnlessRelaxed ? disturbs() : active && active->thread == std::this_thread::get_id();
  return forbidden ? invalidate(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t usable(cudaStream_t stream) {
  if (!known(stream)) return cudaErrorInvalidResourceHandle;
  if (!stream && active && active->origin->blocking && !replaying) return invalidate(cudaErrorStreamCaptureImplicit);
  if (stream && stream->capture && !stream->capture->valid) return cudaErrorStreamCaptureInvalidated;
  return cudaSuccess;
}

bool captures(cudaStream_t stream) { return stream && stream->capture && !replaying; }

void record(cudaStream_t stream, std::function<void()> node) {
  stream->capture->nodes.push_back({std::move(node), true});
  stream->seen = stream->capture->nodes.size();
}

void record_handed_out(void* p, size_t bytes, std::function<void()> now) {
  if (!active || active->thread != std::this_thread::get_id()) return;
  if (bytes) active->handed_out.insert(p);
  if (active->handed_out.count(p)) active->nodes.push_back({std::move(now), false});
}

}  // namespace emulator

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

// ---------------------------------------------------------------- streams

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  *stream = alive<EmulatedStream>().add(new EmulatedStream{current_device(), !(flags & cudaStreamNonBlocking)});
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return handle_error(alive<EmulatedStream>().remove(stream)); }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (!known(stream)) return handle_error(false);
  return captures(stream) ? invalidate(cudaErrorStreamCaptureUnsupported) : result(usable(stream));
}
cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (!known(stream) || !known(event)) return handle_error(false);
  Capture* const capture = event->capture;
  if (!capture) return stream && stream->capture ? invalidate(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
  if (!stream || (stream->capture && stream->capture != capture)) return invalidate(cudaErrorStreamCaptureMerge);
  if (!stream->capture) {  // it takes part from here on
    stream->capture = capture;
    stream->seen = capture->nodes.size();
    stream->joined = 0;
    capture->streams.insert(stream);
  } else if (stream == capture->origin && event->stream != stream) {
    event->stream->joined = event->stream->seen;
  }
  return cudaSuccess;
}

// ---------------------------------------------------------------- events

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = alive<EmulatedEvent>().add(new EmulatedEvent{});
  (*event)->timing = !(flags & cudaEventDisableTiming);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return handle_error(alive<EmulatedEvent>().remove(event)); }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (!known(stream) || !known(event)) return handle_error(false);
  event->recorded = true;
  event->at = std::chrono::steady_clock::now();
  event->capture = captures(stream) ? stream->capture : nullptr;
  event->stream = stream;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (!known(event)) return handle_error(false);
  return event->capture && active ? invalidate(cudaErrorCapturedEvent) : while_capturing(Forbidden::UnlessRelaxed);
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (!known(start) || !known(end) || !start->recorded || !end->recorded || !start->timing || !end->timing ||
      start->capture || end->capture)
    return handle_error(false);
  *milliseconds = std::chrono::duration<float, std::milli>(end->at - start->at).count();
  return cudaSuccess;
}

// ---------------------------------------------------------------- captures and graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (!known(stream)) return handle_error(false);
  const std::lock_guard lock(capture_mutex);
  if (!stream || active) return result(cudaErrorStreamCaptureUnsupported);
  active = new Capture{mode, std::this_thread::get_id(), stream, true, {}, {}, {stream}};
  stream->capture = active;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  const std::lock_guard lock(capture_mutex);
  if (!known(stream) || !stream || !stream->capture) return result(cudaErrorInvalidValue);
  Capture* const capture = stream->capture;
  if (capture->origin != stream) return invalidate(cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return invalidate(cudaErrorStreamCaptureWrongThread);
  cudaError_t error = capture->valid ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
  for (cudaStream_t other : capture->streams)
    if (error == cudaSuccess && other != stream && other->joined < other->seen) error = cudaErrorStreamCaptureUnjoined;
  leave(capture);
  if (error == cudaSuccess) *graph = alive<EmulatedGraph>().add(new EmulatedGraph{std::move(capture->nodes)});
  return result(error);  // the capture itself is kept: events may name it
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (!known(stream)) return handle_error(false);
  *status = !captures(stream)        ? cudaStreamCaptureStatusNone
            : stream->capture->valid ? cudaStreamCaptureStatusActive
                                     : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_mode);
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  if (!alive<EmulatedGraph>().alive(graph)) return handle_error(false);
  *count = 0;
  for (const Node& node : graph->nodes) *count += node.work;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* launchable, cudaGraph_t graph, unsigned long long) {
  if (!alive<EmulatedGraph>().alive(graph)) return handle_error(false);
  *launchable = alive<EmulatedGraphExec>().add(new EmulatedGraphExec{graph->nodes});
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t launchable, cudaStream_t stream) {
  if (!alive<EmulatedGraphExec>().alive(launchable)) return handle_error(false);
  if (const cudaError_t error = usable(stream)) return result(error);
  if (captures(stream)) return invalidate(cudaErrorStreamCaptureUnsupported);
  struct Replaying {
    Replaying() { replaying = true; }
    ~Replaying() { replaying = false; }
  } now;
  for (const Node& node : launchable->nodes) node.run();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return handle_error(alive<EmulatedGraph>().remove(graph)); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t launchable) {
  return handle_error(alive<EmulatedGraphExec>().remove(launchable));
}
