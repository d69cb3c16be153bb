// mbarrier and TMA tile loads (PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier" and
// "cp.async.bulk.tensor"). A load happens when no thread can go on any more: as late as possible. Until then its
// destination must not be touched.
#include <cstring>
#include <map>

#include "cuda_emulator/emulator/happens_before.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"

namespace emulator {
namespace {

struct Barrier {
  int count, pending;
  unsigned thread;  // that initialised it
  uint32_t clock;   // of that thread then
  long bytes = 0;   // still to come
  int phase = 0;
  std::vector<uint32_t> gathered, complete;  // clocks: of this phase so far, of the last complete phase
};
std::map<const void*, Barrier> barriers;

struct TensorLoad {
  char* to;
  TensorMap map;
  Coordinates from;
  const void* barrier;
  unsigned thread;
  uint32_t clock, epoch;
  const void* pc;
};
std::vector<TensorLoad> loads;

constexpr size_t kRowBytes = 128;

Barrier& find(const Thread& self, const void* p, const void* pc) {
  const auto found = barriers.find(p);
  if (found == barriers.end()) {
    report("use of an mbarrier that was not initialised", pc, &self);
    abort_block();
  }
  return found->second;
}

void end_phase(const void* p, Barrier& barrier) {
  if (barrier.pending || barrier.bytes) return;
  barrier.phase ^= 1;
  barrier.pending = barrier.count;
  barrier.complete = barrier.gathered;
  for (unsigned i = 0; i < current_launch.threads; ++i) {
    Thread& t = *threads[i];
    if (t.state != ThreadState::WaitsForBarrier || t.barrier != p || t.parity == barrier.phase) continue;
    observe_clocks(t, barrier.complete);
    make_ready(t);
  }
}

int box_rows(const TensorMap& map) {
  uint32_t rows = 1;
  for (int d = 1; d < map.dims; ++d) rows *= map.box[d];
  return int(rows);
}

bool check_load(const Thread& self, size_t offset, const TensorMap& map, const Coordinates& from, const void* pc) {
  if (offset < kDynamicSharedStart || offset >= kSharedBytes || offset % kRowBytes) {
    report("TMA to a place that is not a multiple of 128 bytes of dynamic shared memory", pc, &self);
    return false;
  }
  if (map.box[0] * 2 != kRowBytes || from.dims != map.dims) {
    report("impossible TMA box", pc, &self,
           format("rows of %u elements, %d coordinates of %d", map.box[0], from.dims, map.dims));
    return false;
  }
  return true;
}

// The part of a box's row that lies in the tensor: its first element in the row, how many, and where they are
struct Span {
  int first, count;
  const char* data;
};
Span inside(const TensorMap& map, const Coordinates& from, int row) {
  const char* data = map.data;
  for (int d = 1; d < map.dims; ++d) {
    const long at = from.at[d] + row % int(map.box[d]);
    row /= int(map.box[d]);
    if (at < 0 || uint64_t(at) >= map.size[d]) return {0, 0, nullptr};
    data += uint64_t(at) * map.pitch[d];
  }
  const int first = from.at[0] < 0 ? -from.at[0] : 0;
  const long end = std::min<long>(map.box[0], long(map.size[0]) - from.at[0]);
  return {first, end > first ? int(end - first) : 0, data + 2 * (long(from.at[0]) + first)};
}

}  // namespace

void reset_mbarriers() {
  barriers.clear();
  loads.clear();
}

void check_loads_at_exit() {
  if (!loads.empty())
    report("a TMA load has not been waited for when its block ends", loads[0].pc, threads[loads[0].thread].get());
}

void mbarrier_init(void* p, int count) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  check_access(*in.self, p, 8, Access::Write, pc);
  if (space_offset(p) % 8 || count < 1) {
    report("impossible mbarrier", pc, in.self, format("at %p with count %d", p, count));
    abort_block();
  }
  barriers[p] = Barrier{count, count, in.self->linear, in.self->clock, 0, 0, {}, {}};
}

