// Levels of instruction sets, as SKIPWAY_ISA names them. All kernels exist for the first three (kernels/isa.h); the
// further ones add kernels for bfloat16 products, and run the avx512 kernels for all else:
//   avx512_bf16  vdpbf16ps, a product of pairs per lane
//   amx          tiles of 16 x 16 products, where the kernel lets this process use them
#pragma once
#include "kernels/isa.h"

namespace skipway {

enum class Level : uint8_t { Baseline, Avx2, Avx512, Avx512Bf16, Amx };

Level current_level();
Level best_level();           // what this CPU can run; asks the system for the use of AMX tiles where there are any
void set_level(Level level);  // throws ValueError when the CPU cannot run it
void assume_tiles();          // lets set_level choose Amx on a CPU of Avx512Bf16: for tests that emulate the tiles
const char* name_of(Level level);
Level parse_level(const char* name);  // throws ValueError

// A kernel of bfloat16 products, declared by SW_DECLARE_BF16_KERNEL(name, Args) and defined in a *bf16*_cpu.cpp file,
// which CMake compiles for these levels alone. launch_bf16 returns false where the present level has none.
template <class Args>
struct Bf16Kernel {
  void (*unit[2])(const Args&);
};
template <class Args>
bool launch_bf16(const Bf16Kernel<Args>& kernel, const Args& args) {
  const Level level = current_level();
  if (level < Level::Avx512Bf16) return false;
  kernel.unit[int(level) - int(Level::Avx512Bf16)](args);
  return true;
}

}  // namespace skipway

#ifdef SW_X86
#define SW_DECLARE_BF16_KERNEL(name, Args) \
  namespace avx512_bf16 {                  \
  void name(const Args&);                  \
  }                                        \
  namespace amx {                          \
  void name(const Args&);                  \
  }                                        \
  inline constexpr Bf16Kernel<Args> name{{&avx512_bf16::name, &amx::name}};
#else  // no level has one
#define SW_DECLARE_BF16_KERNEL(name, Args) inline constexpr Bf16Kernel<Args> name{};
#endif
