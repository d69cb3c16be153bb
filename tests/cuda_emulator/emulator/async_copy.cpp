// cp.async. A copy happens when it is waited for: until then its destination holds NaN and must not be touched, and a
// source that changes too early shows in the result.
#include <cstring>

#include "cuda_emulator/emulator/happens_before.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"

namespace emulator {

void async_copy(void* shared, const void* global, int bytes, int valid_bytes) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  Thread& self = *in.self;
  count_event(self, pc);
  const size_t offset = space_offset(shared);
  if (!is_shared(offset)) {
    report("the destination of cp.async is not shared memory", pc, &self, format("at %p", shared));
    abort_block();
  }
  if (offset % size_t(bytes) || reinterpret_cast<uintptr_t>(global) % size_t(bytes)) {
    report("misaligned cp.async", pc, &self, format("%d bytes from %p to %p", bytes, global, shared));
    abort_block();
  }
  if (valid_bytes > bytes || valid_bytes < 0) {
    report("cp.async of an impossible number of bytes", pc, &self, format("%d of %d", valid_bytes, bytes));
    abort_block();
  }
  if (valid_bytes) check_access(self, global, size_t(valid_bytes), Access::Read, pc);
  check_access(self, shared, size_t(bytes), Access::Write, pc);
  std::memset(shadow.state + offset, kAddressable | kCopyPending, size_t(bytes));
  std::memset(shared, 0xff, size_t(bytes));
  self.copies.push_back(
      {static_cast<char*>(shared), static_cast<const char*>(global), bytes, valid_bytes, self.copy_group, pc});
}

void async_commit() { ++running->copy_group; }

void async_wait(int pending_groups) {
  InEmulator in;
  Thread& self = *in.self;
  const uint32_t epoch = epoch_of(self);
  size_t done = 0;
  for (; done < self.copies.size() && self.copies[done].group < self.copy_group - pending_groups; ++done) {
    const AsyncCopy& copy = self.copies[done];
    std::memcpy(copy.to, copy.from, size_t(copy.valid_bytes));
    std::memset(copy.to + copy.valid_bytes, 0, size_t(copy.bytes - copy.valid_bytes));
    const size_t offset = space_offset(copy.to);
    for (size_t i = offset; i < offset + size_t(copy.bytes); ++i) {
      shadow.state[i] = kAddressable | kInitialised;
      shadow.writer[i] = epoch;
      shadow.reader[i] = shadow.other_reader[i] = 0;
    }
  }
  self.copies.erase(self.copies.begin(), self.copies.begin() + long(done));
}

void check_copies_at_exit(const Thread& self) {
  if (!self.copies.empty())
    report("cp.async has not been waited for when its thread ends", self.copies.front().pc, &self,
           format("%zu copies", self.copies.size()));
}

uint32_t shared_address(const void* p) {
  const size_t offset = space_offset(p);
  return offset >= kDynamicSharedStart ? uint32_t(offset - kDynamicSharedStart) : uint32_t(offset);
}

}  // namespace emulator
