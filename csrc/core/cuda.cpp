#include "core/cuda.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/check.h"
#include "core/cuda_fault.h"
#include "core/cuda_graph.h"
#include "core/cuda_memory.h"
#include "core/deferred.h"

namespace skipway {
namespace cuda {
namespace {

constexpr int kMaxDevices = 64;

std::string library_path() {
  if (const char* path = std::getenv("SKIPWAY_CUDA_LIBRARY"); path && *path) return path;
  Dl_info info;
  if (!dladdr(reinterpret_cast<const void*>(&library_path), &info) || !info.dli_fname) return {};
  const std::string core = info.dli_fname;
  return core.substr(0, core.rfind('/') + 1) + "_cuda.so";
}

// The library, opened once; its absence is remembered with its reason.
struct Library {
  Backend* backend = nullptr;
  std::string why_none;
  Library() {
    // Every launch waits, so that a failure is reported by the launch that made it.
    const char* blocking = std::getenv("SKIPWAY_CUDA_BLOCKING");
    if (blocking && std::strcmp(blocking, "1") == 0) setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
    const std::string path = library_path();
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      const std::string error = dlerror();
      const bool absent = error.find("No such file") != std::string::npos;
      why_none = absent ? "this build of skipway has no CUDA kernels (install it with -C cmake.define.SKIPWAY_CUDA=ON)"
                        : "the CUDA library does not load: " + error;
      return;
    }
    const auto get = reinterpret_cast<BackendFunction>(dlsym(handle, "skipway_cuda_backend"));
    backend = get ? get(kGraphInterface) : nullptr;
    if (!backend) why_none = "the CUDA library " + path + " belongs to another version of skipway";
  }
};

std::atomic<bool> initialised{false}, forked{false};

Library& library() {
  static Library* const l = new Library;  // never destroyed: static Python objects outlive static destructors
  return *l;
}

struct DeviceState {
  Properties properties;
  Fault* fault = nullptr;
};

// The kernels launched last on each device, the newest last: what may have failed when the device reports a failure.
struct Launched {
  const char* kernel = nullptr;
  void* stream = nullptr;
};
struct History {
  std::mutex mutex;
  std::unordered_map<const char*, void (*)()> functions;  // kernel names are literals: their addresses serve as keys
  std::array<Launched, 16> ring[kMaxDevices];
  unsigned next[kMaxDevices] = {};
};
History& history() {
  static History* const h = new History;
  return *h;
}

std::string last_kernels(int device) {
  constexpr int kNamed = 3;
  History& h = history();
  std::lock_guard<std::mutex> lock(h.mutex);
  std::string names;
  const unsigned n = unsigned(h.ring[device].size());
  for (unsigned i = 0, named = 0; i < n && named < kNamed; ++i) {
    const Launched& l = h.ring[device][(h.next[device] + n - 1 - i) % n];
    if (!l.kernel) break;
    names += concat(named++ ? ", " : "", l.kernel);
    if (l.stream) names += " (on a stream)";
  }
  return names;
}

// Runs f; a failure of the device is told with the kernels that may have caused it.
template <class F>
auto blaming_kernels(int device, const F& f) {
  try {
    return f();
  } catch (const DeviceError& e) {
    const std::string kernels = last_kernels(device);
    if (kernels.empty()) throw;
    throw DeviceError(concat(e.what(), "; the last kernels launched on cuda:", device, ", newest first: ", kernels,
                             "; SKIPWAY_CUDA_BLOCKING=1 makes each launch wait and so tells which one it was"));
  }
}

DeviceState& state(int device) {
  static DeviceState* const states = new DeviceState[kMaxDevices];
  static std::once_flag* const once = new std::once_flag[kMaxDevices];
  std::call_once(once[device], [device] {
    check_device({DeviceType::CUDA, int8_t(device)});
    DeviceState& s = states[device];
    s.properties = backend().properties(device);
    if (!initialised.exchange(true)) pthread_atfork(nullptr, nullptr, [] { forked = true; });
    s.fault = static_cast<Fault*>(backend().allocate_pinned(sizeof(Fault)));
    if (!s.fault) throw OutOfMemoryError("cuda: no pinned memory for a device's fault record");
    *s.fault = {};
  });
  return states[device];
}

thread_local int t_device = 0;
thread_local int t_runtime_device = -1;  // what the CUDA runtime was last told
thread_local void* t_streams[kMaxDevices] = {};

void check_fault(int device) {
  Fault& fault = *state(device).fault;
  if (__atomic_load_n(&fault.state, __ATOMIC_ACQUIRE) == 0) return;
  const Fault found = fault;
  fault = {};
  const std::string where = concat(" (found by a kernel on ", Device{DeviceType::CUDA, int8_t(device)}.str(), ")");
  if (FaultKind(found.what) == kDivisionByZero) throw Error(concat("an integer was divided by zero", where));
  if (FaultKind(found.what) == kNoProbability) {
    double value;
    std::memcpy(&value, &found.value, sizeof value);
    throw ValueError(concat("a loss expected input values in [0, 1] (probabilities), got ", value, " (number ",
                            found.limit, " in memory)", where));
  }
  const char* what = FaultKind(found.what) == FaultKind::Target ? "target" : "index";
  throw IndexError(concat(what, " ", found.value, " is out of range for size ", found.limit, where));
}

void* scratch(const Stream& stream, size_t bytes) { return allocate_on_stream(stream.device, stream.handle, bytes); }
void release_scratch(const Stream& stream, void* p, size_t bytes) {
  release_on_stream(stream.device, stream.handle, p, bytes);
}

// Other libraries may change the CUDA runtime's device, which matters where there are several.
void use_device(int device) {
  if (t_runtime_device == device && device_count() == 1) return;
  backend().set_device(device);
  t_runtime_device = device;
}

}  // namespace

Backend& backend() {
  Library& l = library();
  if (!l.backend) throw DeviceError(concat("cuda: ", l.why_none));
  if (forked && !l.backend->emulated()) {
    throw DeviceError(
        "cuda: a process that was forked from one that uses a CUDA device cannot use it: start it with the \"spawn\" "
        "method, or use CUDA in one of the two only");
  }
  return *l.backend;
}

int device_count(std::string* why_none) {
  Library& l = library();
  if (!l.backend) {
    if (why_none) *why_none = l.why_none;
    return 0;
  }
  static std::string* const reason = new std::string;
  static const int count = std::min(l.backend->device_count(reason), kMaxDevices);
  if (why_none) *why_none = *reason;
  return count;
}

void check_device(Device device) {
  if (device.is_cpu()) return;
  std::string why;
  const int count = device_count(&why);
  if (count == 0) throw DeviceError(concat("device ", device.str(), ": ", why));
  if (device.index < 0 || device.index >= count)
    throw DeviceError(concat("device ", device.str(), ": expected an index below ", count, ", the number of devices"));
}

int current_device() { return t_device; }
void set_current_device(int device) {
  check_device({DeviceType::CUDA, int8_t(device)});
  t_device = device;
}

Stream current_stream(int device) {
  const DeviceState& s = state(device);
  use_device(device);
  return {
      device,   t_streams[device], s.properties.multiprocessors, s.properties.major * 10 + s.properties.minor, s.fault,
      &scratch, &release_scratch};
}
void set_current_stream(int device, void* handle) {
  state(device);
  SW_CHECK(!capturing() || capturing()->device() != device,
           "cuda graph: the stream cannot be changed while a graph is captured");
  if (t_streams[device] != handle) settle_all({DeviceType::CUDA, int8_t(device)});  // as the old one's order has it
  t_streams[device] = handle;
}

// What happens on another device than the captured one would not be a part of the graph.
static void check_captured_device(int device) {
  const Graph* const graph = capturing();
  SW_CHECK(!graph || graph->device() == device, "cuda graph: work on cuda:", device,
           " in the capture of a graph on cuda:", graph ? graph->device() : -1,
           "; capture within `with sw.cuda.device(", device, "):`");
}

void (*find_kernel(const char* name, Device device))() {
  Backend& library = backend();
  check_captured_device(device.index);
  void* const stream = t_streams[device.index];
  History& h = history();
  std::lock_guard<std::mutex> lock(h.mutex);
  auto& function = h.functions[name];
  if (!function) function = library.kernel(name);
  if (!function) throw DeviceError(concat(name, ": no kernel for device ", device.str(), " in this build"));
  unsigned& next = h.next[device.index];
  h.ring[device.index][next] = {name, stream};
  next = (next + 1) % unsigned(h.ring[device.index].size());
  return function;
}

void synchronize(int device) {
  not_in_capture("waiting for the device");
  const Stream stream = current_stream(device);
  blaming_kernels(stream.device, [&] { backend().synchronize_device(device); });
  check_fault(device);
}

void synchronize_stream(int device, void* handle) {
  not_in_capture("waiting for a stream");
  const Stream stream = current_stream(device);
  blaming_kernels(stream.device, [&] { backend().synchronize_stream(handle); });
  check_fault(device);
}

}  // namespace cuda

