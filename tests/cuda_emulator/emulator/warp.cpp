// Operations of a warp's lanes: each lane brings its input, the last one to arrive computes all results.
#include <algorithm>
#include <cstring>

#include "cuda_emulator/emulator/happens_before.h"
#include "cuda_emulator/emulator/report.h"

namespace emulator {
namespace {

// `parameter` distinguishes variants that must not meet. A barrier may name lanes that have exited.
constexpr const char* kSyncWarp = "__syncwarp";

void check_mask(const Thread& self, const Warp& warp, const char* name, uint32_t mask, const void* pc) {
  if (!(mask >> self.lane & 1)) {
    report("a lane calls a warp operation that its mask does not name", pc, &self,
           format("%s with mask %08x in lane %u", name, mask, self.lane));
    abort_block();
  }
  if (mask & ~warp.exist)
    report("the mask of a warp operation names lanes that do not exist", pc, &self,
           format("%s with mask %08x, the warp has lanes %08x", name, mask, warp.exist));
  if (mask & warp.exited)
    report("the mask of a warp operation names lanes that have exited", pc, &self,
           format("%s with mask %08x, lanes %08x have exited", name, mask, warp.exited));
}

WarpOperation& find_operation(const Thread& self, Warp& warp, const char* name, int parameter, uint32_t mask,
                              const void* pc) {
  for (WarpOperation& op : warp.pending) {
    if (op.mask == mask && op.name == name && op.parameter == parameter && !(op.arrived >> self.lane & 1)) return op;
    if (op.mask & mask) {
      report("lanes of a warp meet at different warp operations or with different masks", pc, &self,
             format("%s with mask %08x, others %s with mask %08x", name, mask, op.name, op.mask));
      abort_block();
    }
  }
  warp.pending.push_back({name, parameter, self.warp, mask, 0, {}, {}});
  return warp.pending.back();
}

bool complete(const Warp& warp, const WarpOperation& op) {
  return (op.mask & ~op.arrived & warp.exist & ~warp.exited) == 0;
}

// Results for all lanes, and those that waited may go on.
void finish(Warp& warp, size_t position, WarpFunction function, const Thread* last) {
  WarpOperation op = warp.pending[position];
  warp.pending.erase(warp.pending.begin() + long(position));
  op.mask = op.arrived;
  if (function) function(op);
  if (op.name == kSyncWarp) warp_clocks(op.warp, op.arrived);
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if (op.arrived >> lane & 1 && (!last || lane != last->lane)) make_ready(*threads[op.warp * kWarpSize + lane]);
}

struct Shuffled {
  const void* value;
  size_t bytes;
  unsigned source;
  bool from_inside;
};

void shuffle_lanes(WarpOperation& op) {
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (!(op.mask >> lane & 1)) continue;
    auto* self = static_cast<Shuffled*>(op.output[lane]);
    self->from_inside = op.mask >> self->source & 1;
  }
}

struct Voted {
  uint64_t value;
  char operation;
  uint32_t result;
};

template <class F>
void for_lanes(const WarpOperation& op, const F& f) {
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if (op.mask >> lane & 1) f(lane, *static_cast<Voted*>(op.output[lane]));
}

void ballot_lanes(WarpOperation& op) {
  uint32_t bits = 0;
  for_lanes(op, [&](unsigned lane, Voted& v) { bits |= uint32_t(v.value != 0) << lane; });
  for_lanes(op, [&](unsigned, Voted& v) { v.result = bits; });
}
void match_lanes(WarpOperation& op) {
  for_lanes(op, [&](unsigned, Voted& self) {
    self.result = 0;
    for_lanes(op, [&](unsigned lane, Voted& v) { self.result |= uint32_t(v.value == self.value) << lane; });
  });
}
uint32_t combine(uint32_t a, uint32_t b, char operation) {
  switch (operation) {
    case '+':
      return a + b;
    case 'm':
      return std::min(a, b);
    case 'M':
      return std::max(a, b);
    case 'i':
      return uint32_t(std::min(int32_t(a), int32_t(b)));
    case 'I':
      return uint32_t(std::max(int32_t(a), int32_t(b)));
    case '&':
      return a & b;
    case '|':
      return a | b;
    default:
      return a ^ b;
  }
}
void reduce_lanes(WarpOperation& op) {
  bool first = true;
  uint32_t all = 0;
  for_lanes(op, [&](unsigned, Voted& v) {
    all = first ? uint32_t(v.value) : combine(all, uint32_t(v.value), v.operation);
    first = false;
  });
  for_lanes(op, [&](unsigned, Voted& v) { v.result = all; });
}

}  // namespace

