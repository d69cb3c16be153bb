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

namespace {

constexpr int kTiles = 8, kRows = 16, kRowBytes = 64, kUnits = 512;

typedef uint32_t Words __attribute__((vector_size(64)));

struct Config {  // 64 bytes, as ldtilecfg reads them
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Config) == 64);

struct Unit {
  alignas(64) uint8_t tile[kTiles][kRows][kRowBytes];
  Config config;
  std::atomic<bool> taken;
};
Unit units[kUnits];
// In the block of a thread that exists from its beginning: nothing is allocated when the handler first reads it.
__thread Unit* mine __attribute__((tls_model("initial-exec")));

enum Kind { kConfigure, kRelease, kZero, kLoad, kStore, kProduct, kMultiplyAdds, kTraps, kKinds };
std::atomic<uint64_t> counts[kKinds];
void count(Kind kind, uint64_t n = 1) { counts[kind].fetch_add(n, std::memory_order_relaxed); }

struct Registers {
  int64_t value[16];  // rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 ... r15: as instructions number them
};

// A tile's rows in memory are at base + displacement and `index << scale` bytes apart.
struct Instruction {
  Kind kind;
  int length, a, b, c;     // bytes; tiles, in the order of Intel's syntax
  int base, index, scale;  // registers, or -1
  int64_t displacement;
  const uint8_t* memory;  // for the registers of an execution
  int64_t step;
};

[[noreturn]] __attribute__((format(printf, 2, 3))) void fault(const Instruction& i, const char* reason, ...) {
  static constexpr const char* names[] = {"ldtilecfg", "tilerelease", "tilezero",
                                          "tileloadd", "tilestored",  "tdpbf16ps"};
  char line[256];
  int n = snprintf(line, sizeof line, "AMX emulator: %s", names[i.kind]);
  if (i.kind >= kZero) n += snprintf(line + n, sizeof line - size_t(n), " tmm%d", i.a);
  if (i.kind == kProduct) n += snprintf(line + n, sizeof line - size_t(n), ", tmm%d, tmm%d", i.b, i.c);
  n += snprintf(line + n, sizeof line - size_t(n), ": ");
  va_list values;
  va_start(values, reason);
  n += vsnprintf(line + n, sizeof line - size_t(n) - 1, reason, values);
  va_end(values);
  line[n++] = '\n';
  if (write(STDERR_FILENO, line, size_t(n)) < 0) _exit(1);
  abort();
}

// --- Decoding -------------------------------------------------------------------------------------------------------

template <class T>
T read(const uint8_t* p) {
  T value;
  memcpy(&value, p, sizeof value);
  return value;
}

// The operand in memory of the instruction at p, whose ModRM byte is p[4]. False for a form that it cannot have.
bool decode_memory(const uint8_t* p, bool tile, Instruction& i) {
  const int mod = p[4] >> 6, rm = p[4] & 7, x = (~p[1] >> 6 & 1) << 3, b = (~p[1] >> 5 & 1) << 3;
  const bool relative = mod == 0 && rm == 5;  // to the next instruction
  int at = 5;
  if (rm == 4) {
    const int base = p[at] & 7, index = (p[at] >> 3 & 7) | x;
    if (mod == 0 && base == 5) return false;  // an absolute address
    i.base = base | b;
    i.index = index == 4 ? -1 : index;
    i.scale = p[at++] >> 6;
  } else if (tile) {
    return false;
  } else if (!relative) {
    i.base = rm | b;
  }
  if (mod == 1) {
    i.displacement = int8_t(p[at++]);
  } else if (mod == 2 || relative) {
    i.displacement = read<int32_t>(p + at);
    at += 4;
  }
  i.length = at;
  if (relative) i.displacement += int64_t(p) + at;
  return true;
}