namespace {
// Within the device, and asynchronous ones of pinned memory; each replay does them again.
void check_copy_in_capture(const void* to, Device to_device, const void* from, Device from_device, size_t bytes,
                           bool non_blocking) {
  if (to_device == from_device) return;
  const bool to_cpu = to_device.is_cpu(), from_cpu = from_device.is_cpu();
  if (non_blocking && (to_cpu || from_cpu) && cuda::is_pinned(to_cpu ? to : from)) return;
  cuda::not_in_capture(concat("a copy of ", bytes, " bytes from ", from_device, " to ", to_device));
}
}  // namespace

void copy_memory(void* to, Device to_device, const void* from, Device from_device, size_t bytes, bool non_blocking) {
  if (bytes == 0) return;
  if (to_device.is_cpu() && from_device.is_cpu()) {
    std::memcpy(to, from, bytes);
    return;
  }
  const bool across = !to_device.is_cpu() && !from_device.is_cpu() && to_device != from_device;
  if (cuda::capturing()) check_copy_in_capture(to, to_device, from, from_device, bytes, non_blocking);
  if (across) cuda::synchronize(to_device.index);  // what used the destination's memory before
  const int device = from_device.is_cpu() ? to_device.index : from_device.index;
  cuda::check_captured_device(device);
  const cuda::Stream stream = cuda::current_stream(device);
  cuda::blaming_kernels(device, [&] { cuda::backend().copy(to, from, bytes, stream.handle); });
  if (cuda::Graph* const graph = cuda::capturing()) {
    if (to_device != from_device) graph->keep(cuda::keep_pinned(to_device.is_cpu() ? to : from));
  } else if (non_blocking && !across) {
    cuda::record_pinned(to_device.is_cpu() ? to : from, stream);
  } else if (across || to_device.is_cpu() || from_device.is_cpu()) {  // the host, or the other device, must find it
    cuda::synchronize_stream(device, stream.handle);
  }
}

void fill_memory(void* to, Device device, int byte, size_t bytes) {
  if (bytes == 0) return;
  if (device.is_cpu()) {
    std::memset(to, byte, bytes);
    return;
  }
  cuda::check_captured_device(device.index);
  const cuda::Stream stream = cuda::current_stream(device.index);
  cuda::blaming_kernels(device.index, [&] { cuda::backend().fill(to, byte, bytes, stream.handle); });
}

}  // namespace skipway
