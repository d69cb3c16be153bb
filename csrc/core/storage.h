// Memory: reference-counted blocks from a caching allocator (fresh pages cost more than the kernels that fill them).
#pragma once
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"

namespace skipway {

struct Deferred;  // core/deferred.h

struct Storage : std::enable_shared_from_this<Storage> {
  void* data = nullptr;  // null while pending: read address()
  size_t bytes = 0;
  Device device;
  std::atomic<uint64_t> version{0};  // raised by each in-place change of any tensor on this memory
  void* stream = nullptr;            // of CUDA memory: the stream it was allocated on
  std::function<void()> release;     // frees memory that is not the allocator's (a NumPy array's, DLPack's)

  std::atomic<bool> pending{false};        // the memory is computed when its address is asked for
  std::atomic<bool> exported{false};       // others may change the memory unseen
  std::atomic<int> readers{0};             // how many sources of pending recipes this is
  std::shared_ptr<const Deferred> recipe;  // of pending memory

  void* address() {
    if (pending.load(std::memory_order_acquire)) [[unlikely]]
      materialize();
    return data;
  }

  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage();

 private:
  void materialize();
  void forget();
};
using StoragePtr = std::shared_ptr<Storage>;

StoragePtr allocate(size_t bytes, Device device);  // 64-byte aligned; throws OutOfMemoryError that says what was asked

struct MemoryStats {
  int64_t allocated_bytes, max_allocated_bytes;  // in use by tensors, now and at most
  int64_t reserved_bytes, max_reserved_bytes;    // held from the system, cached blocks included
  int64_t allocations, cache_hits;               // calls of allocate, and those served from the cache
};
MemoryStats memory_stats(Device device);
void reset_peak_memory_stats(Device device);
void empty_cache(Device device);  // gives cached blocks back to the system

}  // namespace skipway
