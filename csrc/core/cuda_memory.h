// Device memory: blocks in size classes, cached per device and stream.
#pragma once
#include "core/storage.h"

namespace skipway::cuda {

// Memory whose use is ordered by a stream: what is released may be handed out again to the same stream at once. Out of
// memory, cached blocks are freed and the allocation is tried again before OutOfMemoryError.
void* allocate_on_stream(int device, void* stream, size_t bytes);
void release_on_stream(int device, void* stream, void* p, size_t bytes);

MemoryStats memory_stats(int device);
void reset_peak_memory_stats(int device);
void empty_cache(int device);

}  // namespace skipway::cuda
