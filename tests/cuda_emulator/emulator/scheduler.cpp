// Threads of a block are run one at a time: a warp's lanes until none can go on, then the next warp. The order of lanes
// and warps is shuffled, so that code which relies on an order fails.
#include <sys/mman.h>

#include <map>

#include "cuda_emulator/emulator/context_switch.h"
#include "cuda_emulator/emulator/happens_before.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"
#include "cuda_emulator/emulator/symbols.h"

namespace emulator {

Launch current_launch;
Block current_block;
std::vector<std::unique_ptr<Thread>> threads;
thread_local Thread* running = nullptr;
Settings settings;
Counters counters;

namespace {

Thread host;  // the launching thread's own context
Thread* on_processor = &host;
uint64_t random_state = 1;

void switch_to(Thread& next) {
  Thread& previous = *on_processor;
  on_processor = &next;
  ++counters.switches;
  emulator_switch_context(&previous.context, next.context);
}

// Any ready lane of the current thread's warp, or else the scheduler.
void leave(const Thread& self) {
  const uint32_t ready = current_block.aborted ? 0 : current_block.warps[self.warp].ready;
  if (!ready) return switch_to(host);
  const unsigned turn = unsigned(next_random()) & 31;
  const uint32_t turned = ready >> turn | (turn ? ready << (32 - turn) : 0);
  const unsigned lane = (unsigned(__builtin_ctz(turned)) + turn) & 31;
  switch_to(*threads[self.warp * kWarpSize + lane]);
}

void run_thread() {
  Thread& self = *on_processor;
  running = &self;
  current_launch.request->call(current_launch.request->arguments);
  running = nullptr;
  check_copies_at_exit(self);
  check_products_at_exit(self);
  self.state = ThreadState::Exited;
  Warp& warp = current_block.warps[self.warp];
  warp.ready &= ~(1u << self.lane);
  warp.exited |= 1u << self.lane;
  --current_block.live;
  warp_thread_exited(self);
  leave(self);
  __builtin_unreachable();
}

void start_thread(unsigned linear, char* stack) {
  Thread& t = *threads[linear];
  const dim3 block = current_launch.request->block;
  t.stack = stack;
  t.linear = linear;
  t.lane = linear % kWarpSize;
  t.warp = linear / kWarpSize;
  t.index = {linear % block.x, linear / block.x % block.y, linear / (block.x * block.y)};
  t.state = ThreadState::Ready;
  t.epoch = t.fence_clock = t.fence_barrier = 0;
  t.clock = 1;
  for (uint32_t& clock : t.warp_clock) clock = 0;
  t.observed.clear();
  t.proxy_fence_clock = 0;
  t.copies.clear();
  t.products.clear();
  t.accumulators.clear();
  t.copy_group = t.product_group = 0;
  t.registers_fenced = false;
  // Stacks that began at equal offsets would fight for the same sets of the cache.
  t.context = prepare_stack(stack, kStackBytes - linear * 320 % 8192, run_thread);
  current_block.warps[t.warp].exist |= 1u << t.lane;
}

void start_block(unsigned linear) {
  static char* const stacks = static_cast<char*>(mmap(nullptr, kMaxThreads * kStackBytes, PROT_READ | PROT_WRITE,
                                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  Block& b = current_block;
  const LaunchRequest& request = *current_launch.request;
  b.linear = linear;
  b.index = {linear % request.grid.x, linear / request.grid.x % request.grid.y,
             linear / request.grid.x / request.grid.y};
  b.live = current_launch.threads;
  b.at_barrier = 0;
  b.aborted = false;
  b.warps.assign(current_launch.warps, Warp{});
  if (b.static_shared_end) make_unaddressable(kStaticSharedStart, b.static_shared_end - kStaticSharedStart, 0);
  b.static_shared_end = kStaticSharedStart;
  b.static_shared.clear();
  make_unaddressable(kDynamicSharedStart, b.dynamic_shared_bytes, 0);
  b.dynamic_shared_bytes = request.dynamic_shared_bytes;
  make_addressable(kDynamicSharedStart, b.dynamic_shared_bytes);
  while (threads.size() < current_launch.threads) threads.push_back(std::make_unique<Thread>());
  start_block_epochs();
  reset_mbarriers();
  for (unsigned i = 0; i < current_launch.threads; ++i) start_thread(i, stacks + i * kStackBytes);
  for (Warp& warp : b.warps) warp.ready = warp.exist;
}

const void* where_another_waits(ThreadState state) {
  for (unsigned i = 0; i < current_launch.threads; ++i)
    if (threads[i]->state == state) return threads[i]->waits_at;
  return nullptr;
}

void open_barrier() {
  Block& b = current_block;
  const Thread* first = nullptr;
  unsigned votes = 0;
  for (unsigned i = 0; i < current_launch.threads; ++i) {
    Thread& t = *threads[i];
    if (t.state != ThreadState::WaitsForBlock) continue;
    if (!first) first = &t;
    votes += t.predicate != 0;
    if (t.waits_at != first->waits_at && source_line(t.waits_at) != source_line(first->waits_at))
      report("barrier divergence: threads wait at different __syncthreads", t.waits_at, &t,
             "another at " + source_line(first->waits_at));
  }
  barrier_clocks();
  b.vote_result = first->vote == BlockVote::And ? votes == b.at_barrier : int(votes);
  if (first->vote == BlockVote::Or) b.vote_result = votes != 0;
  b.at_barrier = 0;
  for (unsigned i = 0; i < current_launch.threads; ++i)
    if (threads[i]->state == ThreadState::WaitsForBlock) make_ready(*threads[i]);
}

void report_deadlock() {
  std::map<std::pair<std::string, const void*>, int> waiting;
  const Thread* example = nullptr;
  for (unsigned i = 0; i < current_launch.threads; ++i) {
    if (threads[i]->state == ThreadState::Exited) continue;
    example = threads[i].get();
    ++waiting[{example->waits_for, example->waits_at}];
  }
  std::string detail;
  for (const auto& [what, count] : waiting)
    detail += format("%s%d threads wait for %s at %s", detail.empty() ? "" : "; ", count, what.first.c_str(),
                     source_line(what.second).c_str());
  report("deadlock", example->waits_at, example, detail);
  current_block.aborted = true;
}

// True if the barrier could be opened.
bool try_barrier() {
  Block& b = current_block;
  if (!b.at_barrier || b.at_barrier != b.live) return false;
  if (b.live < current_launch.threads)
    report("barrier divergence: __syncthreads is not reached by threads that have exited",
           where_another_waits(ThreadState::WaitsForBlock), nullptr,
           format("%u of %u threads", current_launch.threads - b.live, current_launch.threads));
  open_barrier();
  return true;
}

}  // namespace

uint64_t next_random() {  // xorshift (Marsaglia 2003)
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}
void seed_random(uint64_t seed) {
  random_state = seed * 0x9e3779b97f4a7c15u | 1;
  for (int i = 0; i < 8; ++i) next_random();
}

void make_ready(Thread& thread) {
  thread.state = ThreadState::Ready;
  current_block.warps[thread.warp].ready |= 1u << thread.lane;
}

void wait(Thread& self, ThreadState state, const void* pc, const char* waits_for) {
  self.state = state;
  self.waits_at = pc;
  self.waits_for = waits_for;
  current_block.warps[self.warp].ready &= ~(1u << self.lane);
  count_event(self, pc);
  leave(self);
}

void abort_block() {
  current_block.aborted = true;
  switch_to(host);
  __builtin_unreachable();
}

void run_block(unsigned linear) {
  Block& b = current_block;
  start_block(linear);
  ++counters.blocks;
  while (b.live && !b.aborted) {
    bool progress = false;
    const unsigned first = unsigned(next_random() % current_launch.warps);
    for (unsigned i = 0; i < current_launch.warps && !b.aborted; ++i) {
      const unsigned w = (first + i) % current_launch.warps;
      while (b.warps[w].ready && !b.aborted) {
        progress = true;
        switch_to(*threads[w * kWarpSize + unsigned(__builtin_ctz(b.warps[w].ready))]);
      }
    }
    if (!b.aborted && !try_barrier() && !progress && !complete_tensor_load() && b.live) report_deadlock();
  }
  if (!b.aborted) check_loads_at_exit();
  if (settings.count_bank_conflicts) count_bank_conflicts_of_block();
}

int sync_block(BlockVote vote, int predicate) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  in.self->vote = vote;
  in.self->predicate = predicate;
  ++current_block.at_barrier;
  wait(*in.self, ThreadState::WaitsForBlock, pc, "__syncthreads");
  return current_block.vote_result;
}

void fence() {
  InEmulator in;
  fence_clocks(*in.self);
}

uint3 thread_index() noexcept { return running->index; }
uint3 block_index() noexcept { return current_block.index; }
dim3 block_dimensions() noexcept { return current_launch.request->block; }
dim3 grid_dimensions() noexcept { return current_launch.request->grid; }
unsigned lane_index() noexcept { return running->lane; }

}  // namespace emulator
