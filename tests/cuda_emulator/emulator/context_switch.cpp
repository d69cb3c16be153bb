#include "cuda_emulator/emulator/context_switch.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)

// Callee-saved registers only (System V ABI). The floating-point control words are the same in all contexts.
asm(R"(
.text
.globl emulator_switch_context
.hidden emulator_switch_context
.type emulator_switch_context, @function
emulator_switch_context:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch_context, .-emulator_switch_context
)");

namespace emulator {

void* prepare_stack(char* stack, size_t bytes, void (*entry)()) {
  auto top = reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t(15);
  auto* sp = reinterpret_cast<uint64_t*>(top - 16);
  sp[0] =
      reinterpret_cast<uint64_t>(entry);  // popped by ret, which leaves sp as after a call: 8 below a multiple of 16
  sp[1] = 0;
  std::memset(sp - 6, 0, 48);
  return sp - 6;
}

}  // namespace emulator

#elif defined(__aarch64__)

// x19-x30 and d8-d15 are callee-saved (AAPCS64); x30 is the return address.
asm(R"(
.text
.globl emulator_switch_context
.hidden emulator_switch_context
.type emulator_switch_context, %function
emulator_switch_context:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size emulator_switch_context, .-emulator_switch_context
)");

namespace emulator {

void* prepare_stack(char* stack, size_t bytes, void (*entry)()) {
  auto top = reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t(15);
  auto* sp = reinterpret_cast<uint64_t*>(top - 160);
  std::memset(sp, 0, 160);
  sp[11] = reinterpret_cast<uint64_t>(entry);  // x30
  return sp;
}

}  // namespace emulator

#else

#include <ucontext.h>

namespace emulator {

// The context lies at the low end of the stack that it describes.
void* prepare_stack(char* stack, size_t bytes, void (*entry)()) {
  auto* context = reinterpret_cast<ucontext_t*>((reinterpret_cast<uintptr_t>(stack) + 63) & ~uintptr_t(63));
  getcontext(context);
  const size_t used = size_t(reinterpret_cast<char*>(context + 1) - stack);
  context->uc_stack.ss_sp = stack + used;
  context->uc_stack.ss_size = bytes - used;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}

extern "C" void emulator_switch_context(void** save, void* next) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(next));
}

}  // namespace emulator

#endif
