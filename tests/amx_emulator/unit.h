// The instructions of AMX that our kernels contain: decoding, and execution on the state of a thread. emulator.cpp says how
// they come to be executed.
#pragma once
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

}  // namespace
