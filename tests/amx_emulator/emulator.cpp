// The tile unit of AMX, emulated: a handler of SIGILL that executes the instructions of our kernels where the CPU has
// none, and reports the faults that the hardware would raise. Intel's Software Developer's Manual, volume 2, gives each
// instruction's operation and exceptions; what is written here follows its pseudocode.
//
//   ldtilecfg m512        tilerelease         tilezero tmm
//   tileloadd tmm, sib    tilestored sib, tmm tdpbf16ps tmm, tmm, tmm
//
// A trap takes microseconds, on a virtual machine tens of them. So the first one of each instruction puts a jump in the
// instruction's place, to code that does what the handler would do. Whatever else is illegal goes to the handler that
// was there before.
//
// A thread's state is one of kUnits, from ldtilecfg to tilerelease.
#include <immintrin.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "unit.h"

namespace {

// --- Jumps in the place of instructions -----------------------------------------------------------------------------

struct Site {
  void (*enter)();      // amx_emulator_enter, which reads this and the next at their offsets
  const uint8_t* next;  // the instruction behind
  uint8_t* at;
  Instruction instruction;
};
constexpr int kSites = 4096, kStub = 32;
Site sites[kSites];
int site_count = 0;
std::atomic_flag busy = ATOMIC_FLAG_INIT;  // whoever reads or writes sites or instructions

extern "C" {
void amx_emulator_enter();
__attribute__((visibility("hidden"))) void amx_emulator_execute(const Site* site, const Registers* registers) {
  execute(site->instruction, *registers);
}
}

// From a stub, with rax the site, and on the stack: rax, a place for the address of the next instruction, and the 128
// bytes below the stack. Keeps all registers and flags: the compiler that put the instruction here knows of no others.
asm(R"(
  .text
  .hidden amx_emulator_enter
  .globl amx_emulator_enter
  .type amx_emulator_enter, @function
amx_emulator_enter:
  pushfq
  lea -128(%rsp), %rsp
  mov %rcx, 8(%rsp)
  mov %rdx, 16(%rsp)
  mov %rbx, 24(%rsp)
  lea 280(%rsp), %rcx
  mov %rcx, 32(%rsp)
  mov %rbp, 40(%rsp)
  mov %rsi, 48(%rsp)
  mov %rdi, 56(%rsp)
  mov %r8, 64(%rsp)
  mov %r9, 72(%rsp)
  mov %r10, 80(%rsp)
  mov %r11, 88(%rsp)
  mov %r12, 96(%rsp)
  mov %r13, 104(%rsp)
  mov %r14, 112(%rsp)
  mov %r15, 120(%rsp)
  mov 136(%rsp), %rcx
  mov %rcx, (%rsp)
  mov 8(%rax), %rcx
  mov %rcx, 144(%rsp)
  mov %rax, %rbx
  mov %rsp, %rbp
  cld
  sub $4096, %rsp
  and $-64, %rsp
  xor %eax, %eax
  lea 512(%rsp), %rdi  # the header of the area that xsave writes
  mov $8, %ecx
  rep stosq
  mov $0xe6, %eax  # vectors, masks and MXCSR
  xor %edx, %edx
  xsave64 (%rsp)
  mov %rbx, %rdi
  mov %rbp, %rsi
  call amx_emulator_execute
  mov $0xe6, %eax
  xor %edx, %edx
  xrstor64 (%rsp)
  mov %rbp, %rsp
  mov (%rsp), %rax
  mov 8(%rsp), %rcx
  mov 16(%rsp), %rdx
  mov 24(%rsp), %rbx
  mov 40(%rsp), %rbp
  mov 48(%rsp), %rsi
  mov 56(%rsp), %rdi
  mov 64(%rsp), %r8
  mov 72(%rsp), %r9
  mov 80(%rsp), %r10
  mov 88(%rsp), %r11
  mov 96(%rsp), %r12
  mov 104(%rsp), %r13
  mov 112(%rsp), %r14
  mov 120(%rsp), %r15
  lea 128(%rsp), %rsp
  popfq
  lea 8(%rsp), %rsp
  ret $128
  .size amx_emulator_enter, . - amx_emulator_enter
)");

// Memory for stubs that a jump from `at` reaches: less than 2 GB away.
uint8_t* memory_near(const uint8_t* at) {
  static uint8_t *arena = nullptr, *end = nullptr;
  constexpr int64_t kArena = 64 << 10, kReach = int64_t(1) << 30, kStride = 1 << 20;
  if (arena != end && llabs(arena - at) < kReach) {
    arena += kStub;
    return arena - kStub;
  }
  for (int64_t away = kStride; away < kReach; away += kStride)
    for (const int64_t place : {int64_t(at) - away, int64_t(at) + away}) {
      void* hint = reinterpret_cast<void*>(place & -kStride);
      void* got = mmap(hint, kArena, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      if (got == MAP_FAILED) continue;
      arena = static_cast<uint8_t*>(got) + kStub, end = static_cast<uint8_t*>(got) + kArena;
      return arena - kStub;
    }
  return nullptr;
}

bool synchronise() {  // no core executes bytes that it read before this
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) == 0;
}

// While the jump is written, the first byte is an illegal instruction, whose handler waits for the end of this. What
// the system refuses leaves the instruction as it is: it traps again.
void put_jump(Site& site) {
  constexpr uint8_t kIllegal = 0x06, kJump = 0xe9;
  uint8_t* stub = memory_near(site.at);
  if (!stub || !synchronise()) return;
  site.enter = amx_emulator_enter;
  site.next = site.at + site.instruction.length;
  // lea -136(%rsp), %rsp; push %rax; movabs $site, %rax; jmp *(%rax)
  uint8_t code[] = {0x48, 0x8d, 0xa4, 0x24, 0x78, 0xff, 0xff, 0xff, 0x50, 0x48, 0xb8,
                    0,    0,    0,    0,    0,    0,    0,    0,    0xff, 0x20};
  const Site* address = &site;
  memcpy(code + 11, &address, 8);
  memcpy(stub, code, sizeof code);
  const int32_t distance = int32_t(stub - (site.at + 5));
  const int64_t page = sysconf(_SC_PAGESIZE), first = int64_t(site.at) & -page, last = (int64_t(site.at) + 4) & -page;
  void* pages = reinterpret_cast<void*>(first);
  const size_t bytes = size_t(last - first + page);
  if (mprotect(pages, bytes, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) return;
  const auto write_first = [&](uint8_t byte) { __atomic_store_n(site.at, byte, __ATOMIC_SEQ_CST); };
  write_first(kIllegal);
  synchronise();
  memcpy(site.at + 1, &distance, 4);
  synchronise();
  write_first(kJump);
  synchronise();
  mprotect(pages, bytes, PROT_READ | PROT_EXEC);
}

// --- The handler ----------------------------------------------------------------------------------------------------

struct sigaction before;
bool installed = false;

// The instruction at p, whatever stands in its place by now. False for one that is not ours.
bool find(uint8_t* p, Instruction& i) {
  while (busy.test_and_set(std::memory_order_acquire)) {
  }
  bool found = false;
  for (int s = 0; s < site_count && !found; ++s)
    if (sites[s].at == p) i = sites[s].instruction, found = true;
  if (!found && decode(p, i)) {
    found = true;
    if (site_count < kSites) {
      Site& site = sites[site_count++];
      site.at = p, site.instruction = i;
      put_jump(site);
    }
  }
  busy.clear(std::memory_order_release);
  return found;
}

void pass_on(int number, siginfo_t* info, void* context) {
  if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(number, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(number);
  sigaction(SIGILL, &before, nullptr);  // the instruction runs again, and ends the process
}

void handle(int number, siginfo_t* info, void* raw) {
  static constexpr int places[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  greg_t* values = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
  Instruction i;
  if (!find(reinterpret_cast<uint8_t*>(values[REG_RIP]), i)) return pass_on(number, info, raw);
  count(kTraps);
  Registers registers;
  for (int r = 0; r < 16; ++r) registers.value[r] = values[places[r]];
  execute(i, registers);
  values[REG_RIP] += i.length;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int amx_emulator_install() {
  if (installed) return 0;
  syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  installed = sigaction(SIGILL, &action, &before) == 0;
  return installed ? 0 : -1;
}

EXPORT void amx_emulator_counts(uint64_t* to) {
  for (int k = 0; k < kKinds; ++k) to[k] = counts[k].load(std::memory_order_relaxed);
}

EXPORT int amx_emulator_held() {  // threads that have configured the unit and not released it
  int held = 0;
  for (const Unit& unit : units) held += unit.taken.load();
  return held;
}
