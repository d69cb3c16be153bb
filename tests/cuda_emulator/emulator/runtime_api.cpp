#include "cuda_emulator/runtime_api.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda_emulator/emulator/launches.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"
#include "cuda_emulator/emulator/streams.h"

using namespace emulator;

namespace {

thread_local int device = 0;

// A range that a copy or fill touches: on the device all of it must be allocated.
void check_range(const void* p, size_t bytes, const char* what) {
  const size_t offset = space_offset(p);
  if (offset >= kSpaceBytes) return;
  for (size_t i = offset; i < offset + bytes; ++i) {
    if (i < kSpaceBytes && (shadow.state[i] & kAddressable)) continue;
    report(what, nullptr, nullptr,
           (i < kSpaceBytes && shadow.state[i] & kFreed ? "freed memory, " : "") + describe_address(i));
    throw_faults();
  }
}

bool on_device(const void* p) { return is_device(space_offset(p)); }

void check_kind(const void* to, const void* from, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device != on_device(to))
    report(to_device ? "cudaMemcpy to the device, but the destination is host memory"
                     : "cudaMemcpy to the host, but the destination is device memory",
           nullptr, nullptr, format("at %p", to));
  if (from_device != on_device(from))
    report(from_device ? "cudaMemcpy from the device, but the source is host memory"
                       : "cudaMemcpy from the host, but the source is device memory",
           nullptr, nullptr, format("at %p", from));
  throw_faults();
}

// What a copy knows of its bytes: those of the host count as initialised.
void copy_states(void* to, const void* from, size_t bytes) {
  const size_t to_offset = space_offset(to), from_offset = space_offset(from);
  if (to_offset >= kSpaceBytes || is_pinned(to_offset)) return;
  if (!is_device(from_offset)) {
    std::memset(shadow.state + to_offset, kAddressable | kInitialised, bytes);
    return;
  }
  std::memmove(shadow.state + to_offset, shadow.state + from_offset, bytes);
}

Region region_of_device() { return device == 0 ? Region::Device0 : Region::Device1; }

// The driver would read or write pageable memory of the host when the graph runs.
void check_captured_copy(const void* to, const void* from) {
  for (const void* p : {to, from}) {
    if (space && (is_device(space_offset(p)) || is_pinned(space_offset(p)))) continue;
    report("a captured copy of pageable host memory", nullptr, nullptr,
           format("at %p, which is looked at whenever the graph runs: use pinned memory that lives as long", p));
    throw_faults();
  }
}

void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const DeviceMemoryOpen open;
  throw_faults();
  check_kind(to, from, kind);
  check_range(to, bytes, "cudaMemcpy: the destination is out of bounds");
  check_range(from, bytes, "cudaMemcpy: the source is out of bounds");
  std::memmove(to, from, bytes);
  copy_states(to, from, bytes);
}

void fill(void* to, int byte, size_t bytes) {
  const DeviceMemoryOpen open;
  throw_faults();
  if (space_offset(to) >= kSpaceBytes) {
    report("cudaMemset of memory that is not the device's", nullptr, nullptr, format("at %p", to));
    throw_faults();
  }
  check_range(to, bytes, "cudaMemset: out of bounds");
  std::memset(to, byte, bytes);
  mark_initialised(space_offset(to), bytes);
}

}  // namespace

namespace emulator {
int current_device() { return device; }
}  // namespace emulator

// ---------------------------------------------------------------- errors and versions

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorNotSupported:
      return "operation not supported";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnjoined:
      return "capturing stream has unjoined work";
    case cudaErrorStreamCaptureImplicit:
      return "operation would make the legacy stream depend on a capturing blocking stream";
    case cudaErrorCapturedEvent:
      return "operation not permitted on an event last recorded in a capturing stream";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    default:
      return "unknown error";
  }
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaSuccess                 ? "cudaSuccess"
         : error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation"
                                              : "cudaErrorUnknown";
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

// ---------------------------------------------------------------- devices

