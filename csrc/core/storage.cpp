// The CPU allocator: an arena for large blocks; small ones in size classes (eight per power of two), cached on free
// lists per class, which is faster; those of some KB come from an arena too, for its pages.
#include "core/storage.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>
#include <unordered_set>

#include "core/arena.h"
#include "core/check.h"
#include "core/cuda.h"
#include "core/cuda_memory.h"
#include "core/memory_guard.h"

namespace skipway {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kLimit = size_t(1) << 47;  // more than an x86-64 process can address
constexpr size_t kLarge = kNoArenas ? kLimit + 1 : size_t(1) << 20, kMiddling = kNoArenas ? kLarge : size_t(1) << 12;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// What is taken for a tensor of so many bytes.
size_t capacity_of(size_t bytes) {
  if (bytes >= kLarge || bytes <= 512) return round_up(bytes ? bytes : 1, kAlignment);
  const int top = 63 - __builtin_clzll(bytes - 1);
  return round_up(bytes, size_t(1) << (top - 3));
}

class CpuAllocator {
 public:
  // Of the size that capacity_of() says.
  void* get(size_t bytes) {
    Arena::Block block;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ++stats_.allocations;
      block = bytes >= kLarge ? large(bytes) : small(bytes);
      stats_.reserved_bytes = held();
      stats_.max_reserved_bytes = std::max(stats_.max_reserved_bytes, stats_.reserved_bytes);
      stats_.allocated_bytes += int64_t(bytes);
      stats_.max_allocated_bytes = std::max(stats_.max_allocated_bytes, stats_.allocated_bytes);
    }
    try {
      return Arena::touched(block);
    } catch (...) {  // Ctrl-C
      put(block.data, bytes);
      throw;
    }
  }

  void put(void* p, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    stats_.allocated_bytes -= int64_t(bytes);
    if (bytes >= kLarge) {
      large_.put(p);
    } else {
      free_[bytes].push_back(static_cast<char*>(p));
    }
  }

  void empty_cache() {
    std::lock_guard<std::mutex> lock(mutex_);
    release_cached();
  }
  MemoryStats stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    std::lock_guard<std::mutex> lock(mutex_);
    stats_.max_allocated_bytes = stats_.allocated_bytes;
    stats_.max_reserved_bytes = stats_.reserved_bytes;
  }
  void before_fork() { mutex_.lock(); }
  void after_fork() { mutex_.unlock(); }

 private:
  int64_t held() const { return small_bytes_ + int64_t(large_.held() + middling_.held()); }
  Arena::Block large(size_t bytes) {
    Arena::Block block = fresh(bytes);
    if (!block.fresh_begin) ++stats_.cache_hits;
    return block;
  }
  Arena::Block small(size_t bytes) {
    auto& list = free_[bytes];
    if (list.empty()) return fresh(bytes);
    ++stats_.cache_hits;
    Arena::Block block{list.back()};
    list.pop_back();
    return block;
  }
  Arena::Block fresh(size_t bytes) {
    Arena::Block block = from_system(bytes);
    if (!block.data) {
      release_cached();
      block = from_system(bytes);
    }
    if (!block.data) fail(bytes);
    return block;
  }
  Arena::Block from_system(size_t bytes) {
    if (bytes >= kLarge) return large_.get(bytes);
    if (bytes >= kMiddling) return middling_.get(bytes + kAlignment);  // round sizes would share sets of the caches
    Arena::Block block{static_cast<char*>(std::aligned_alloc(kAlignment, bytes))};
    if (block.data) small_bytes_ += int64_t(bytes);
    return block;
  }
  [[noreturn]] void fail(size_t bytes) const {
    throw OutOfMemoryError(
        concat("out of memory on the CPU: ", bytes, " bytes were asked for, ", stats_.allocated_bytes, " are in use"));
  }
  void release_cached() {
    for (auto& [bytes, list] : free_) {
      for (char* p : list) bytes >= kMiddling ? middling_.put(p) : std::free(p);
      if (bytes < kMiddling) small_bytes_ -= int64_t(bytes * list.size());
      list.clear();
    }
    large_.give_back();
    middling_.give_back();
    stats_.reserved_bytes = held();
  }

  std::mutex mutex_;
  std::unordered_map<size_t, std::vector<char*>> free_;
  Arena large_, middling_;
  int64_t small_bytes_ = 0;  // held from malloc
  MemoryStats stats_{};
};