// VEX with three bytes: c4, [~R ~X ~B mmmmm], [W ~vvvv L pp], opcode, ModRM.
bool decode(const uint8_t* p, Instruction& i) {
  if (p[0] != 0xc4 || (p[1] & 0x1f) != 2 || (p[2] & 0x84) != 0) return false;
  const int vvvv = ~p[2] >> 3 & 15, pp = p[2] & 3, opcode = p[3], mod = p[4] >> 6, reg = p[4] >> 3 & 7, rm = p[4] & 7;
  constexpr int kF3 = 2, kF2 = 3;
  const bool high = !(p[1] & 0x80);  // a tile of 8 to 15, which does not exist
  i = Instruction{};
  i.length = 5;
  i.a = reg, i.b = rm, i.c = vvvv;
  i.base = i.index = -1;
  if (opcode == 0x5c && pp == kF3 && mod == 3) {
    if (high || vvvv > 7 || !(p[1] & 0x20)) return false;
    i.kind = kProduct;
    return true;
  }
  if (vvvv != 0 || high) return false;
  if (opcode == 0x49 && pp == 0 && reg == 0) {
    i.kind = mod == 3 ? kRelease : kConfigure;
    return mod == 3 ? rm == 0 : decode_memory(p, false, i);
  }
  if (opcode == 0x49 && pp == kF2 && mod == 3 && rm == 0) {
    i.kind = kZero;
    return true;
  }
  if (opcode == 0x4b && (pp == kF2 || pp == kF3) && mod != 3) {
    i.kind = pp == kF2 ? kLoad : kStore;
    return decode_memory(p, true, i);
  }
  return false;
}

// --- Execution ------------------------------------------------------------------------------------------------------

void release() {
  if (!mine) return;
  Unit* unit = mine;
  mine = nullptr;
  unit->taken.store(false, std::memory_order_release);
}

void check(const Instruction& i, const Config& c) {
  if (c.palette > 1) fault(i, "palette %d does not exist", c.palette);
  if (c.start_row != 0) fault(i, "start_row is %d, which only a system resuming an instruction needs", c.start_row);
  for (int n = 0; n < 14; ++n)
    if (c.reserved[n] != 0) fault(i, "reserved byte %d is %d", n + 2, c.reserved[n]);
  for (int t = 0; t < 16; ++t) {
    const int rows = c.rows[t], bytes = c.row_bytes[t];
    if (t >= kTiles && (rows != 0 || bytes != 0)) fault(i, "tile %d does not exist", t);
    if (rows > kRows) fault(i, "tmm%d has %d rows", t, rows);
    if (bytes > kRowBytes) fault(i, "tmm%d has rows of %d bytes", t, bytes);
    if ((rows == 0) != (bytes == 0)) fault(i, "tmm%d has %d rows of %d bytes", t, rows, bytes);
  }
}

void configure(const Instruction& i) {
  Config config;
  memcpy(&config, i.memory, sizeof config);
  if (config.palette == 0) return release();
  check(i, config);
  for (int n = 0; !mine && n < kUnits; ++n)
    if (!units[n].taken.exchange(true, std::memory_order_acquire)) mine = &units[n];
  if (!mine) fault(i, "%d threads have the unit configured", kUnits);
  mine->config = config;
  memset(mine->tile, 0, sizeof mine->tile);
}

// A tile's rows, after the checks that every use of it makes.
int rows_of(const Instruction& i, int tile) {
  if (!mine) fault(i, "the unit is not configured");
  if (mine->config.rows[tile] == 0) fault(i, "tmm%d is not configured", tile);
  return mine->config.rows[tile];
}

void load(const Instruction& i) {
  const int rows = rows_of(i, i.a), bytes = mine->config.row_bytes[i.a];
  uint8_t (*tile)[kRowBytes] = mine->tile[i.a];
  for (int row = 0; row < rows; ++row) {
    memcpy(tile[row], i.memory + row * i.step, size_t(bytes));
    memset(tile[row] + bytes, 0, size_t(kRowBytes - bytes));
  }
  memset(tile[rows], 0, size_t(kRows - rows) * kRowBytes);
}

void store(const Instruction& i) {
  const int rows = rows_of(i, i.a);
  for (int row = 0; row < rows; ++row)
    memcpy(const_cast<uint8_t*>(i.memory) + row * i.step, mine->tile[i.a][row], mine->config.row_bytes[i.a]);
}

