#include "kernels/isa.h"

#include <cstdlib>
#include <cstring>

#include "core/check.h"

namespace skipway {
namespace {

Isa detect() {
#ifdef SW_X86
  if (__builtin_cpu_supports("x86-64-v4")) return Isa::Avx512;
  if (__builtin_cpu_supports("x86-64-v3")) return Isa::Avx2;
#endif
  return Isa::Baseline;
}

Isa initial() {
  const char* wanted = std::getenv("SKIPWAY_ISA");
  if (!wanted || !*wanted) return best_isa();
  const Isa isa = parse_isa(wanted);
  return isa > best_isa() ? best_isa() : isa;
}

Isa& chosen() {
  static Isa isa = initial();
  return isa;
}

}  // namespace

Isa best_isa() {
  static const Isa isa = detect();
  return isa;
}

Isa current_isa() { return chosen(); }

void set_isa(Isa isa) {
  SW_CHECK_VALUE(isa <= best_isa(), "set_isa: this CPU runs at most ", name_of(best_isa()), ", got ", name_of(isa));
  chosen() = isa;
}

const char* name_of(Isa isa) {
  static const char* const names[] = {"baseline", "avx2", "avx512"};
  return names[int(isa)];
}

Isa parse_isa(const char* name) {
  for (int i = 0; i < 3; ++i)
    if (!std::strcmp(name, name_of(Isa(i)))) return Isa(i);
  throw ValueError(concat("SKIPWAY_ISA: expected baseline, avx2 or avx512, got ", name));
}

}  // namespace skipway
