// Streams, events, and captures of what is put on a stream.
#pragma once
#include <functional>

#include "cuda_emulator/runtime_api.h"

namespace emulator {

cudaError_t result(cudaError_t error);  // keeps it for cudaGetLastError

// What may be called while this thread captures a stream. What may not invalidates the capture.
enum class Forbidden { Always, UnlessRelaxed };
cudaError_t while_capturing(Forbidden how);

cudaError_t usable(cudaStream_t stream);  // an error for streams that nothing can be put on now
bool captures(cudaStream_t stream);
void record(cudaStream_t stream, std::function<void()> node);
// In a capture: memory handed out in it is handed out again, and given back again, whenever the graph runs.
void record_handed_out(void* p, size_t bytes, std::function<void()> now);

}  // namespace emulator