// c[m][n] += even + odd, where for the pairs k of a row of a, in order and from zero,
//   even = fma(a[m][2k], b[k][2n], even),  odd = fma(a[m][2k + 1], b[k][2n + 1], odd)
// Each operation rounds to nearest even and takes denormal operands and results for zero: so does MXCSR as set here,
// which whoever was interrupted gets back as it was.
__attribute__((noinline)) void multiply(const Instruction& i, int rows, int pairs, int columns) {
  const auto even_of = [](Words pair) { return __m512(pair << 16); };
  const auto odd_of = [](Words pair) { return __m512(pair & 0xffff0000); };
  __m512 even_b[kRows], odd_b[kRows];
  for (int k = 0; k < pairs; ++k) {
    const Words words = read<Words>(mine->tile[i.c][k]);
    even_b[k] = even_of(words), odd_b[k] = odd_of(words);
  }
  for (int m = 0; m < rows; ++m) {
    __m512 even = {}, odd = {};
    for (int k = 0; k < pairs; ++k) {
      const Words pair = Words{} + read<uint32_t>(mine->tile[i.b][m] + 4 * k);
      even = _mm512_fmadd_ps(even_of(pair), even_b[k], even);
      odd = _mm512_fmadd_ps(odd_of(pair), odd_b[k], odd);
    }
    const __m512 sums = read<__m512>(mine->tile[i.a][m]) + (even + odd);
    memcpy(mine->tile[i.a][m], &sums, size_t(columns) * 4);  // those beyond are zero already
  }
  memset(mine->tile[i.a][rows], 0, size_t(kRows - rows) * kRowBytes);
}

void product(const Instruction& i) {
  const int c_rows = rows_of(i, i.a), a_rows = rows_of(i, i.b), b_rows = rows_of(i, i.c);
  const int c_bytes = mine->config.row_bytes[i.a], a_bytes = mine->config.row_bytes[i.b],
            b_bytes = mine->config.row_bytes[i.c];
  if (i.a == i.b || i.a == i.c || i.b == i.c) fault(i, "the tiles are not three different ones");
  if (c_bytes % 4 != 0) fault(i, "rows of tmm%d have %d bytes, no multiple of 4", i.a, c_bytes);
  if (a_bytes % 4 != 0) fault(i, "rows of tmm%d have %d bytes, no multiple of 4", i.b, a_bytes);
  if (a_rows != c_rows) fault(i, "tmm%d has %d rows, and tmm%d %d", i.a, c_rows, i.b, a_rows);
  if (b_bytes != c_bytes) fault(i, "rows of tmm%d have %d bytes, and of tmm%d %d", i.a, c_bytes, i.c, b_bytes);
  if (b_rows != a_bytes / 4) fault(i, "tmm%d has %d pairs, and tmm%d %d rows", i.b, a_bytes / 4, i.c, b_rows);
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x40, kMasked = 0x1f80;
  _mm_setcsr(kFlushToZero | kDenormalsAreZero | kMasked);
  multiply(i, c_rows, b_rows, c_bytes / 4);
  count(kMultiplyAdds, uint64_t(c_rows) * uint64_t(b_rows) * uint64_t(c_bytes) / 2);
}

void execute(Instruction i, const Registers& registers) {
  if (i.index >= 0) i.step = registers.value[i.index] << i.scale;
  const int64_t base = i.base >= 0 ? registers.value[i.base] : 0;
  i.memory = reinterpret_cast<const uint8_t*>(base + i.displacement + (i.kind == kConfigure ? i.step : 0));
  count(i.kind);
  switch (i.kind) {
    case kConfigure:
      return configure(i);
    case kRelease:
      return release();
    case kZero:
      rows_of(i, i.a);
      memset(mine->tile[i.a], 0, sizeof mine->tile[i.a]);
      return;
    case kLoad:
      return load(i);
    case kStore:
      return store(i);
    default:
      return product(i);
  }
}

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
