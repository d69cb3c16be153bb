#include "cuda_emulator/emulator/happens_before.h"

#include <algorithm>

#include "cuda_emulator/emulator/memory.h"

namespace emulator {

uint32_t first_of_launch = 1, first_of_block = 1;

namespace {

using Clocks = std::shared_ptr<const std::vector<uint32_t>>;  // of each thread of a block
using BlockClocks = std::unordered_map<uint32_t, Clocks>;     // by block

std::vector<Epoch> epochs;
uint32_t next_epoch = 1;

// Of the block that runs
std::vector<uint32_t> barrier_clock;  // each thread's clock at the last __syncthreads
std::vector<uint32_t> covered_clock;  // as of that barrier: each thread's writes that a fence has covered
uint32_t barriers = 0;
bool any_fence = false, fence_since_barrier = false;
BlockClocks acquired, observed;  // observed: released by others, but no fence has followed here yet

std::unordered_map<const void*, BlockClocks> released;  // by the place of the atomic operation

// What the last release published, for a thread that makes several in a row
struct {
  const Thread* thread = nullptr;
  uint32_t clock = 0, barriers = 0;
  Clocks clocks;
} last_release;

// The writes that an atomic operation of this thread publishes: those that a fence has covered.
Clocks covered_by(const Thread& self) {
  if (last_release.thread == &self && last_release.clock == self.clock && last_release.barriers == barriers)
    return last_release.clocks;
  std::vector<uint32_t> clocks = covered_clock;
  if (self.fence_barrier == barriers + 1) {  // fenced since the last barrier: what it knew then is covered
    for (size_t t = 0; t < clocks.size(); ++t) clocks[t] = std::max(clocks[t], barrier_clock[t]);
    const unsigned first = self.warp * kWarpSize;
    for (unsigned lane = 0; lane < kWarpSize && first + lane < clocks.size(); ++lane)
      clocks[first + lane] = std::max(clocks[first + lane], self.warp_clock[lane]);
  }
  clocks[self.linear] = std::max(clocks[self.linear], self.fence_clock);
  last_release = {&self, self.clock, barriers, std::make_shared<const std::vector<uint32_t>>(std::move(clocks))};
  return last_release.clocks;
}

}  // namespace

void start_launch_epochs() {
  if (next_epoch > 0xe0000000u) {
    forget_races();
    next_epoch = 1;
  }
  first_of_launch = next_epoch;
  epochs.clear();
  released.clear();
}

void start_block_epochs() {
  first_of_block = next_epoch;
  barrier_clock.assign(current_launch.threads, 0);
  covered_clock.assign(current_launch.threads, 0);
  barriers = 0;
  any_fence = fence_since_barrier = false;
  acquired.clear();
  observed.clear();
  last_release.thread = nullptr;
}

uint32_t new_epoch(const Thread& self) {
  epochs.push_back({current_block.linear, self.clock, uint16_t(self.linear)});
  return next_epoch++;
}

Epoch epoch_at(uint32_t number) { return epochs[number - first_of_launch]; }

bool ordered_before(const Thread& self, uint32_t number) {
  if (number < first_of_launch) return true;
  const Epoch& e = epochs[number - first_of_launch];
  if (e.block == current_block.linear) {
    if (e.thread == self.linear || e.clock <= barrier_clock[e.thread]) return true;
    if (e.thread / kWarpSize == self.warp && e.clock <= self.warp_clock[e.thread % kWarpSize]) return true;
    return e.thread < self.observed.size() && e.clock <= self.observed[e.thread];
  }
  const auto found = acquired.find(e.block);
  return found != acquired.end() && e.clock <= (*found->second)[e.thread];
}

void barrier_clocks() {
  for (size_t t = 0; t < barrier_clock.size(); ++t) {
    Thread& thread = *threads[t];
    if (any_fence) {
      covered_clock[t] = std::max(covered_clock[t], thread.fence_clock);
      if (fence_since_barrier) covered_clock[t] = std::max(covered_clock[t], barrier_clock[t]);
    }
    if (thread.state == ThreadState::Exited) continue;
    barrier_clock[t] = thread.clock++;
    thread.epoch = 0;
  }
  ++barriers;
  fence_since_barrier = false;
}

void warp_clocks(unsigned warp, uint32_t lanes) {
  uint32_t known[kWarpSize] = {};
  const unsigned first = warp * kWarpSize;
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (!(lanes >> lane & 1)) continue;
    Thread& thread = *threads[first + lane];
    thread.warp_clock[lane] = thread.clock++;
    thread.epoch = 0;
    for (int k = 0; k < kWarpSize; ++k) known[k] = std::max(known[k], thread.warp_clock[k]);
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if (lanes >> lane & 1) std::copy(known, known + kWarpSize, threads[first + lane]->warp_clock);
}

void observe_clocks(Thread& self, const std::vector<uint32_t>& clocks) {
  self.observed.resize(std::max(self.observed.size(), clocks.size()));
  for (size_t t = 0; t < clocks.size(); ++t) self.observed[t] = std::max(self.observed[t], clocks[t]);
}
void gather_clocks(Thread& self, std::vector<uint32_t>& clocks) {
  clocks.resize(barrier_clock.size());
  for (size_t t = 0; t < clocks.size(); ++t) {
    clocks[t] = std::max(clocks[t], barrier_clock[t]);
    if (t / kWarpSize == self.warp) clocks[t] = std::max(clocks[t], self.warp_clock[t % kWarpSize]);
    if (t < self.observed.size()) clocks[t] = std::max(clocks[t], self.observed[t]);
  }
  clocks[self.linear] = self.clock++;
  self.epoch = 0;
}

void fence_clocks(Thread& self) {
  self.fence_clock = self.clock++;
  self.epoch = 0;
  self.fence_barrier = barriers + 1;
  any_fence = fence_since_barrier = true;
  for (auto& [block, clocks] : observed) acquired[block] = clocks;
  observed.clear();
}

void atomic_clocks(Thread& self, const void* p) {
  if (!any_fence && released.empty()) return;
  if (const auto found = released.find(p); found != released.end())
    for (auto& [block, clocks] : found->second)
      if (block != current_block.linear) observed[block] = clocks;
  if (!any_fence) return;
  BlockClocks& here = released[p];
  for (auto& [block, clocks] : acquired) here[block] = clocks;
  here[current_block.linear] = covered_by(self);
}

}  // namespace emulator
