// What the emulator knows of the launch in progress: one at a time in the process, its blocks one after the other, the
// threads of a block as fibers on the launching thread's stack of contexts.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cuda_emulator/interface.h"

namespace emulator {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kMaxThreads = 1024;
inline constexpr size_t kStackBytes = size_t(64) << 10;

enum class ThreadState : uint8_t { Ready, WaitsForWarp, WaitsForBlock, WaitsForBarrier, WaitsForWarpgroup, Exited };

struct AsyncCopy {
  char* to;
  const char* from;
  int bytes, valid_bytes, group;
  const void* pc;
};

struct WarpgroupProduct {
  MatrixType type;
  float* d;
  int registers;
  uint64_t a, b;  // descriptors
  bool accumulate;
  int group;
  const void* pc;
};

struct Thread {
  void* context = nullptr;
  char* stack = nullptr;
  uint3 index{};
  unsigned linear = 0, lane = 0, warp = 0;
  ThreadState state = ThreadState::Exited;
  const void* waits_at = nullptr;  // program counter
  const char* waits_for = "";
  BlockVote vote = BlockVote::None;
  int predicate = 0;

  // Happens-before (see happens_before.h)
  uint32_t epoch = 0, clock = 1, fence_clock = 0;
  uint32_t fence_barrier = 0;           // number of block barriers passed at the last fence, + 1
  uint32_t warp_clock[kWarpSize] = {};  // of its warp's lanes, as known through __syncwarp

  std::vector<uint32_t> observed;  // of all threads of the block, as known through mbarriers
  uint32_t proxy_fence_clock = 0;

  std::vector<AsyncCopy> copies;
  int copy_group = 0;
  const void* barrier = nullptr;  // the mbarrier and parity that it waits for
  int parity = 0;
  std::vector<WarpgroupProduct> products;
  int product_group = 0;
  bool registers_fenced = false;  // by wgmma.fence, since accumulators could last be touched
  std::unordered_map<float*, std::vector<float>> accumulators;  // what they hold really, while products are under way
};

struct WarpOperation {
  const char* name;
  int parameter;
  unsigned warp;
  uint32_t mask, arrived;
  const void* input[kWarpSize];
  void* output[kWarpSize];
};
using WarpFunction = void (*)(WarpOperation&);

struct Warp {
  uint32_t exist = 0, ready = 0, exited = 0;
  std::vector<WarpOperation> pending;
};

struct Block {
  uint3 index{};
  unsigned linear = 0;
  unsigned live = 0, at_barrier = 0;
  bool aborted = false;
  int vote_result = 0;
  std::vector<Warp> warps;
  size_t static_shared_end = 0, dynamic_shared_bytes = 0;
  std::unordered_map<const void*, void*> static_shared;
};

struct Launch {
  const LaunchRequest* request = nullptr;
  unsigned threads = 0, warps = 0;
  int device = 0;
  uint64_t events = 0;  // accesses and switches, for the watchdog
  double deadline = 0;
};

extern Launch current_launch;
extern Block current_block;
extern std::vector<std::unique_ptr<Thread>> threads;

// The thread whose kernel code runs on this OS thread now; null in the emulator's own code and outside of launches.
// Hooks do nothing where it is null.
extern thread_local Thread* running __attribute__((tls_model("initial-exec")));

// Marks the way from a kernel into the emulator and back.
class InEmulator {
 public:
  InEmulator() : self(running) { running = nullptr; }
  InEmulator(const InEmulator&) = delete;
  InEmulator& operator=(const InEmulator&) = delete;
  ~InEmulator() { running = self; }
  Thread* const self;
};

extern bool checked_build;  // are the kernels instrumented?

// scheduler.cpp
void run_block(unsigned linear);
void wait(Thread& self, ThreadState state, const void* pc, const char* waits_for);  // returns when made ready
void make_ready(Thread& thread);
[[noreturn]] void abort_block();  // leaves the current thread and all others of the block for good
uint64_t next_random();
void seed_random(uint64_t seed);

// watchdog.cpp
void start_watchdog();
void stop_watchdog();
void check_watchdog(Thread& self, const void* pc);  // aborts the block of a launch that has run for too long
inline void count_event(Thread& self, const void* pc) {
  if ((++current_launch.events & 0xfff) == 0) check_watchdog(self, pc);
}

// warp.cpp
void warp_operation(Thread& self, const char* name, int parameter, uint32_t mask, const void* input, void* output,
                    WarpFunction function, const void* pc);
void warp_thread_exited(Thread& self);

// async_copy.cpp
void check_copies_at_exit(const Thread& self);

// warpgroups.cpp
void check_products_at_exit(const Thread& self);

// mbarriers.cpp
void reset_mbarriers();
bool complete_tensor_load();  // one of those under way, if there are any
void check_loads_at_exit();   // of the block

struct Settings {
  uint64_t seed = 1;
  size_t memory_limit = size_t(256) << 20;  // of each device
  double time_limit_s = 60;                 // of a launch
  uint64_t event_limit = 0;                 // of a launch; 0: none
  bool count_bank_conflicts = false;
};
extern Settings settings;

struct Counters {
  uint64_t launches, blocks, accesses, switches, matrix_loads, matrix_load_conflicts, shared_wavefronts,
      shared_conflicts;
};
extern Counters counters;

}  // namespace emulator

#define EMULATOR_CALLER __builtin_return_address(0)
