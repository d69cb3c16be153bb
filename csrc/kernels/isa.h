// Which of the compiled instruction sets runs. SKIPWAY_ISA=baseline|avx2|avx512 overrides CPUID (never upwards).
#pragma once
#include "core/device.h"

namespace skipway {

enum class Isa : uint8_t { Baseline, Avx2, Avx512 };
#ifdef SW_X86
inline constexpr int kNumIsa = 3;
#else
inline constexpr int kNumIsa = 1;
#endif

Isa current_isa();
Isa best_isa();         // what this CPU can run
void set_isa(Isa isa);  // for tests; throws ValueError when the CPU cannot run it
const char* name_of(Isa isa);
Isa parse_isa(const char* name);  // throws ValueError

}  // namespace skipway
