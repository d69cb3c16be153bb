// What the library _cuda provides for graphs, beside the functions of core/cuda.h.
#pragma once
#include "core/cuda.h"

namespace skipway::cuda {

inline constexpr int kGraphInterface = kInterface + 1;  // the interface's version with graphs
class GraphBackend : public Backend {
 public:
  // What is put on the stream from here on is recorded, not done; the calling thread may not wait for the device.
  virtual void begin_capture(void* stream) = 0;
  virtual void* end_capture(void* stream, size_t* nodes) = 0;  // a graph that can be launched
  virtual void abandon_capture(void* stream) noexcept = 0;
  virtual void launch_graph(void* graph, void* stream) = 0;
  virtual void destroy_graph(void* graph) noexcept = 0;
};

}  // namespace skipway::cuda
