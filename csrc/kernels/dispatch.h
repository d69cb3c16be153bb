// A kernel is one function per instruction set with the same signature, void name(const Args&), declared by
//   SW_DECLARE_KERNEL(layer_norm_forward, LayerNormArgs)
// and defined in <op>_cpu.cpp inside namespace skipway::SW_ISA, a file that CMake compiles once per instruction set.
// launch(device, layer_norm_forward, args) picks one.
#pragma once
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
  if (!device.is_cpu()) missing_kernel(device, kernel.name);
  kernel.cpu[int(current_isa())](args);
}

// What a backward kernel does with an output: nothing, overwrite it, or add to what is there (a residual stream).
enum class GradMode : uint8_t { Skip, Write, Add };
struct Grad {
  void* data = nullptr;
  GradMode mode = GradMode::Skip;
};

}  // namespace skipway

#ifdef SW_X86
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
