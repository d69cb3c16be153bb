#include "cuda_emulator/emulator/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include "cuda_emulator/emulator/happens_before.h"
#include "cuda_emulator/emulator/report.h"
#include "cuda_emulator/emulator/symbols.h"

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

void protect_devices(int protection) { mprotect(space + kDeviceStart, kDevices * kDeviceBytes, protection); }

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

bool unordered(const Thread& self, uint32_t epoch, bool shared) {
  return (shared ? in_this_block(epoch) : in_this_launch(epoch)) && !ordered_before(self, epoch);
}

// Out of bounds, used after free, or the target of a copy under way: nothing sensible can follow.
void check_addressable(Thread& self, const Run& run, Access access, const void* pc) {
  const bool shared = is_shared(run.start), reads = access == Access::Read;
  const Kinds& kinds = shared ? kSharedKinds : kGlobalKinds;
  if (run.state & kCopyPending) {
    report(reads ? "read of shared memory before cp.async has been waited for"
                 : "write to shared memory that cp.async is still to fill",
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
  const LaunchRequest& request = *current_launch.request;
  const auto* bytes = static_cast<const char*>(p);
  const auto* arguments = static_cast<const char*>(request.arguments);
  if (bytes >= arguments && bytes < arguments + request.arguments_bytes) return;
  if (in_this_library(p) && access == Access::Read) return;  // a constant table
  report(access == Access::Read ? "read through a pointer that is not device memory"
                                : "write through a pointer that is not device memory",
         pc, &self, format("at %p", p));
  abort_block();
}

}  // namespace

void open_space() {
  if (space) return;
  shadow = {reserve<uint8_t>(kSpaceBytes), reserve<uint32_t>(kSpaceBytes), reserve<uint32_t>(kSpaceBytes),
            reserve<uint32_t>(kSpaceBytes)};
  space = reserve<char>(kSpaceBytes);
  protect_devices(PROT_NONE);
  watch_host_accesses();
}

void check_access(Thread& self, const void* p, size_t bytes, Access access, const void* pc) {
  if (!checked_build()) return;  // plain writes are not seen, so reads cannot be judged
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
  const size_t end = std::min(offset + bytes, kSpaceBytes);
  for (size_t i = offset; i < end;) {
    const Run run = run_at(i, end);
    check_run(self, run, access, epoch, pc);
    i += run.bytes;
  }
}

void make_addressable(size_t offset, size_t bytes) {
  // Pages that nobody uses stay out of memory: each one costs time whenever access rights change.
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
  if (open_count++ == 0) protect_devices(PROT_READ | PROT_WRITE);
}
DeviceMemoryOpen::~DeviceMemoryOpen() {
  if (--open_count == 0) protect_devices(PROT_NONE);
  one_at_a_time.unlock();
}

}  // namespace emulator
