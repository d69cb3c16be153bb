// What instrumented code calls: -fsanitize=thread before each access, -fsanitize=alignment,bounds,... where a check
// fails. No sanitizer's own library is linked; these functions, hidden in this library, take its place.
#include <cstring>

#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"

using namespace emulator;

namespace {

__attribute__((always_inline)) inline void on_access(const void* p, size_t bytes, Access access, const void* pc) {
  Thread* self = running;
  const auto* byte = static_cast<const char*>(p);
  if (!self || size_t(byte - self->stack) < kStackBytes) return;
  const LaunchRequest& request = *current_launch.request;
  if (size_t(byte - static_cast<const char*>(request.arguments)) < request.arguments_bytes) return;
  ++counters.accesses;
  running = nullptr;
  count_event(*self, pc);
  if (settings.count_bank_conflicts && is_shared(space_offset(p)))
    note_shared_access(*self, space_offset(p), bytes, pc);
  check_access(*self, p, bytes, access, pc);
  running = self;
}

}  // namespace

namespace emulator {
bool checked_build = false;
}  // namespace emulator

extern "C" {

void __tsan_init() { checked_build = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define ACCESS_HOOKS(n)                                                                        \
  void __tsan_read##n(void* p) { on_access(p, n, Access::Read, EMULATOR_CALLER); }             \
  void __tsan_write##n(void* p) { on_access(p, n, Access::Write, EMULATOR_CALLER); }           \
  void __tsan_unaligned_read##n(void* p) { on_access(p, n, Access::Read, EMULATOR_CALLER); }   \
  void __tsan_unaligned_write##n(void* p) { on_access(p, n, Access::Write, EMULATOR_CALLER); } \
  void __tsan_volatile_read##n(void* p) { on_access(p, n, Access::Read, EMULATOR_CALLER); }    \
  void __tsan_volatile_write##n(void* p) { on_access(p, n, Access::Write, EMULATOR_CALLER); }
ACCESS_HOOKS(1)
ACCESS_HOOKS(2)
ACCESS_HOOKS(4)
ACCESS_HOOKS(8)
ACCESS_HOOKS(16)
void __tsan_read_range(void* p, size_t bytes) { on_access(p, bytes, Access::Read, EMULATOR_CALLER); }
void __tsan_write_range(void* p, size_t bytes) { on_access(p, bytes, Access::Write, EMULATOR_CALLER); }

// std::atomic and function-local statics of host code in the same sources. Kernels have CUDA's atomic functions.
#define ATOMIC_HOOKS(bits, T)                                                                              \
  T __tsan_atomic##bits##_load(const T* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }           \
  void __tsan_atomic##bits##_store(T* p, T v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }           \
  T __tsan_atomic##bits##_exchange(T* p, T v, int) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_add(T* p, T v, int) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_sub(T* p, T v, int) { return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_and(T* p, T v, int) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_or(T* p, T v, int) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }   \
  T __tsan_atomic##bits##_fetch_xor(T* p, T v, int) { return __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST); } \
  int __tsan_atomic##bits##_compare_exchange_strong(T* p, T* expected, T v, int, int) {                    \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
  }                                                                                                        \
  int __tsan_atomic##bits##_compare_exchange_weak(T* p, T* expected, T v, int, int) {                      \
    return __atomic_compare_exchange_n(p, expected, v, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);          \
  }
ATOMIC_HOOKS(8, uint8_t)
ATOMIC_HOOKS(16, uint16_t)
ATOMIC_HOOKS(32, uint32_t)
ATOMIC_HOOKS(64, uint64_t)
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) {}

// Calls of memcpy and its like, which the compiler makes of copies of large structs: the linker's --wrap sends all of
// this library's here.
void* __real_memcpy(void*, const void*, size_t);
void* __real_memmove(void*, const void*, size_t);
void* __real_memset(void*, int, size_t);
void* __wrap_memcpy(void* to, const void* from, size_t bytes) {
  on_access(from, bytes, Access::Read, EMULATOR_CALLER);
  on_access(to, bytes, Access::Write, EMULATOR_CALLER);
  return __real_memcpy(to, from, bytes);
}
void* __wrap_memmove(void* to, const void* from, size_t bytes) {
  on_access(from, bytes, Access::Read, EMULATOR_CALLER);
  on_access(to, bytes, Access::Write, EMULATOR_CALLER);
  return __real_memmove(to, from, bytes);
}
void* __wrap_memset(void* to, int value, size_t bytes) {
  on_access(to, bytes, Access::Write, EMULATOR_CALLER);
  return __real_memset(to, value, bytes);
}

struct SourceLocation {  // of -fsanitize=undefined: the first member of each check's data
  const char* file;
  uint32_t line, column;
};

static void undefined(const char* kind, void* data, bool goes_on, const std::string& detail = {}) {
  if (!running) return;  // host code
  InEmulator in;
  const auto* at = static_cast<SourceLocation*>(data);
  report_at(kind, at->file, int(at->line), in.self, detail);
  if (!goes_on) abort_block();
}
void __ubsan_handle_out_of_bounds(void* data, size_t index) {
  undefined("array index out of bounds", data, false, format("index %ld", long(index)));
}
void __ubsan_handle_type_mismatch_v1(void* data, void* p) {
  undefined("misaligned access", data, false, format("at %p", p));
}
void __ubsan_handle_divrem_overflow(void* data, void*, void*) { undefined("integer division by zero", data, false); }
void __ubsan_handle_shift_out_of_bounds(void* data, void*, size_t by) {
  undefined("shift by more than the type's width", data, true, format("by %ld", long(by)));
}

}  // extern "C"
