#include "core/cuda_graph.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "core/check.h"
#include "core/cuda_memory.h"
#include "core/deferred.h"

namespace skipway::cuda {
namespace {

constexpr size_t kValueBytes = size_t(256) << 10;  // of one graph

thread_local Graph* t_capturing = nullptr;
thread_local Graph* t_refreshing = nullptr;

GraphBackend& library() { return static_cast<GraphBackend&>(backend()); }

// Streams for captures. They live as long as the process, as memory is cached for each; one is used again once its
// graph is gone.
class Streams {
 public:
  void* take(int device) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      auto& idle = idle_[device];
      if (!idle.empty()) {
        void* stream = idle.back();
        idle.pop_back();
        return stream;
      }
    }
    return backend().create_stream(device, 0);
  }
  void give_back(int device, void* stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_[device].push_back(stream);
  }

 private:
  std::mutex mutex_;
  std::map<int, std::vector<void*>> idle_;
};
Streams& streams() {
  static auto* const all = new Streams;
  return *all;
}

}  // namespace

Graph* capturing() { return t_capturing; }
Graph* refreshing() { return t_refreshing; }

void not_in_capture(const std::string& what) {
  if (!t_capturing) return;
  throw Error(concat("cuda graph: ", what,
                     " cannot be captured: the host would have to wait for the device, and a "
                     "replay would not do it again"));
}

Graph::Graph(int device) : device_(device) { check_device({DeviceType::CUDA, int8_t(device)}); }

Graph::~Graph() {
  if (t_capturing == this) abandon();
  cancel();
  if (!stream_) return;
  try {
    if (graph_) {
      if (!capturing()) backend().synchronize_device(device_);
      library().destroy_graph(graph_);
    }
    if (memory_) backend().release(device_, memory_);
    release_private(device_, stream_);
    streams().give_back(device_, stream_);
  } catch (const std::exception&) {  // the device has failed or the driver is gone: the memory is lost
  }
}

void Graph::begin() {
  SW_CHECK(!capturing(), "cuda graph: this thread captures a graph already");
  SW_CHECK(!refreshing(), "cuda graph: a graph cannot be captured while another is about to be replayed");
  SW_CHECK(!stream_, "cuda graph: a graph is captured once; reset it, or make another");
  const Stream now = current_stream(device_);
  settle_all({DeviceType::CUDA, int8_t(device_)});
  synchronize(device_);  // throws what earlier work found wrong
  stream_ = streams().take(device_);
  memory_ = static_cast<char*>(backend().allocate(device_, kValueBytes));
  if (!memory_) throw OutOfMemoryError("cuda graph: no memory is left for the values of a graph");
  keep_private(device_, stream_);
  before_ = now.handle;
  library().begin_capture(stream_);
  set_current_stream(device_, stream_);
  t_capturing = this;
}

void Graph::end() {
  SW_CHECK(t_capturing == this, "cuda graph: this graph is not being captured by this thread");
  settle_all({DeviceType::CUDA, int8_t(device_)});
  t_capturing = nullptr;
  set_current_stream(device_, before_);
  for (Random& r : randoms_) r.ops = r.generator->key().offset - r.start.offset;
  restore_generators();
  graph_ = library().end_capture(stream_, &nodes_);
  if (!values_.empty()) {
    copy_memory(memory_, {DeviceType::CUDA, int8_t(device_)}, values_.data(), {}, values_.size());
  }
}

void Graph::abandon() noexcept {
  if (t_capturing != this) return;
  t_capturing = nullptr;
  try {
    set_current_stream(device_, before_);
  } catch (const std::exception&) {
  }
  restore_generators();
  library().abandon_capture(stream_);
}

void Graph::restore_generators() noexcept {
  for (const Random& r : randoms_) r.generator->set_key(r.start);
}

void Graph::refresh() {
  SW_CHECK(captured(), "cuda graph: expected a captured graph; nothing has been captured");
  SW_CHECK(!capturing(), "cuda graph: a graph cannot be replayed while one is captured");
  SW_CHECK(!refreshing(), "cuda graph: this thread is about to replay a graph already");
  next_ = 0;
  t_refreshing = this;
}

void Graph::cancel() noexcept {
  if (t_refreshing == this) t_refreshing = nullptr;
}

void Graph::launch() {
  SW_CHECK(t_refreshing == this, "cuda graph: launch without refresh");
  SW_CHECK(next_ == list_.size(), "cuda graph: the values of ", list_[std::min(next_, list_.size() - 1)].what,
           " were not set for a replay");
  t_refreshing = nullptr;
  settle_all({DeviceType::CUDA, int8_t(device_)});  // what reads the memory that the replay writes
  for (const Random& r : randoms_) {
    RngKey key = r.generator->key();
    std::memcpy(values_.data() + r.offset, &key.seed, sizeof key.seed);
    std::memcpy(values_.data() + r.offset + sizeof key.seed, &key.offset, sizeof key.offset);
    key.offset += r.ops;
    r.generator->set_key(key);
  }
  const Stream stream = current_stream(device_);
  if (!values_.empty()) {
    const StoragePtr staged = allocate_pinned(values_.size());  // used again once the copy is done
    std::memcpy(staged->data, values_.data(), values_.size());
    copy_memory(memory_, {DeviceType::CUDA, int8_t(device_)}, staged->data, {}, values_.size(), true);
  }
  library().launch_graph(graph_, stream.handle);
}

size_t Graph::reserve(const char* what, const void* bytes, size_t size) {
  const size_t offset = (values_.size() + 15) / 16 * 16;
  SW_CHECK(offset + size <= kValueBytes, "cuda graph: ", what, ": a graph has room for ", kValueBytes,
           " bytes of values that replays change, and this is more");
  values_.resize(offset + size);
  std::memcpy(values_.data() + offset, bytes, size);
  return offset;
}

const void* Graph::add_values(const char* what, const void* bytes, size_t size) {
  const size_t offset = reserve(what, bytes, size);
  list_.push_back({what, offset, size});
  return memory_ + offset;
}

void Graph::write(const char* what, const void* bytes, size_t size) {
  const bool fits = next_ < list_.size() && list_[next_].what == what && list_[next_].size == size;
  SW_CHECK(fits, "cuda graph: ", what, " of ", size, " bytes does not fit what was captured; capture the step again");
  std::memcpy(values_.data() + list_[next_++].offset, bytes, size);
}

RngKey Graph::next_key(const GeneratorPtr& generator, RngKey now) {
  const auto same = [&](const Random& r) { return r.generator == generator; };
  auto found = std::find_if(randoms_.begin(), randoms_.end(), same);
  if (found == randoms_.end()) {
    const uint64_t start[2] = {now.seed, now.offset};
    randoms_.push_back({generator, now, 0, reserve("random numbers", start, sizeof start)});
    found = randoms_.end() - 1;
  }
  SW_CHECK(now.seed == found->start.seed, "cuda graph: a generator was given another seed (", now.seed, ", before ",
           found->start.seed, ") in a step that is captured");
  return {0, now.offset - found->start.offset, reinterpret_cast<const uint64_t*>(memory_ + found->offset)};
}

}  // namespace skipway::cuda
