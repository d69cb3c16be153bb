#include "core/cuda_memory.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/check.h"
#include "core/cuda.h"

namespace skipway::cuda {
namespace {

// As on the CPU, eight classes per power of two; blocks of 512 bytes and more, so that every one is aligned for TMA.
size_t size_class(size_t bytes) {
  constexpr size_t kSmallest = 512;
  if (bytes <= kSmallest) return kSmallest;
  const int top = 63 - __builtin_clzll(bytes - 1);
  const size_t step = std::max(kSmallest, size_t(1) << (top - 3));
  return (bytes + step - 1) / step * step;
}

class Allocator {
 public:
  explicit Allocator(int device) : device_(device) {}

  void* get(void* stream, size_t bytes) {
    const size_t capacity = size_class(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    ++stats_.allocations;
    auto& list = free_[stream][capacity];
    void* p = nullptr;
    if (!list.empty()) {
      p = list.back();
      list.pop_back();
      ++stats_.cache_hits;
    } else {
      p = from_device(capacity, bytes);
    }
    stats_.allocated_bytes += int64_t(capacity);
    stats_.max_allocated_bytes = std::max(stats_.max_allocated_bytes, stats_.allocated_bytes);
    backend().handed_out(p, bytes);
    return p;
  }

  void put(void* stream, void* p, size_t bytes) {
    const size_t capacity = size_class(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    stats_.allocated_bytes -= int64_t(capacity);
    free_[stream][capacity].push_back(p);
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

 private:
  void* from_device(size_t capacity, size_t bytes) {
    void* p = backend().allocate(device_, capacity);
    if (!p) {
      release_cached();
      p = backend().allocate(device_, capacity);
    }
    if (!p) {
      size_t free = 0, total = 0;
      backend().memory_info(device_, &free, &total);
      throw OutOfMemoryError(concat("out of memory on cuda:", device_, ": ", bytes, " bytes were asked for, ",
                                    stats_.allocated_bytes, " are in use by tensors, ", free, " of ", total,
                                    " are free on the device"));
    }
    stats_.reserved_bytes += int64_t(capacity);
    stats_.max_reserved_bytes = std::max(stats_.max_reserved_bytes, stats_.reserved_bytes);
    return p;
  }
  void release_cached() {
    backend().synchronize_device(device_);  // kernels may still use what was released
    for (auto& [stream, classes] : free_) {
      for (auto& [capacity, list] : classes) {
        for (void* p : list) backend().release(device_, p);
        stats_.reserved_bytes -= int64_t(capacity * list.size());
        list.clear();
      }
    }
  }

  const int device_;
  std::mutex mutex_;
  std::unordered_map<void*, std::unordered_map<size_t, std::vector<void*>>> free_;
  MemoryStats stats_{};
};

// Never destroyed, as tensors in static Python objects are freed late.
Allocator& allocator(int device) {
  static auto* const mutex = new std::mutex;
  static auto* const all = new std::map<int, Allocator*>;
  std::lock_guard<std::mutex> lock(*mutex);
  Allocator*& a = (*all)[device];
  if (!a) a = new Allocator(device);
  return *a;
}

}  // namespace

void* allocate_on_stream(int device, void* stream, size_t bytes) { return allocator(device).get(stream, bytes); }
void release_on_stream(int device, void* stream, void* p, size_t bytes) { allocator(device).put(stream, p, bytes); }
MemoryStats memory_stats(int device) { return allocator(device).stats(); }
void reset_peak_memory_stats(int device) { allocator(device).reset_peak(); }
void empty_cache(int device) { allocator(device).empty_cache(); }

}  // namespace skipway::cuda
