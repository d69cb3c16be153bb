// A kernel is one function per instruction set, void name(const Args&), and one for CUDA devices, declared by
//   SW_DECLARE_KERNEL(layer_norm_forward, LayerNormArgs)
// and defined in <op>_cpu.cpp inside namespace skipway::SW_ISA, a file that CMake compiles once per instruction set,
// and in <op>_cuda.cu by SW_CUDA_KERNEL(layer_norm_forward). launch(device, layer_norm_forward, args) picks one.
#pragma once
#include "core/cuda.h"
#include "core/device.h"
#include "kernels/isa.h"

namespace skipway {

template <class Args>
struct Kernel {
  const char* name;
  void (*cpu[kNumIsa])(const Args&);
};

template <class Args>
void launch(Device device, const Kernel<Args>& kernel, const Args& args) {
  if (device.is_cpu()) return kernel.cpu[int(current_isa())](args);
  const auto function = reinterpret_cast<cuda::KernelFunction<Args>>(cuda::find_kernel(kernel.name, device));
  function(args, cuda::current_stream(device.index));
}

// What a backward kernel does with an output: nothing, overwrite it, or add to what is there (a residual stream).
enum class GradMode : uint8_t { Skip, Write, Add };
struct Grad {
  void* data = nullptr;
  GradMode mode = GradMode::Skip;
};

}  // namespace skipway

#if defined(SW_CUDA_MODULE)
#define SW_DECLARE_KERNEL(name, Args) using name##_args = Args;
#elif defined(SW_X86)
#define SW_DECLARE_KERNEL(name, Args) \
  namespace baseline {                \
  void name(const Args&);             \
  }                                   \
  namespace avx2 {                    \
  void name(const Args&);             \
  }                                   \
  namespace avx512 {                  \
  void name(const Args&);             \
  }                                   \
  inline constexpr Kernel<Args> name{#name, {&baseline::name, &avx2::name, &avx512::name}};
#else
#define SW_DECLARE_KERNEL(name, Args) \
  namespace baseline {                \
  void name(const Args&);             \
  }                                   \
  inline constexpr Kernel<Args> name{#name, {&baseline::name}};
#endif
