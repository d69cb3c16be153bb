// CUDA devices, as the core sees them.
//
// The CUDA runtime and our kernels live in a library of their own, _cuda, which the core opens when a CUDA device is
// first asked for: so one core imports with and without a GPU, a driver or cuBLAS, and the tests can put the emulator
// (tests/cuda_emulator) in its place. SKIPWAY_CUDA_LIBRARY names another library than the one beside the core.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/device.h"

namespace skipway::cuda {

// What a kernel found wrong with its data (an index out of range). It lies in host memory that the device writes; the
// first fault stays until the host next waits for the device, which then throws an IndexError.
struct Fault {
  int32_t state;  // 0 none, 1 being written, 2 complete
  int32_t what;   // which of the messages in cuda.cpp
  int64_t value, limit;
};
enum class FaultKind : int32_t { Index, Target };

// Where a kernel's host function launches, and what it may ask for.
struct Stream {
  int device = 0;
  void* handle = nullptr;  // a cudaStream_t; null is the default stream
  int multiprocessors = 0;
  int compute_capability = 0;  // 90 for 9.0
  Fault* fault = nullptr;
  // Scratch memory of this stream: what is released may be handed out again at once, as work on a stream is in order.
  void* (*allocate)(const Stream&, size_t bytes) = nullptr;
  void (*release)(const Stream&, void* p, size_t bytes) = nullptr;
};

struct Properties {
  std::string name;
  int major = 0, minor = 0, multiprocessors = 0;
  int64_t total_memory = 0, shared_memory_per_block = 0, l2_cache = 0;
};

// What the library _cuda provides. Functions throw DeviceError (naming the call, and what CUDA says), except where a
// comment says otherwise.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string description() const = 0;  // "CUDA 13.0, sm_80, sm_90", or "emulator"
  virtual bool emulated() const = 0;
  virtual int device_count(std::string* why_none) = 0;  // 0 where there is no driver or no device; never throws
  virtual Properties properties(int device) = 0;
  virtual void set_device(int device) = 0;  // of the calling thread

  virtual void* allocate(int device, size_t bytes) = 0;  // null when there is no memory left
  virtual void release(int device, void* p) = 0;
  virtual void memory_info(int device, size_t* free, size_t* total) = 0;
  virtual void* allocate_pinned(size_t bytes) = 0;  // null when there is no memory left
  virtual void release_pinned(void* p) = 0;
  // A cached block is handed out for `bytes` bytes: the emulator marks them as not initialised and guards the rest.
  virtual void handed_out(void* p, size_t bytes) = 0;

  // On a stream; host memory that is not pinned makes a copy wait.
  virtual void copy(void* to, const void* from, size_t bytes, void* stream) = 0;
  virtual void fill(void* to, int byte, size_t bytes, void* stream) = 0;

  virtual void* create_stream(int device, int priority) = 0;
  virtual void destroy_stream(void* stream) = 0;
  virtual void synchronize_stream(void* stream) = 0;
  virtual bool stream_is_done(void* stream) = 0;
  virtual void synchronize_device(int device) = 0;
  virtual void* create_event(int device, bool timing) = 0;
  virtual void destroy_event(void* event) = 0;
  virtual void record_event(void* event, void* stream) = 0;
  virtual void wait_event(void* stream, void* event) = 0;  // the stream waits
  virtual void synchronize_event(void* event) = 0;
  virtual bool event_is_done(void* event) = 0;
  virtual float elapsed_ms(void* start, void* end) = 0;

  virtual void (*kernel(const char* name))() = 0;  // null when there is none; a KernelFunction<Args> otherwise
};

template <class Args>
using KernelFunction = void (*)(const Args&, const Stream&);

// The symbol of _cuda that the core looks up: Backend* skipway_cuda_backend(int interface). It gives null for another
// interface version than its own.
inline constexpr int kInterface = 1;
using BackendFunction = Backend* (*)(int interface);

Backend& backend();                                 // throws DeviceError that says why there is none
int device_count(std::string* why_none = nullptr);  // 0 when there is no library, driver or device; never throws
void check_device(Device device);                   // throws DeviceError unless the device exists

int current_device();  // of this thread
void set_current_device(int device);
Stream current_stream(int device);  // of this thread on that device
void set_current_stream(int device, void* handle);

void (*find_kernel(const char* name, Device device))();  // throws DeviceError when there is none

// Waits for the device (or stream), then throws what its kernels found wrong with their data.
void synchronize(int device);
void synchronize_stream(int device, void* handle);

}  // namespace skipway::cuda

namespace skipway {

// memcpy and memset on any device; across devices too. What is read on the host afterwards is there: copies to the CPU
// wait. A copy from the CPU has been read when this returns, unless the memory is pinned and non_blocking.
void copy_memory(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
                 bool non_blocking = false);
void fill_memory(void* to, Device device, int byte, size_t bytes);

}  // namespace skipway
