// What every CUDA source includes first: the language of kernels, launches, and how a kernel's host function is found.
//
// The same sources are compiled by nvcc and, for the emulator (tests/cuda_emulator), by a host compiler. So kernels
// take shared memory from rt::static_shared<T>() and rt::dyn_shared<T>() with T a plain struct, are launched by
// rt::launch, use inline PTX only through ptx.cuh, and never look at __CUDA_ARCH__.
#pragma once
#include "core/check.h"
#include "core/cuda.h"
#include "core/dtype.h"
#include "kernels/dispatch.h"

#ifdef SW_CUDA_EMULATED
#include "cuda_emulator/kernel_language.h"
#else
#include <cuda_runtime.h>

namespace rt {

template <class T>
__device__ __forceinline__ T& dyn_shared() {
  extern __shared__ __align__(1024) unsigned char dyn_shared_bytes[];
  return *reinterpret_cast<T*>(dyn_shared_bytes);
}
template <class T>
__device__ __forceinline__ T& static_shared() {
  __shared__ __align__(alignof(T) < 16 ? 16 : alignof(T)) unsigned char bytes[sizeof(T)];
  return *reinterpret_cast<T*>(bytes);
}

struct At {
  dim3 grid, block;
  size_t smem = 0;
  void* stream = nullptr;
};

[[noreturn]] inline void launch_failed(cudaError_t error, const void* kernel) {
  const char* name = nullptr;
  if (cudaFuncGetName(&name, kernel) != cudaSuccess || !name) name = "a kernel";
  throw skipway::DeviceError(skipway::concat("cuda: launching ", name, ": ", cudaGetErrorString(error)));
}

template <class... P, class... A>
void launch(void (*kernel)(P...), const At& at, A&&... arguments) {
  const void* address = reinterpret_cast<const void*>(kernel);
  cudaError_t error = cudaSuccess;
  if (at.smem > 48 * 1024) {
    error = cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize, int(at.smem));
    if (error != cudaSuccess) launch_failed(error, address);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = at.grid;
  config.blockDim = at.block;
  config.dynamicSmemBytes = at.smem;
  config.stream = static_cast<cudaStream_t>(at.stream);
  error = cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
  if (error != cudaSuccess) launch_failed(error, address);
}

}  // namespace rt
#endif

namespace skipway::cuda {

inline constexpr unsigned kFullWarp = 0xffffffffu;
inline constexpr int kWarp = 32;

// The kernels of this library, by name (csrc/cuda/backend.cu).
struct KernelEntry {
  KernelEntry(const char* name, void (*function)());
  const char* name;
  void (*function)();
  KernelEntry* next;
};

// Scratch memory for the launches of one host function.
class Workspace {
 public:
  Workspace(const Stream& stream, size_t bytes)
      : stream_(stream), bytes_(bytes), data_(bytes ? stream.allocate(stream, bytes) : nullptr) {}
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    if (data_) stream_.release(stream_, data_, bytes_);
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  const Stream& stream_;
  size_t bytes_;
  void* data_;
};

// Host memory that a copy on the stream may read: while the stream is captured, pinned memory of the graph with the
// same bytes, as the copy happens in each replay; else `from` itself (csrc/cuda/backend.cu).
const void* kept_for_replays(const Stream& stream, const void* from, size_t bytes);

// A small table from host memory, which may go when this returns: up to 64 KB are staged by the call.
inline void upload(const Stream& stream, void* to, const void* from, size_t bytes) {
  from = kept_for_replays(stream, from, bytes);
  const cudaError_t error =
      cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream.handle));
  if (error != cudaSuccess) throw DeviceError(concat("cuda: copying a table: ", cudaGetErrorString(error)));
}

// From a kernel: the first fault is kept (see core/cuda.h). The caller goes on without touching the element.
__device__ __forceinline__ void raise_fault(Fault* fault, FaultKind what, int64_t value, int64_t limit) {
  if (atomicCAS(&fault->state, 0, 1) != 0) return;
  fault->what = int32_t(what);
  fault->value = value;
  fault->limit = limit;
  __threadfence_system();
  atomicExch(&fault->state, 2);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks for `work` items, `per_block` of them in a block; kernels stride over the rest. At least 1.
inline unsigned grid_for(int64_t work, int64_t per_block, const Stream& stream, int waves = 16) {
  const int64_t blocks = ceil_div(work, per_block), most = int64_t(stream.multiprocessors) * waves;
  return unsigned(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

// dispatch_cuda(dtype, [&]<class T>(Type<T>) { ... }) for float, double, bfloat16 and float16.
template <class F>
void dispatch_cuda(DType d, const F& f) {
  switch (d) {
    case DType::Float32:
      return f(Type<float>{});
    case DType::Float64:
      return f(Type<double>{});
    case DType::BFloat16:
      return f(Type<bfloat16>{});
    case DType::Float16:
      return f(Type<float16>{});
    default:
      throw TypeError("cuda: a kernel for floating dtypes was called with integers");
  }
}

}  // namespace skipway::cuda

// The host function of a kernel that an op header declares:
//   SW_CUDA_KERNEL(residual_add_forward, args, stream) { ... rt::launch(...); }
// It launches on `stream` and does not wait.
#define SW_CUDA_KERNEL(name, args, stream)                                                                 \
  static void name##_cuda(const skipway::name##_args&, const skipway::cuda::Stream&);                      \
  static const skipway::cuda::KernelEntry name##_entry(#name, reinterpret_cast<void (*)()>(&name##_cuda)); \
  static void name##_cuda([[maybe_unused]] const skipway::name##_args& args,                               \
                          [[maybe_unused]] const skipway::cuda::Stream& stream)
