#include <cstdlib>
#include <cstring>

#include "core/check.h"
#include "kernels/isa_level.h"
#ifdef SW_X86
#include <cpuid.h>
#endif
#if defined(SW_X86) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace skipway {
namespace {

constexpr const char* kNames[] = {"baseline", "avx2", "avx512", "avx512_bf16", "amx"};

#ifdef SW_X86
// Tiles with bfloat16 products (CPUID leaf 7: EDX bits 22 and 24), state that the system saves (XCR0 bits 17 and 18),
// and leave to use it: Linux hands the 8 KB of tile data out on request, per process.
bool may_use_amx() {
#ifdef __linux__
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return false;  // OSXSAVE: xgetbv exists
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return false;
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low >> 17 & 3) != 3) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

Level detect() {
#ifdef SW_X86
  if (__builtin_cpu_supports("x86-64-v4")) {
    if (!__builtin_cpu_supports("avx512bf16")) return Level::Avx512;
    return may_use_amx() ? Level::Amx : Level::Avx512Bf16;
  }
  if (__builtin_cpu_supports("x86-64-v3")) return Level::Avx2;
#endif
  return Level::Baseline;
}

Level initial() {
  const char* wanted = std::getenv("SKIPWAY_ISA");
  if (!wanted || !*wanted) return best_level();
  const Level level = parse_level(wanted);
  return level > best_level() ? best_level() : level;
}

Level& chosen() {
  static Level level = initial();
  return level;
}

Isa isa_of(Level level) { return level > Level::Avx512 ? Isa::Avx512 : Isa(level); }

bool tiles_assumed = false;

}  // namespace

Level best_level() {
  static const Level level = detect();
  return level;
}

Level current_level() { return chosen(); }

void set_level(Level level) {
  SW_CHECK_VALUE(level <= best_level() || (level == Level::Amx && tiles_assumed), "set_isa: this CPU runs at most ",
                 name_of(best_level()), ", got ", name_of(level));
  chosen() = level;
}

void assume_tiles() {
  SW_CHECK_VALUE(best_level() >= Level::Avx512Bf16,
                 "_assume_tiles: the kernels of amx need avx512_bf16 too, and this CPU runs at most ",
                 name_of(best_level()));
  tiles_assumed = true;
}

const char* name_of(Level level) { return kNames[int(level)]; }

Level parse_level(const char* name) {
  for (int i = 0; i <= int(Level::Amx); ++i)
    if (!std::strcmp(name, kNames[i])) return Level(i);
  throw ValueError(concat("SKIPWAY_ISA: expected baseline, avx2, avx512, avx512_bf16 or amx, got ", name));
}

Isa best_isa() { return isa_of(best_level()); }
Isa current_isa() { return isa_of(chosen()); }
void set_isa(Isa isa) { set_level(Level(isa)); }
const char* name_of(Isa isa) { return name_of(Level(isa)); }
Isa parse_isa(const char* name) { return isa_of(parse_level(name)); }

}  // namespace skipway
