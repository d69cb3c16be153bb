#include "core/cuda_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/check.h"
#include "core/cuda_graph.h"

namespace skipway::cuda {
namespace {

// SKIPWAY_CUDA_CACHE=0: every block comes from the device, as large as it is asked for, and goes back at once. Slow,
// and what compute-sanitizer needs to see an access behind a block's end, or a read of memory that was never written.
bool caching() {
  static const bool on = [] {
    const char* value = std::getenv("SKIPWAY_CUDA_CACHE");
    return !value || std::strcmp(value, "0") != 0;
  }();
  return on;
}

// As on the CPU, eight classes per power of two; blocks of 512 bytes and more, so that every one is aligned for TMA.
size_t size_class(size_t bytes) {
  constexpr size_t kSmallest = 512;
  if (!caching()) return std::max<size_t>(bytes, 1);
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
    if (!waiting_.empty() && !capturing()) collect_done();
    auto& list = free_[stream][capacity];
    void* p = nullptr;
    if (!list.empty()) {
      p = list.back();
      list.pop_back();
      --counters_.cached_blocks;
      ++stats_.cache_hits;
    } else {
      p = from_device(capacity, bytes);
    }
    ++counters_.blocks;
    stats_.allocated_bytes += int64_t(capacity);
    stats_.max_allocated_bytes = std::max(stats_.max_allocated_bytes, stats_.allocated_bytes);
    backend().handed_out(p, bytes);
    return p;
  }

  void put(void* stream, void* p, size_t bytes) {
    const size_t capacity = size_class(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    stats_.allocated_bytes -= int64_t(capacity);
    --counters_.blocks;
    const auto used = users_.find(p);
    if (used == users_.end()) {
      backend().handed_out(p, 0);  // nobody may touch it
      cache(stream, capacity, p);
      if (!caching() && !capturing()) release_cached();
      return;
    }
    waiting_.push_back({stream, p, capacity, {}, std::move(used->second)});
    users_.erase(used);
    if (!capturing()) record_events(waiting_.back());
  }

  void record_use(void* p, void* stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto& streams = users_[p];
    if (std::find(streams.begin(), streams.end(), stream) == streams.end()) streams.push_back(stream);
  }

  void empty_cache() {
    not_in_capture("empty_cache");
    std::lock_guard<std::mutex> lock(mutex_);
    release_cached();
  }
  void keep_private(void* stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    private_.insert(stream);
  }
  void release_private(void* stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    private_.erase(stream);
    if (capturing()) return;  // the blocks stay cached
    backend().synchronize_device(device_);
    release_blocks(free_[stream]);
  }
  MemoryStats stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    return stats_;
  }
  MemoryCounters counters() {
    std::lock_guard<std::mutex> lock(mutex_);
    MemoryCounters c = counters_;
    c.waiting_blocks = int64_t(waiting_.size());
    return c;
  }
  void reset_peak() {
    std::lock_guard<std::mutex> lock(mutex_);
    stats_.max_allocated_bytes = stats_.allocated_bytes;
    stats_.max_reserved_bytes = stats_.reserved_bytes;
  }

 private:
  using Blocks = std::unordered_map<size_t, std::vector<void*>>;  // by capacity
  struct Waiting {  // released, but other streams used it: free once these events are done
    void *stream, *p;
    size_t capacity;
    std::vector<void*> events;
    std::vector<void*> users;  // streams whose events are to be recorded yet: not possible during a capture
  };

  void record_events(Waiting& waiting) {
    for (void* user : waiting.users) {
      waiting.events.push_back(backend().create_event(device_, false));
      backend().record_event(waiting.events.back(), user);
    }
    waiting.users.clear();
  }

  void* from_device(size_t capacity, size_t bytes) {
    void* p = backend().allocate(device_, capacity);
    if (!p && !capturing()) {
      ++counters_.retries;
      release_cached();
      p = backend().allocate(device_, capacity);
    }
    if (!p) {
      ++counters_.failures;
      size_t free = 0, total = 0;
      backend().memory_info(device_, &free, &total);
      throw OutOfMemoryError(concat("out of memory on cuda:", device_, ": ", bytes, " bytes were asked for, ",
                                    stats_.allocated_bytes, " are in use by tensors, ", free, " of ", total,
                                    " are free on the device"));
    }
    ++counters_.device_allocations;
    stats_.reserved_bytes += int64_t(capacity);
    stats_.max_reserved_bytes = std::max(stats_.max_reserved_bytes, stats_.reserved_bytes);
    return p;
  }
  void cache(void* stream, size_t capacity, void* p) {
    free_[stream][capacity].push_back(p);
    ++counters_.cached_blocks;
  }
  void collect_done() {
    for (Waiting& w : waiting_) record_events(w);
    const auto done = [this](const Waiting& w) {
      for (void* event : w.events)
        if (!backend().event_is_done(event)) return false;
      for (void* event : w.events) backend().destroy_event(event);
      backend().handed_out(w.p, 0);
      cache(w.stream, w.capacity, w.p);
      return true;
    };
    waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), done), waiting_.end());
  }
  void release_cached() {
    backend().synchronize_device(device_);  // kernels may still use what was released
    collect_done();
    for (auto& [stream, blocks] : free_)
      if (!private_.count(stream)) release_blocks(blocks);
  }
  void release_blocks(Blocks& blocks) {
    for (auto& [capacity, list] : blocks) {
      for (void* p : list) backend().release(device_, p);
      stats_.reserved_bytes -= int64_t(capacity * list.size());
      counters_.cached_blocks -= int64_t(list.size());
      list.clear();
    }
  }

  const int device_;
  std::mutex mutex_;
  std::unordered_map<void*, Blocks> free_;               // by stream
  std::unordered_map<void*, std::vector<void*>> users_;  // other streams of blocks in use
  std::unordered_set<void*> private_;                    // streams whose blocks belong to graphs
  std::deque<Waiting> waiting_;
  MemoryStats stats_{};
  MemoryCounters counters_{};
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

