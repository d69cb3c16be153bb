// One pool of sleeping threads. A job is a counter that its caller and the workers draw tasks from. A worker that wakes
// late must not touch a finished job, so it first announces itself in `active_`, then reads `job_`; the caller clears
// `job_`, then waits until `active_` is zero (both sequentially consistent).
#include "core/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/arena.h"
#include "core/check.h"

#if defined(__x86_64__)
#define SW_PAUSE() __builtin_ia32_pause()
#else
#define SW_PAUSE() std::this_thread::yield()
#endif

namespace skipway {
namespace {

constexpr int kMaxThreads = 256;
// A worker with nothing to do first spins, then yields to whoever wants its core, then sleeps: a sleeping core of a
// virtual machine takes up to a millisecond to wake, which is longer than most kernels run. An idle process uses no CPU
// kAwake after its last kernel.
constexpr int kSpins = 2000;  // about 50 us: longer than the gap between most kernels
constexpr auto kAwake = std::chrono::milliseconds(2);
constexpr int kFew = 8;  // workers; of more, it is no longer cheap to say where each wakes
constexpr auto kPollInterval = std::chrono::milliseconds(20);

std::atomic<void (*)()> interrupt_poll{nullptr};
thread_local bool inside_job = false;

struct Job {
  int64_t tasks;
  void (*fn)(void*, int64_t);
  void* context;
  std::atomic<int64_t> next{0};
  std::atomic<bool> cancelled{false};
  std::mutex error_mutex;
  std::exception_ptr error;

