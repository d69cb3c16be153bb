#include "cuda_emulator/emulator/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include "cuda_emulator/emulator/happens_before.h"
#include "cuda_emulator/emulator/report.h"
#include "cuda_emulator/emulator/symbols.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

namespace emulator {

char* space = nullptr;
Shadow shadow;

namespace {

std::recursive_mutex one_at_a_time;
int open_count = 0;

template <class T>
T* reserve(size_t count) {
  void* p =
      mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::runtime_error("CUDA emulator: no address space for device memory and its shadow");
  madvise(p, count * sizeof(T), MADV_NOHUGEPAGE);
  return static_cast<T*>(p);
}

// Host code must not touch device memory, but kernels and the emulator must. Taking the access rights from each page
// and giving them back would cost more than most launches. Moving the whole mapping to another address and back moves a
// few entries of the page tables only, as both addresses are multiples of 1 GiB. (Linux before 5.7 cannot.)
char* hidden = nullptr;
constexpr size_t kAllDevices = kDevices * kDeviceBytes;

bool move_devices(char* from, char* to) {
  return hidden && mremap(from, kAllDevices, kAllDevices, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to;
}
void show_devices() {
  if (!move_devices(hidden, space + kDeviceStart)) mprotect(space + kDeviceStart, kAllDevices, PROT_READ | PROT_WRITE);
}
void hide_devices() {
  if (!move_devices(space + kDeviceStart, hidden)) hidden = nullptr;
  mprotect(space + kDeviceStart, kAllDevices, PROT_NONE);
}

char* align_to_gib(char* p) { return p + (kGiB - reinterpret_cast<uintptr_t>(p) % kGiB) % kGiB; }

std::string other_thread(uint32_t epoch) {
  const Epoch e = epoch_at(epoch);
  if (e.block == current_block.linear) return "with " + thread_name(e.thread);
  const dim3 grid = current_launch.request->grid;
  return format("with %s of block (%u,%u,%u)", thread_name(e.thread).c_str(), e.block % grid.x,
                e.block / grid.x % grid.y, e.block / grid.x / grid.y);
}

// A fault's kind has the memory's name in it: "global memory race (write after read)".
struct Kinds {
  const char *read_outside, *write_outside, *uninitialised, *write_write, *read_write, *write_read;
};
constexpr size_t kLargeBytes = size_t(1) << 20;
constexpr Kinds kSharedKinds = {"shared memory read out of bounds",      "shared memory write out of bounds",
                                "read of uninitialised shared memory",   "shared memory race (write after write)",
                                "shared memory race (read after write)", "shared memory race (write after read)"};
constexpr Kinds kGlobalKinds = {"global memory read out of bounds",      "global memory write out of bounds",
                                "read of uninitialised global memory",   "global memory race (write after write)",
                                "global memory race (read after write)", "global memory race (write after read)"};

// Consecutive bytes with one history
struct Run {
  size_t start, bytes;
  uint8_t state;
  uint32_t writer, reader, other_reader;
};

Run run_at(size_t i, size_t end) {
  const Run run{i, 1, shadow.state[i], shadow.writer[i], shadow.reader[i], shadow.other_reader[i]};
  size_t j = i + 1;
  while (j < end && shadow.state[j] == run.state && shadow.writer[j] == run.writer && shadow.reader[j] == run.reader &&
         shadow.other_reader[j] == run.other_reader)
    ++j;
  return {i, j - i, run.state, run.writer, run.reader, run.other_reader};
}

// Shared memory of earlier blocks was another one.
bool unordered(const Thread& self, uint32_t epoch, bool shared) {
  return epoch >= (shared ? first_of_block : first_of_launch) && !ordered_before(self, epoch);
}

// Out of bounds, used after free, or the target of a copy under way: nothing sensible can follow.
void check_addressable(Thread& self, const Run& run, Access access, const void* pc) {
  const bool shared = is_shared(run.start), reads = access == Access::Read;
  const Kinds& kinds = shared ? kSharedKinds : kGlobalKinds;
  if (run.state & kCopyPending) {
    report(reads ? "read of shared memory before its asynchronous copy was waited for"
                 : "write to shared memory that an asynchronous copy is still to fill",
           pc, &self);
    return;
  }
  report(run.state & kFreed ? "use of freed memory"
         : reads            ? kinds.read_outside
                            : kinds.write_outside,
         pc, &self, describe_address(run.start));
  abort_block();
}

// True if there was a race.
bool check_races(Thread& self, const Run& run, Access access, const void* pc) {
  const bool shared = is_shared(run.start);
  const Kinds& kinds = shared ? kSharedKinds : kGlobalKinds;
  const bool both_atomic = access == Access::Atomic && (run.state & kWrittenAtomically);
  if (!both_atomic && unordered(self, run.writer, shared)) {
    report(access == Access::Read ? kinds.read_write : kinds.write_write, pc, &self, other_thread(run.writer));
    return true;
  }
  if (access == Access::Read) return false;
  for (const uint32_t reader : {run.reader, run.other_reader})
    if (unordered(self, reader, shared)) {
      report(kinds.write_read, pc, &self, other_thread(reader));
      return true;
    }
  return false;
}

void note_write(const Run& run, uint32_t epoch, Access access) {
  const uint8_t state = kAddressable | kInitialised | (access == Access::Atomic ? kWrittenAtomically : 0);
  for (size_t i = run.start; i < run.start + run.bytes; ++i) {
    shadow.state[i] = state;
    shadow.writer[i] = epoch;
    shadow.reader[i] = shadow.other_reader[i] = 0;
  }
}

void note_read(const Thread& self, const Run& run, uint32_t epoch) {
  if (run.reader == epoch || run.other_reader == epoch) return;
  uint32_t* const slot = unordered(self, run.reader, is_shared(run.start)) ? shadow.other_reader : shadow.reader;
  for (size_t i = run.start; i < run.start + run.bytes; ++i) slot[i] = epoch;
}

void check_run(Thread& self, const Run& run, Access access, uint32_t epoch, const void* pc) {
  if ((run.state & (kAddressable | kCopyPending | kFreed)) != kAddressable) {
    check_addressable(self, run, access, pc);
    return;
  }
  if (access != Access::Write && !(run.state & kInitialised)) {
    const bool shared = is_shared(run.start);
    report(shared ? kSharedKinds.uninitialised : kGlobalKinds.uninitialised, pc, &self,
           shared ? std::string() : describe_address(run.start));
    mark_initialised(run.start, run.bytes);  // one report is enough
  }
  const bool own = run.writer == epoch && run.reader == 0;
  const bool race = !own && check_races(self, run, access, pc);
  if (access == Access::Read && !race) {
    note_read(self, run, epoch);
  } else {
    note_write(run, epoch, access);
  }
}

void check_other_memory(Thread& self, const void* p, Access access, const void* pc) {
  if (in_this_library(p) && access == Access::Read) return;  // a constant table
  report(access == Access::Read ? "read through a pointer that is not device memory"
                                : "write through a pointer that is not device memory",
         pc, &self, format("at %p", p));
  abort_block();
}

template <int N, class T>
bool uniform(const T* p) {
  T difference = 0;
  for (int i = 1; i < N; ++i) difference |= T(p[i] ^ p[0]);
  return difference == 0;
}
template <int N>
void fill(uint32_t* p, uint32_t value) {
  for (int i = 0; i < N; ++i) p[i] = value;
}

// What happens nearly always, faster: N bytes with one history, and no fault. False: not such a case; nothing was
// noted.
template <int N>
bool check_uniform(const Thread& self, size_t i, Access access, uint32_t epoch) {
  const uint8_t state = shadow.state[i];
  const uint8_t needed = access == Access::Write ? kAddressable : kAddressable | kInitialised;
  if (access == Access::Atomic || (state & (needed | kCopyPending | kFreed)) != needed) return false;
  uint32_t *const writer = shadow.writer + i, *const reader = shadow.reader + i, *const other = shadow.other_reader + i;
  if (!uniform<N>(shadow.state + i) || !uniform<N>(writer) || !uniform<N>(reader) || !uniform<N>(other)) return false;
  const bool shared = is_shared(i);
  if (*writer != epoch && unordered(self, *writer, shared)) return false;
  if (access == Access::Read) {
    if (*reader == epoch || *other == epoch) return true;
    fill<N>(unordered(self, *reader, shared) ? other : reader, epoch);
    return true;
  }
  if ((*reader != epoch && unordered(self, *reader, shared)) || (*other != epoch && unordered(self, *other, shared)))
    return false;
  __builtin_memset(shadow.state + i, kAddressable | kInitialised, N);
  fill<N>(writer, epoch);
  if (*reader) fill<N>(reader, 0);
  if (*other) fill<N>(other, 0);
  return true;
}

}  // namespace

void open_space() {
  if (space) return;
  shadow = {reserve<uint8_t>(kSpaceBytes), reserve<uint32_t>(kSpaceBytes), reserve<uint32_t>(kSpaceBytes),
            reserve<uint32_t>(kSpaceBytes)};
  hidden = align_to_gib(reserve<char>(kAllDevices + kGiB));
  space = align_to_gib(reserve<char>(kSpaceBytes + kGiB));
  hide_devices();
  watch_host_accesses();
}

void check_access(Thread& self, const void* p, size_t bytes, Access access, const void* pc) {
  if (!checked_build) return;  // plain writes are not seen, so reads cannot be judged
  const size_t offset = space_offset(p);
  if (offset >= kSpaceBytes) {
    check_other_memory(self, p, access, pc);
    return;
  }
  if (is_device(offset) && device_of(offset) != current_launch.device) {
    report("access to the memory of another device", pc, &self,
           format("device %d, launched on device %d", device_of(offset), current_launch.device));
    abort_block();
  }
  const uint32_t epoch = epoch_of(self);
  switch (bytes) {
    case 1:
      if (check_uniform<1>(self, offset, access, epoch)) return;
      break;
    case 2:
      if (check_uniform<2>(self, offset, access, epoch)) return;
      break;
    case 4:
      if (check_uniform<4>(self, offset, access, epoch)) return;
      break;
    case 8:
      if (check_uniform<8>(self, offset, access, epoch)) return;
      break;
    case 16:
      if (check_uniform<16>(self, offset, access, epoch)) return;
      break;
    default:
      break;
  }
  const size_t end = std::min(offset + bytes, kSpaceBytes);
  for (size_t i = offset; i < end;) {
    const Run run = run_at(i, end);
    check_run(self, run, access, epoch, pc);
    i += run.bytes;
  }
}

void make_addressable(size_t offset, size_t bytes) {
  // Large blocks of an allocator are not filled: what nobody uses of them stays out of memory.
  if (bytes < kLargeBytes) std::memset(space + offset, 0xff, bytes);
  std::memset(shadow.state + offset, kAddressable | (is_pinned(offset) ? kInitialised : 0), bytes);
}
void make_unaddressable(size_t offset, size_t bytes, uint8_t state) {
  std::memset(shadow.state + offset, state, bytes);
}
void mark_initialised(size_t offset, size_t bytes) {
  for (size_t i = offset; i < offset + bytes; ++i) shadow.state[i] |= kInitialised;
}

void forget_races() {
  for (uint32_t* p : {shadow.writer, shadow.reader, shadow.other_reader})
    madvise(p, kSpaceBytes * sizeof(uint32_t), MADV_DONTNEED);
}

DeviceMemoryOpen::DeviceMemoryOpen() {
  one_at_a_time.lock();
  open_space();
  if (open_count++ == 0) show_devices();
}
DeviceMemoryOpen::~DeviceMemoryOpen() {
  if (--open_count == 0) hide_devices();
  one_at_a_time.unlock();
}

}  // namespace emulator