class PinnedAllocator {
 public:
  char* get(size_t capacity) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto& [start, block] : blocks_) {
      if (block.in_use || block.kept || block.capacity != capacity || !done(block)) continue;
      block.in_use = true;
      return start;
    }
    auto* p = static_cast<char*>(backend().allocate_pinned(capacity));
    if (!p) {
      release_unused();
      p = static_cast<char*>(backend().allocate_pinned(capacity));
    }
    if (!p) throw OutOfMemoryError(concat("out of pinned host memory: ", capacity, " bytes were asked for"));
    blocks_[p] = {capacity, true, 0, {}};
    return p;
  }
  void put(char* p) {
    std::lock_guard<std::mutex> lock(mutex_);
    blocks_[p].in_use = false;
  }
  bool contains(const void* p) {
    std::lock_guard<std::mutex> lock(mutex_);
    return find(p) != nullptr;
  }
  std::shared_ptr<void> keep(const void* p) {
    std::lock_guard<std::mutex> lock(mutex_);
    Block* block = find(p);
    if (!block) return nullptr;
    ++block->kept;
    return {block, [this](void* kept) {
              std::lock_guard<std::mutex> lock(mutex_);
              --static_cast<Block*>(kept)->kept;
            }};
  }
  void record(const void* p, const Stream& stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    Block* block = find(p);
    if (!block) return;
    done(*block);  // forgets old events
    block->events.push_back(backend().create_event(stream.device, false));
    backend().record_event(block->events.back(), stream.handle);
  }

 private:
  struct Block {
    size_t capacity = 0;
    bool in_use = false;
    int kept = 0;  // by graphs
    std::vector<void*> events;
  };

  Block* find(const void* p) {
    auto* address = static_cast<char*>(const_cast<void*>(p));
    auto it = blocks_.upper_bound(address);
    if (it == blocks_.begin()) return nullptr;
    --it;
    return address < it->first + it->second.capacity ? &it->second : nullptr;
  }
  static bool done(Block& block) {
    while (!block.events.empty()) {
      if (!backend().event_is_done(block.events.back())) return false;
      backend().destroy_event(block.events.back());
      block.events.pop_back();
    }
    return true;
  }
  void release_unused() {
    for (auto it = blocks_.begin(); it != blocks_.end();) {
      if (it->second.in_use || it->second.kept || !done(it->second)) {
        ++it;
        continue;
      }
      backend().release_pinned(it->first);
      it = blocks_.erase(it);
    }
  }

  std::mutex mutex_;
  std::map<char*, Block> blocks_;
};

PinnedAllocator& pinned() {
  static auto* const all = new PinnedAllocator;
  return *all;
}

}  // namespace

void* allocate_on_stream(int device, void* stream, size_t bytes) { return allocator(device).get(stream, bytes); }
void release_on_stream(int device, void* stream, void* p, size_t bytes) {
  try {
    allocator(device).put(stream, p, bytes);
  } catch (const std::exception&) {  // the device has failed: the block is lost, and the next call will say why
  }
}
void record_use(int device, void* p, void* stream) { allocator(device).record_use(p, stream); }
MemoryStats memory_stats(int device) { return allocator(device).stats(); }
MemoryCounters memory_counters(int device) { return allocator(device).counters(); }
void keep_private(int device, void* stream) { allocator(device).keep_private(stream); }
void release_private(int device, void* stream) { allocator(device).release_private(stream); }
void reset_peak_memory_stats(int device) { allocator(device).reset_peak(); }
void empty_cache(int device) { allocator(device).empty_cache(); }

StoragePtr allocate_pinned(size_t bytes) {
  auto storage = std::make_shared<Storage>();
  char* p = pinned().get(size_class(bytes));
  storage->data = p;
  storage->bytes = bytes;
  storage->release = [p] { pinned().put(p); };
  return storage;
}
bool is_pinned(const void* p) { return pinned().contains(p); }
void record_pinned(const void* p, const Stream& stream) { pinned().record(p, stream); }
std::shared_ptr<void> keep_pinned(const void* p) { return pinned().keep(p); }

}  // namespace skipway::cuda
