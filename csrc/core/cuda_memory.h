// Device memory: blocks in size classes, cached per device and stream. Pinned host memory: blocks cached for all
// devices.
#pragma once
#include "core/cuda.h"
#include "core/storage.h"

namespace skipway::cuda {

// Memory whose use is ordered by a stream: what is released may be handed out again to the same stream at once. Out of
// memory, cached blocks are freed and the allocation is tried again before OutOfMemoryError.
void* allocate_on_stream(int device, void* stream, size_t bytes);
void release_on_stream(int device, void* stream, void* p, size_t bytes);

// Another stream than the one it was allocated on uses the block: once released, it is handed out again only after that
// stream has done what was in it at the release.
void record_use(int device, void* p, void* stream);

// Memory of a captured stream, which replays use again: what is allocated on the stream from keep_private on stays with
// it, released blocks too, until release_private, which gives the released ones back to the device.
void keep_private(int device, void* stream);
void release_private(int device, void* stream);

MemoryStats memory_stats(int device);
void reset_peak_memory_stats(int device);
void empty_cache(int device);

struct MemoryCounters {
  int64_t blocks, cached_blocks;  // in use, and cached
  int64_t device_allocations;     // blocks taken from the device
  int64_t retries, failures;      // allocations that had to free cached blocks first, and that failed all the same
  int64_t waiting_blocks;         // released, but another stream still uses them
};
MemoryCounters memory_counters(int device);

// Page-locked host memory, which copies reach without waiting. A released block is handed out again only after the
// copies recorded on it are done.
StoragePtr allocate_pinned(size_t bytes);
bool is_pinned(const void* p);                            // does it lie in such a block?
void record_pinned(const void* p, const Stream& stream);  // a copy on the stream uses p; nothing unless p is pinned
// From a capture on, replays use the pinned memory at p: its block is not handed out again while the result lives.
std::shared_ptr<void> keep_pinned(const void* p);

}  // namespace skipway::cuda
