#include "core/cuda.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/check.h"
#include "core/cuda_memory.h"

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
    backend = get ? get(kInterface) : nullptr;
    if (!backend) why_none = "the CUDA library " + path + " belongs to another version of skipway";
  }
};

Library& library() {
  static Library* const l = new Library;  // never destroyed: static Python objects outlive static destructors
  return *l;
}

struct DeviceState {
  Properties properties;
  Fault* fault = nullptr;
};

DeviceState& state(int device) {
  static DeviceState* const states = new DeviceState[kMaxDevices];
  static std::once_flag* const once = new std::once_flag[kMaxDevices];
  std::call_once(once[device], [device] {
    check_device({DeviceType::CUDA, int8_t(device)});
    DeviceState& s = states[device];
    s.properties = backend().properties(device);
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
  const char* what = FaultKind(found.what) == FaultKind::Target ? "target" : "index";
  throw IndexError(concat(what, " ", found.value, " is out of range for size ", found.limit, " (found by a kernel on ",
                          Device{DeviceType::CUDA, int8_t(device)}.str(), ")"));
}

void* scratch(const Stream& stream, size_t bytes) { return allocate_on_stream(stream.device, stream.handle, bytes); }
void release_scratch(const Stream& stream, void* p, size_t bytes) {
  release_on_stream(stream.device, stream.handle, p, bytes);
}

void use_device(int device) {
  if (t_runtime_device == device) return;
  backend().set_device(device);
  t_runtime_device = device;
}

}  // namespace

Backend& backend() {
  Library& l = library();
  if (!l.backend) throw DeviceError(concat("cuda: ", l.why_none));
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
  t_streams[device] = handle;
}

void (*find_kernel(const char* name, Device device))() {
  // Kernel names are string literals: their addresses serve as keys.
  static auto* const found = new std::unordered_map<const char*, void (*)()>;
  static auto* const mutex = new std::mutex;
  std::lock_guard<std::mutex> lock(*mutex);
  auto& function = (*found)[name];
  if (!function) function = backend().kernel(name);
  if (!function) throw DeviceError(concat(name, ": no kernel for device ", device.str(), " in this build"));
  return function;
}

void synchronize(int device) {
  use_device(device);
  backend().synchronize_device(device);
  check_fault(device);
}

void synchronize_stream(int device, void* handle) {
  use_device(device);
  backend().synchronize_stream(handle);
  check_fault(device);
}

}  // namespace cuda

void copy_memory(void* to, Device to_device, const void* from, Device from_device, size_t bytes, bool non_blocking) {
  if (bytes == 0) return;
  if (to_device.is_cpu() && from_device.is_cpu()) {
    std::memcpy(to, from, bytes);
    return;
  }
  const int device = from_device.is_cpu() ? to_device.index : from_device.index;
  const cuda::Stream stream = cuda::current_stream(device);
  cuda::backend().copy(to, from, bytes, stream.handle);
  if (non_blocking) return;
  if (to_device.is_cpu() || from_device.is_cpu()) {
    cuda::synchronize_stream(device, stream.handle);
  } else if (to_device != from_device) {  // later work on the other device must find it
    cuda::synchronize_stream(device, stream.handle);
  }
}

void fill_memory(void* to, Device device, int byte, size_t bytes) {
  if (bytes == 0) return;
  if (device.is_cpu()) {
    std::memset(to, byte, bytes);
    return;
  }
  cuda::backend().fill(to, byte, bytes, cuda::current_stream(device.index).handle);
}

}  // namespace skipway
