// A step captured as a CUDA graph and replayed. What a kernel is launched with is fixed by the capture, so all that
// changes from one replay to the next lies on the device, in the graph's values: a generator's seed and offset, the
// options of an optimizer (its learning rate among them) and what depends on its count of steps. The host stays the one
// that knows them: before each replay it works them out as an eager step does, and sends them ahead of the launch. So a
// replay gives the bits of an eager step, a schedule acts on replays, and eager work may come in between.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/cuda.h"
#include "core/cuda_graph_backend.h"
#include "core/generator.h"

namespace skipway::cuda {

class Graph {
 public:
  explicit Graph(int device);
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph();  // waits for the device, then gives the graph's memory back

  int device() const { return device_; }
  size_t nodes() const { return nodes_; }  // kernels, copies and fills
  bool captured() const { return graph_ != nullptr; }

  // This thread's work on the device is recorded from begin() to end(), on a stream of the graph's own, whose memory
  // stays the graph's. Generators are left as they were at begin(). Without end(), abandon().
  void begin();
  void end();
  void abandon() noexcept;

  // A replay: refresh(), then write() for each add_values() of the capture, in its order, then launch() on the current
  // stream; or cancel(), after which the graph can be replayed again.
  void refresh();
  void launch();
  void cancel() noexcept;

  // During capture: device memory that holds these bytes in a replay, unless it writes others.
  const void* add_values(const char* what, const void* bytes, size_t size);
  // During refresh: the next of them.
  void write(const char* what, const void* bytes, size_t size);
  void keep(std::shared_ptr<void> used) { kept_.push_back(std::move(used)); }  // as long as the graph
  // During capture: the key of a generator's next op, which counts from the generator's state at a replay.
  RngKey next_key(const GeneratorPtr& generator, RngKey now);

 private:
  struct Value {
    std::string what;
    size_t offset, size;
  };
  struct Random {
    GeneratorPtr generator;
    RngKey start;
    uint64_t ops;
    size_t offset;
  };
  size_t reserve(const char* what, const void* bytes, size_t size);
  void restore_generators() noexcept;

  const int device_;
  void* stream_ = nullptr;  // captured, and what the graph's memory was allocated on
  void* before_ = nullptr;  // the thread's stream before
  void* graph_ = nullptr;
  size_t nodes_ = 0;
  char* memory_ = nullptr;    // the values on the device
  std::vector<char> values_;  // and here
  std::vector<Value> list_;
  std::vector<Random> randoms_;
  std::vector<std::shared_ptr<void>> kept_;
  size_t next_ = 0;  // of list_, while the values are refreshed
};

Graph* capturing();                            // the graph that this thread captures, or null
Graph* refreshing();                           // the graph whose values this thread sets, or null
void not_in_capture(const std::string& what);  // throws an Error that says that `what` needs the host, in a capture

}  // namespace skipway::cuda
