// One thread runs at a time, so a read, an operation and a write are atomic.
#include <algorithm>

#include "cuda_emulator/emulator/happens_before.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"

namespace emulator {
namespace {

template <class T, class F>
__attribute__((always_inline)) inline T read_modify_write(T* p, const F& f, const void* pc) {
  InEmulator in;
  count_event(*in.self, pc);
  if (reinterpret_cast<uintptr_t>(p) % sizeof(T)) {
    report("misaligned access", pc, in.self,
           format("at %p, needs a multiple of %zu", static_cast<void*>(p), sizeof(T)));
    abort_block();
  }
  check_access(*in.self, p, sizeof(T), Access::Atomic, pc);
  atomic_clocks(*in.self, p);
  const T before = *p;
  *p = f(before);
  return before;
}

}  // namespace

#define DEFINE_ATOMIC(name, expression)                                                          \
  template <class T>                                                                             \
  T name(T* p, T value) {                                                                        \
    return read_modify_write(p, [value](T before) -> T { return expression; }, EMULATOR_CALLER); \
  }
DEFINE_ATOMIC(atomic_add, before + value)
DEFINE_ATOMIC(atomic_min, std::min(before, value))
DEFINE_ATOMIC(atomic_max, std::max(before, value))
DEFINE_ATOMIC(atomic_and, before& value)
DEFINE_ATOMIC(atomic_or, before | value)
DEFINE_ATOMIC(atomic_xor, before ^ value)
DEFINE_ATOMIC(atomic_exchange, (static_cast<void>(before), value))
#undef DEFINE_ATOMIC

template <class T>
T atomic_compare_and_swap(T* p, T compare, T value) {
  return read_modify_write(p, [=](T before) { return before == compare ? value : before; }, EMULATOR_CALLER);
}

#define INSTANTIATE(name, T) template T name<T>(T*, T);
#define INSTANTIATE_BITS(T)       \
  INSTANTIATE(atomic_add, T)      \
  INSTANTIATE(atomic_min, T)      \
  INSTANTIATE(atomic_max, T)      \
  INSTANTIATE(atomic_and, T)      \
  INSTANTIATE(atomic_or, T)       \
  INSTANTIATE(atomic_xor, T)      \
  INSTANTIATE(atomic_exchange, T) \
  template T atomic_compare_and_swap<T>(T*, T, T);
INSTANTIATE_BITS(int)
INSTANTIATE_BITS(unsigned)
INSTANTIATE_BITS(unsigned long long)
INSTANTIATE(atomic_min, long long)
INSTANTIATE(atomic_max, long long)
INSTANTIATE(atomic_add, float)
INSTANTIATE(atomic_add, double)
INSTANTIATE(atomic_exchange, float)
template unsigned short atomic_compare_and_swap<unsigned short>(unsigned short*, unsigned short, unsigned short);

}  // namespace emulator