void warp_operation(Thread& self, const char* name, int parameter, uint32_t mask, const void* input, void* output,
                    WarpFunction function, const void* pc) {
  Warp& warp = current_block.warps[self.warp];
  if (name != kSyncWarp) {
    check_mask(self, warp, name, mask, pc);
  } else {
    mask &= warp.exist;
  }
  WarpOperation& op = find_operation(self, warp, name, parameter, mask, pc);
  op.input[self.lane] = input;
  op.output[self.lane] = output;
  op.arrived |= 1u << self.lane;
  if (complete(warp, op)) return finish(warp, size_t(&op - warp.pending.data()), function, &self);
  wait(self, ThreadState::WaitsForWarp, pc, name);
}

void warp_thread_exited(Thread& self) {
  Warp& warp = current_block.warps[self.warp];
  for (size_t i = 0; i < warp.pending.size(); ++i) {
    WarpOperation& op = warp.pending[i];
    if (!(op.mask >> self.lane & 1)) continue;
    if (op.name != kSyncWarp) {
      const Thread& other = *threads[self.warp * kWarpSize + unsigned(__builtin_ctz(op.arrived))];
      report("the mask of a warp operation names lanes that have exited", other.waits_at, &other,
             format("%s with mask %08x, lane %u has exited", op.name, op.mask, self.lane));
      current_block.aborted = true;
    } else if (complete(warp, op)) {
      finish(warp, i--, nullptr, nullptr);
    }
  }
}

void sync_warp(uint32_t mask) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  if (!(mask >> in.self->lane & 1)) {
    report("a lane calls a warp operation that its mask does not name", pc, in.self,
           format("__syncwarp with mask %08x in lane %u", mask, in.self->lane));
    abort_block();
  }
  warp_operation(*in.self, kSyncWarp, 0, mask, nullptr, nullptr, nullptr, pc);
}

void shuffle(uint32_t mask, const void* value, void* result, size_t bytes, unsigned source) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  Shuffled mine{value, bytes, source, true};
  const auto exchange = [](WarpOperation& op) {
    shuffle_lanes(op);
    for (unsigned lane = 0; lane < kWarpSize; ++lane) {
      if (!(op.mask >> lane & 1)) continue;
      const auto* self = static_cast<Shuffled*>(op.output[lane]);
      void* to = const_cast<void*>(op.input[lane]);
      if (self->from_inside) {
        std::memcpy(to, static_cast<Shuffled*>(op.output[self->source])->value, self->bytes);
      } else {
        std::memset(to, 0xff, self->bytes);
      }
    }
  };
  warp_operation(*in.self, "shuffle", int(bytes), mask, result, &mine, exchange, pc);
  if (!mine.from_inside)
    report("a shuffle reads from a lane that does not take part", pc, in.self,
           format("lane %u, mask %08x", source, mask));
}

namespace {
uint32_t vote(const char* name, uint32_t mask, uint64_t value, char operation, WarpFunction function, const void* pc) {
  InEmulator in;
  Voted mine{value, operation, 0};
  warp_operation(*in.self, name, operation, mask, nullptr, &mine, function, pc);
  return mine.result;
}
}  // namespace

uint32_t ballot(uint32_t mask, int predicate) {
  return vote("vote", mask, uint64_t(predicate != 0), 0, ballot_lanes, EMULATOR_CALLER);
}
uint32_t match_any(uint32_t mask, uint64_t value) {
  return vote("match", mask, value, 0, match_lanes, EMULATOR_CALLER);
}
uint32_t reduce_bits(uint32_t mask, uint32_t value, char operation) {
  return vote("reduce", mask, value, operation, reduce_lanes, EMULATOR_CALLER);
}

// Which lanes run together is nowhere promised; the least that a kernel can rely on is its own lane.
uint32_t active_mask() { return 1u << running->lane; }

}  // namespace emulator
