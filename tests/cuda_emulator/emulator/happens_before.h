// Which accesses are ordered. Each thread has a clock that moves at every synchronisation. A (block, thread, clock)
// that touches memory is an epoch; epochs are numbered through the life of the process, and memory's shadow keeps the
// numbers.
//
// Ordered before the current thread are: earlier launches; the thread itself; what its block knows through
// __syncthreads; what its warp told it through __syncwarp; and what other blocks released by a fence and an atomic
// operation on a place that this block then touched with an atomic operation, followed by a fence.
#pragma once
#include "cuda_emulator/emulator/state.h"

namespace emulator {

struct Epoch {
  uint32_t block, clock;
  uint16_t thread;
};

void start_launch_epochs();
void start_block_epochs();
uint32_t new_epoch(const Thread& self);
inline uint32_t epoch_of(Thread& self) {
  if (!self.epoch) self.epoch = new_epoch(self);
  return self.epoch;
}
Epoch epoch_at(uint32_t number);  // of this launch
extern uint32_t first_of_launch, first_of_block;
bool ordered_before(const Thread& self, uint32_t epoch);

void barrier_clocks();                            // all threads of the block have met
void warp_clocks(unsigned warp, uint32_t lanes);  // these lanes have met
// For barriers of other kinds: what this thread knows, and has done, when it arrives; and what it learns.
void gather_clocks(Thread& self, std::vector<uint32_t>& clocks);
void observe_clocks(Thread& self, const std::vector<uint32_t>& clocks);
void fence_clocks(Thread& self);
void atomic_clocks(Thread& self, const void* p);  // an atomic operation on p: releases and acquires

}  // namespace emulator