cudaError_t cudaGetDeviceCount(int* count) {
  *count = kDevices;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* current) {
  *current = device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int wanted) {
  if (wanted < 0 || wanted >= kDevices) return result(cudaErrorInvalidDevice);
  device = wanted;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int which) {
  if (which < 0 || which >= kDevices) return result(cudaErrorInvalidDevice);
  *p = {};
  std::snprintf(p->name, sizeof p->name, "CUDA emulator");
  p->totalGlobalMem = settings.memory_limit;
  p->sharedMemPerBlock = kStaticSharedLimit;
  p->sharedMemPerBlockOptin = kBlockSharedLimit;
  p->sharedMemPerMultiprocessor = kBlockSharedLimit + 1024;
  p->major = 9;
  p->multiProcessorCount = 4;  // few: grids that are sized by it stay small
  p->warpSize = kWarpSize;
  p->maxThreadsPerBlock = int(kMaxThreads);
  p->maxThreadsPerMultiProcessor = 2048;
  p->regsPerBlock = 65536;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 0x7fffffff;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->l2CacheSize = 50 << 20;
  p->memoryBusWidth = 5120;
  p->canMapHostMemory = p->unifiedAddressing = p->concurrentKernels = 1;
  p->asyncEngineCount = 2;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int which) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, which); error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = int(p.sharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = int(p.sharedMemPerBlockOptin);
      break;
    default:
      return result(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return result(while_capturing(Forbidden::Always)); }
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int value) {
  return result(value >= 0 && size_t(value) <= kBlockSharedLimit ? cudaSuccess : cudaErrorInvalidValue);
}

// ---------------------------------------------------------------- memory

cudaError_t cudaMalloc(void** p, size_t bytes) {
  *p = nullptr;
  if (const cudaError_t error = while_capturing(Forbidden::UnlessRelaxed)) return result(error);
  if (!bytes) return cudaSuccess;
  const DeviceMemoryOpen open;
  *p = allocate(region_of_device(), bytes);
  return result(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* p) {
  if (!p) return cudaSuccess;
  if (const cudaError_t error = while_capturing(Forbidden::UnlessRelaxed)) return result(error);
  const DeviceMemoryOpen open;
  const size_t offset = space_offset(p);
  const Region region = is_device(offset) && device_of(offset) == 1 ? Region::Device1 : Region::Device0;
  return result(release(region, p) ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  *p = nullptr;
  if (const cudaError_t error = while_capturing(Forbidden::UnlessRelaxed)) return result(error);
  if (!bytes) return cudaSuccess;
  const DeviceMemoryOpen open;
  *p = allocate(Region::Pinned, bytes);
  return result(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaMallocHost(void** p, size_t bytes) { return cudaHostAlloc(p, bytes, cudaHostAllocDefault); }
cudaError_t cudaFreeHost(void* p) {
  if (!p) return cudaSuccess;
  if (const cudaError_t error = while_capturing(Forbidden::UnlessRelaxed)) return result(error);
  const DeviceMemoryOpen open;
  return result(release(Region::Pinned, p) ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaHostGetDevicePointer(void** device_pointer, void* host, unsigned) {
  if (!space || !is_pinned(space_offset(host))) return result(cudaErrorInvalidValue);
  *device_pointer = host;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const DeviceMemoryOpen open;
  const size_t used = allocated_bytes(region_of_device());
  *total = settings.memory_limit;
  *free = used < *total ? *total - used : 0;
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  const DeviceMemoryOpen open;
  const size_t offset = space_offset(p);
  void* pointer = const_cast<void*>(p);
  if (is_device(offset)) {
    *attributes = {cudaMemoryTypeDevice, device_of(offset), pointer, nullptr};
  } else if (is_pinned(offset)) {
    *attributes = {cudaMemoryTypeHost, device, pointer, pointer};
  } else {
    *attributes = {cudaMemoryTypeUnregistered, -1, nullptr, pointer};
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t error = usable(stream)) return result(error);
  if (!bytes) return cudaSuccess;
  if (captures(stream)) {
    check_captured_copy(to, from);
    record(stream, [=] { copy(to, from, bytes, kind); });
  } else {
    copy(to, from, bytes, kind);
  }
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = while_capturing(Forbidden::UnlessRelaxed)) return result(error);
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaMemsetAsync(void* to, int byte, size_t bytes, cudaStream_t stream) {
  if (const cudaError_t error = usable(stream)) return result(error);
  if (!bytes) return cudaSuccess;
  captures(stream) ? record(stream, [=] { fill(to, byte, bytes); }) : fill(to, byte, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* to, int byte, size_t bytes) {
  if (const cudaError_t error = while_capturing(Forbidden::UnlessRelaxed)) return result(error);
  return cudaMemsetAsync(to, byte, bytes, nullptr);
}

void emulator_handed_out(void* p, size_t bytes) {
  const auto now = [=] {
    const DeviceMemoryOpen open;
    hand_out(space_offset(p), bytes);
  };
  if (!p) return;
  now();
  record_handed_out(p, bytes, now);
}