// Never destroyed: tensors in static Python objects are freed after static destructors run.
CpuAllocator& cpu_allocator() {
  static CpuAllocator* const allocator = [] {
    auto* a = new CpuAllocator;
#ifdef __linux__
    pthread_atfork([] { cpu_allocator().before_fork(); }, [] { cpu_allocator().after_fork(); },
                   [] { cpu_allocator().after_fork(); });
#endif
    return a;
  }();
  return *allocator;
}

}  // namespace

namespace {

constexpr size_t kGuard = 64;
constexpr unsigned char kGuardByte = 0xa5, kFresh = 0xff;

// The blocks that have a guard behind them. `used` stays true once the guard was on, so that nobody else pays for it.
struct Guards {
  std::atomic<bool> on{false}, used{false};
  std::atomic<int64_t> errors{0};
  std::mutex mutex;
  std::unordered_set<const void*> blocks;
};
Guards& guards() {
  static Guards* const g = new Guards;
  return *g;
}

void* get_guarded(size_t bytes) {
  const size_t capacity = capacity_of(bytes + kGuard);
  auto* p = static_cast<unsigned char*>(cpu_allocator().get(capacity));
  std::memset(p, kFresh, bytes);
  std::memset(p + bytes, kGuardByte, capacity - bytes);
  std::lock_guard<std::mutex> lock(guards().mutex);
  guards().blocks.insert(p);
  return p;
}

// The size with which the block was taken, its guard checked if it has one.
size_t capacity_of_freed(const unsigned char* p, size_t bytes) {
  if (!guards().used) return capacity_of(bytes);
  {
    std::lock_guard<std::mutex> lock(guards().mutex);
    if (!guards().blocks.erase(p)) return capacity_of(bytes);
  }
  const size_t capacity = capacity_of(bytes + kGuard);
  if (!std::all_of(p + bytes, p + capacity, [](unsigned char c) { return c == kGuardByte; })) ++guards().errors;
  return capacity;
}

}  // namespace

void set_memory_guard(bool on) {
  if (on) guards().used = true;
  guards().on = on;
}
int64_t memory_guard_errors() { return guards().errors; }

Storage::~Storage() {
  if (pending) {
    forget();
  } else if (release) {
    release();
  } else if (data && !device.is_cpu()) {
    cuda::release_on_stream(device.index, stream, data, bytes);
  } else if (data) {
    cpu_allocator().put(data, capacity_of_freed(static_cast<const unsigned char*>(data), bytes));
  }
}

StoragePtr allocate(size_t bytes, Device device) {
  if (bytes > kLimit) throw OutOfMemoryError(concat("out of memory: ", bytes, " bytes were asked for"));
  auto storage = std::make_shared<Storage>();
  if (device.is_cpu()) {
    storage->data = guards().on ? get_guarded(bytes) : cpu_allocator().get(capacity_of(bytes));
  } else {
    storage->stream = cuda::current_stream(device.index).handle;
    storage->data = cuda::allocate_on_stream(device.index, storage->stream, bytes);
  }
  storage->bytes = bytes;
  storage->device = device;
  return storage;
}

MemoryStats memory_stats(Device device) {
  return device.is_cpu() ? cpu_allocator().stats() : cuda::memory_stats(device.index);
}
void reset_peak_memory_stats(Device device) {
  device.is_cpu() ? cpu_allocator().reset_peak() : cuda::reset_peak_memory_stats(device.index);
}
void empty_cache(Device device) { device.is_cpu() ? cpu_allocator().empty_cache() : cuda::empty_cache(device.index); }

}  // namespace skipway