void mbarrier_arrive(void* p, int expected_bytes) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  count_event(*in.self, pc);
  Barrier& barrier = find(*in.self, p, pc);
  check_access(*in.self, p, 8, Access::Read, pc);
  if (!barrier.pending) {
    report("more arrivals at an mbarrier than its count", pc, in.self, format("%d", barrier.count));
    abort_block();
  }
  gather_clocks(*in.self, barrier.gathered);
  barrier.bytes += expected_bytes;
  --barrier.pending;
  end_phase(p, barrier);
}

void mbarrier_wait(void* p, int parity) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  count_event(*in.self, pc);
  Barrier& barrier = find(*in.self, p, pc);
  check_access(*in.self, p, 8, Access::Read, pc);
  if (barrier.phase != parity) return observe_clocks(*in.self, barrier.complete);
  in.self->barrier = p;
  in.self->parity = parity;
  wait(*in.self, ThreadState::WaitsForBarrier, pc, "an mbarrier");
}

void fence_proxy_async() {
  InEmulator in;
  in.self->proxy_fence_clock = in.self->clock++;
  in.self->epoch = 0;
}

void tensor_load(void* to, const TensorMap* map, const Coordinates& from, void* p) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  Thread& self = *in.self;
  count_event(self, pc);
  const Barrier& barrier = find(self, p, pc);
  if (threads[barrier.thread]->proxy_fence_clock < barrier.clock)
    report("TMA with an mbarrier that was initialised without a fence.proxy.async after it", pc, &self);
  const size_t offset = space_offset(to), bytes = size_t(box_rows(*map)) * kRowBytes;
  if (!check_load(self, offset, *map, from, pc)) abort_block();
  check_access(self, to, bytes, Access::Write, pc);
  for (int r = 0; r < box_rows(*map); ++r)
    if (const Span span = inside(*map, from, r); span.count)
      check_access(self, span.data, size_t(span.count) * 2, Access::Read, pc);
  std::memset(to, 0xff, bytes);
  std::memset(shadow.state + offset, kAddressable | kCopyPending, bytes);
  loads.push_back({static_cast<char*>(to), *map, from, p, self.linear, self.clock, epoch_of(self), pc});
  ++self.clock;
  self.epoch = 0;
}

bool complete_tensor_load() {
  if (loads.empty()) return false;
  const size_t which = next_random() % loads.size();
  const TensorLoad load = loads[which];
  loads.erase(loads.begin() + long(which));
  const size_t offset = space_offset(load.to), bytes = size_t(box_rows(load.map)) * kRowBytes;
  for (int r = 0; r < box_rows(load.map); ++r) {
    char line[kRowBytes] = {};
    if (const Span span = inside(load.map, load.from, r); span.count)
      std::memcpy(line + 2 * span.first, span.data, size_t(span.count) * 2);
    for (size_t chunk = 0; chunk < kRowBytes; chunk += 16) {
      const uint32_t address = shared_address(load.to) + uint32_t(size_t(r) * kRowBytes + chunk);
      std::memcpy(space + kDynamicSharedStart + (address ^ (address >> 7 & 7) << 4), line + chunk, 16);
    }
  }
  for (size_t i = offset; i < offset + bytes; ++i) {
    shadow.state[i] = kAddressable | kInitialised | kWrittenByTma;
    shadow.writer[i] = load.epoch;
    shadow.reader[i] = shadow.other_reader[i] = 0;
  }
  Barrier& barrier = barriers.find(load.barrier)->second;
  barrier.gathered.resize(current_launch.threads);
  barrier.gathered[load.thread] = std::max(barrier.gathered[load.thread], load.clock);
  barrier.bytes -= long(bytes);
  end_phase(load.barrier, barrier);
  return true;
}

}  // namespace emulator
