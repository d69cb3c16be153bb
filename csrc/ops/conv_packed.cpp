#include "ops/conv_packed.h"

#include <cstring>
#include <list>
#include <mutex>
#include <unordered_map>

#include "core/deferred.h"
#include "kernels/conv_choice.h"
#include "kernels/isa_level.h"

namespace skipway {
namespace {

constexpr size_t kMostBytes = size_t(256) << 20;
constexpr int kMostPerWeight = 2;  // shapes, such as two batch sizes

struct Entry {
  std::weak_ptr<Storage> weight;
  const void* data;
  uint64_t version;
  ConvShape shape;
  DType dtype;
  Level level;
  ConvAlgorithm preferred;
  std::shared_ptr<void> memory;
  size_t bytes;
};

Entry describe(const Tensor& weight, const ConvForwardArgs& args) {
  return {weight.storage(),
          weight.data(),
          weight.version(),
          args.shape,
          args.dtype,
          current_level(),
          preferred_conv_algorithm(),
          nullptr,
          0};
}

bool same(const Entry& a, const Entry& b) {
  return a.data == b.data && a.version == b.version && a.dtype == b.dtype && a.level == b.level &&
         a.preferred == b.preferred && !std::memcmp(&a.shape, &b.shape, sizeof(ConvShape)) &&
         !a.weight.owner_before(b.weight) && !b.weight.owner_before(a.weight);
}

struct Cache {
  std::mutex mutex;
  std::list<Entry> entries;  // the newest first
  size_t bytes = 0;
  std::unordered_map<const Storage*, std::weak_ptr<Storage>> shared;
  size_t sweep_at = 64;

  std::list<Entry>::iterator drop(std::list<Entry>::iterator e) {
    bytes -= e->bytes;
    return entries.erase(e);
  }
  void sweep_shared() {
    for (auto it = shared.begin(); it != shared.end();) it = it->second.expired() ? shared.erase(it) : std::next(it);
    sweep_at = 2 * shared.size() + 64;
  }
  bool is_shared(const StoragePtr& s) const {
    const auto it = shared.find(s.get());
    return it != shared.end() && it->second.lock() == s;
  }
};

Cache& cache() {
  static Cache* const c = new Cache;  // never destroyed: tensors may outlive it
  return *c;
}

// From the allocator: a small batch reads megabytes of weights once, which pages of 4 KB make 4 to 10 % slower.
std::shared_ptr<void> memory_of(size_t bytes) {
  const StoragePtr storage = allocate(bytes, Device());
  return {storage, storage->data};
}

}  // namespace

PackedWeights packed_weights(const Tensor& weight, const ConvForwardArgs& args) {
  Cache& c = cache();
  const Entry wanted = describe(weight, args);
  {
    std::lock_guard<std::mutex> lock(c.mutex);
    if (weight.storage()->release || c.is_shared(weight.storage())) return {};
    for (const Entry& e : c.entries)
      if (same(e, wanted)) return {e.memory, true};
  }
  int64_t bytes = 0;
  launch(weight.device(), conv_packed_bytes, ConvPackedBytesArgs{args.shape, args.dtype, &bytes});
  if (bytes == 0 || size_t(bytes) > kMostBytes / 4) return {};
  return {memory_of(size_t(bytes)), false};
}

void keep_packed(const Tensor& weight, const ConvForwardArgs& args, const PackedWeights& packed) {
  if (!packed.memory || packed.ready) return;
  Cache& c = cache();
  Entry entry = describe(weight, args);
  int64_t bytes = 0;
  launch(weight.device(), conv_packed_bytes, ConvPackedBytesArgs{args.shape, args.dtype, &bytes});
  entry.memory = packed.memory;
  entry.bytes = size_t(bytes);
  std::lock_guard<std::mutex> lock(c.mutex);
  int of_weight = 0;
  for (auto e = c.entries.begin(); e != c.entries.end();) {
    const StoragePtr alive = e->weight.lock();
    const bool mine = alive == weight.storage() && e->data == entry.data;
    const bool stale = !alive || e->version != alive->version || (mine && ++of_weight >= kMostPerWeight);
    e = stale ? c.drop(e) : std::next(e);
  }
  c.bytes += entry.bytes;
  c.entries.push_front(std::move(entry));
  while (c.bytes > kMostBytes) c.drop(std::prev(c.entries.end()));
}

void share_memory(const StoragePtr& storage) {
  if (!storage) return;
  never_defer_from(storage);
  if (!storage->device.is_cpu()) return;
  Cache& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  c.shared[storage.get()] = storage;
  if (c.shared.size() > c.sweep_at) c.sweep_shared();
}

}  // namespace skipway