  void fail() {
    std::lock_guard<std::mutex> lock(error_mutex);
    if (!error) error = std::current_exception();
    cancelled = true;
  }
  void work() {
    for (int64_t t; !cancelled && (t = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      try {
        fn(context, t);
      } catch (...) {
        fail();
      }
    }
  }
  void work_and_poll() {
    auto last = std::chrono::steady_clock::now();
    for (int64_t t; !cancelled && (t = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      try {
        fn(context, t);
        const auto now = std::chrono::steady_clock::now();
        if (now - last > kPollInterval) {
          last = now;
          if (auto poll = interrupt_poll.load()) poll();
        }
      } catch (...) {
        fail();
      }
    }
  }
};

// While this lives, workers may not run on the caller's core. Linux likes to wake a thread on the core of whoever wakes
// it, where it would wait for several ms behind a caller who is busy; once awake elsewhere, it stays there.
class KeepAway {
 public:
  explicit KeepAway(std::vector<std::thread>& workers) : workers_(workers) {
#ifdef __linux__
    const int here = sched_getcpu();
    if (here < 0 || here >= CPU_SETSIZE || workers.size() > size_t(kFew)) return;
    for (size_t i = 0; i < workers.size(); ++i) {
      if (pthread_getaffinity_np(workers[i].native_handle(), sizeof(cpu_set_t), &before_[i]) != 0) continue;
      cpu_set_t others = before_[i];
      CPU_CLR(here, &others);
      if (CPU_COUNT(&others) == 0 || CPU_EQUAL(&others, &before_[i])) continue;
      changed_[i] = pthread_setaffinity_np(workers[i].native_handle(), sizeof others, &others) == 0;
    }
#endif
  }
  KeepAway(const KeepAway&) = delete;
  ~KeepAway() {
#ifdef __linux__
    for (size_t i = 0; i < workers_.size() && i < size_t(kFew); ++i)
      if (changed_[i]) pthread_setaffinity_np(workers_[i].native_handle(), sizeof(cpu_set_t), &before_[i]);
#endif
  }

 private:
  std::vector<std::thread>& workers_;
#ifdef __linux__
  cpu_set_t before_[kFew];
#endif
  bool changed_[kFew] = {};
};

class Pool {
 public:
  explicit Pool(int threads) { resize(threads); }

  int threads() const { return threads_; }

  void resize(int n) {
    std::lock_guard<std::mutex> lock(entry_);
    quit_ = true;
    wake();
    for (auto& w : workers_) w.join();
    workers_.clear();
    quit_ = false;
    threads_ = n;
    for (int i = 1; i < n; ++i) workers_.emplace_back([this, seen = epoch_.load()] { worker(seen); });
  }

  void run(Job& job) {
    std::unique_lock<std::mutex> lock(entry_, std::try_to_lock);
    if (!lock || threads_ == 1) {  // another thread has the pool: the same bits, only alone
      job.work_and_poll();
      return;
    }
    job_ = &job;
    wake();
    job.work_and_poll();
    job_ = nullptr;
    for (int spins = 0; active_ != 0; ++spins) {
      if (spins < kSpins) {
        SW_PAUSE();
      } else {
        sched_yield();
      }
    }
  }

 private:
  void wake() {
    epoch_.fetch_add(1);
    if (sleeping_ == 0) return;
    const KeepAway guard(workers_);
    epoch_.notify_all();
  }

  void stay_awake(uint64_t seen) {
    const auto end = std::chrono::steady_clock::now() + kAwake;
    while (epoch_ == seen && std::chrono::steady_clock::now() < end) {
      sched_yield();
      for (int i = 0; i < 20 && epoch_ == seen; ++i) SW_PAUSE();
    }
  }

  void worker(uint64_t seen) {
    inside_job = true;
    while (true) {
      for (int i = 0; i < kSpins && epoch_ == seen; ++i) SW_PAUSE();
      if (epoch_ == seen) stay_awake(seen);
      if (epoch_ == seen) {
        ++sleeping_;
        epoch_.wait(seen);
        --sleeping_;
      }
      seen = epoch_;
      if (quit_) return;
      ++active_;
      if (Job* job = job_) job->work();
      --active_;
    }
  }

  std::mutex entry_;
  std::vector<std::thread> workers_;
  std::atomic<uint64_t> epoch_{0};
  std::atomic<Job*> job_{nullptr};
  std::atomic<int> active_{0}, sleeping_{0};
  std::atomic<bool> quit_{false};
  int threads_ = 1;
};

int initial_threads() {
  if (const char* s = std::getenv("SKIPWAY_NUM_THREADS"); s && *s) {
    char* end;
    const long n = std::strtol(s, &end, 10);
    SW_CHECK_VALUE(!*end && n >= 1 && n <= kMaxThreads, "SKIPWAY_NUM_THREADS: expected 1 to ", kMaxThreads, ", got ",
                   s);
    return int(n);
  }
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, std::min(CPU_COUNT(&set), kMaxThreads));
#endif
  return std::max(1, std::min(int(std::thread::hardware_concurrency()), kMaxThreads));
}

std::atomic<Pool*> the_pool{nullptr};
std::atomic<int> wanted_threads{0};
std::mutex pool_mutex;

// In a forked child the workers do not exist: forget the pool (it is not destroyed: its threads cannot be joined).
void after_fork_in_child() {
  the_pool = nullptr;
  new (&pool_mutex) std::mutex;
  inside_job = false;
}

Pool& pool() {
  if (Pool* p = the_pool) return *p;
  const int n = num_threads();
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (!the_pool) {
    static const int registered = pthread_atfork(nullptr, nullptr, after_fork_in_child);
    (void)registered;
    the_pool = new Pool(n);
  }
  return *the_pool;
}

// The scratch memory of all threads comes from one arena, so that it needs few pages of the system, which are large.
class ScratchMemory {
 public:
  void* get(size_t bytes) {
    if (kNoArenas) return std::aligned_alloc(64, bytes);
    Arena::Block block;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      block = arena_.get(bytes);
    }
    try {
      return Arena::touched(block);
    } catch (...) {
      put(block.data);
      throw;
    }
  }
  void put(void* p) {
    if (kNoArenas) return std::free(p);
    if (!p) return;
    std::lock_guard<std::mutex> lock(mutex_);
    arena_.put(p);
  }
  void before_fork() { mutex_.lock(); }
  void after_fork() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
  Arena arena_;
};

// Never destroyed: threads may end after static destructors have run.
ScratchMemory& scratch_memory() {
  static ScratchMemory* const memory = [] {
    auto* m = new ScratchMemory;
    pthread_atfork([] { scratch_memory().before_fork(); }, [] { scratch_memory().after_fork(); },
                   [] { scratch_memory().after_fork(); });
    return m;
  }();
  return *memory;
}

struct Scratch {
  void* data[8] = {};
  size_t bytes[8] = {};
  ~Scratch() {
    for (void* p : data) scratch_memory().put(p);
  }
};

}  // namespace

int num_threads() {
  if (wanted_threads == 0) wanted_threads = initial_threads();
  return wanted_threads;
}

void set_num_threads(int n) {
  SW_CHECK_VALUE(n >= 1 && n <= kMaxThreads, "set_num_threads: expected 1 to ", kMaxThreads, ", got ", n);
  wanted_threads = n;
  if (Pool* p = the_pool) p->resize(n);
}

void set_interrupt_poll(void (*poll)()) { interrupt_poll = poll; }

void parallel_run(int64_t tasks, void (*fn)(void*, int64_t), void* context) {
  if (tasks <= 0) return;
  Job job{tasks, fn, context, {}, {}, {}, {}};
  if (inside_job) {
    for (int64_t t = 0; t < tasks; ++t) fn(context, t);
    return;
  }
  inside_job = true;
  if (tasks == 1 || num_threads() == 1) {
    job.work_and_poll();
  } else {
    pool().run(job);
  }
  inside_job = false;
  if (job.error) std::rethrow_exception(job.error);
}

void* thread_scratch(int slot, size_t bytes) {
  thread_local Scratch scratch;
  if (scratch.bytes[slot] < bytes) {
    scratch_memory().put(scratch.data[slot]);
    scratch.data[slot] = nullptr;
    scratch.bytes[slot] = 0;
    const size_t rounded = (bytes + 4095) / 4096 * 4096;
    scratch.data[slot] = scratch_memory().get(rounded);
    scratch.bytes[slot] = scratch.data[slot] ? rounded : 0;
    if (!scratch.data[slot])
      throw OutOfMemoryError(concat("out of memory: ", bytes, " bytes of scratch were asked for"));
  }
  return scratch.data[slot];
}

}  // namespace skipway
