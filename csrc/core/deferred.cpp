#include "core/deferred.h"

#include <algorithm>
#include <mutex>
#include <unordered_set>

#include "core/check.h"

namespace skipway {
namespace {

std::atomic<bool> enabled{true};

// All storage that is pending. The mutex guards recipes too; nothing is computed under it, as what computes may wait
// for a thread that wants it.
struct Registry {
  std::mutex mutex;
  std::unordered_set<Storage*> pending;
};
Registry& registry() {
  static Registry* const r = new Registry;
  return *r;
}

void enter(Storage& s, std::shared_ptr<const Deferred> recipe) {
  for (const StoragePtr& source : recipe->sources) ++source->readers;
  s.recipe = std::move(recipe);
}
std::shared_ptr<const Deferred> leave(Storage& s) {
  for (const StoragePtr& source : s.recipe->sources) --source->readers;
  return std::move(s.recipe);
}

// Under the mutex: the pending storage has memory from now on. What is returned dies outside of the mutex.
std::shared_ptr<const Deferred> complete(Registry& r, Storage& s, Storage& memory) {
  std::swap(s.data, memory.data);
  std::swap(s.stream, memory.stream);
  r.pending.erase(&s);
  std::shared_ptr<const Deferred> done = leave(s);
  s.pending.store(false, std::memory_order_release);
  return done;
}

template <class Wanted>
void settle(const Wanted& wanted) {
  std::vector<StoragePtr> found;
  {
    Registry& r = registry();
    std::lock_guard<std::mutex> lock(r.mutex);
    for (Storage* s : r.pending)
      if (wanted(*s))
        if (StoragePtr alive = s->weak_from_this().lock()) found.push_back(std::move(alive));
  }
  for (const StoragePtr& s : found) s->address();
}

}  // namespace

StoragePtr defer(size_t bytes, Device device, std::shared_ptr<const Deferred> recipe) {
  auto storage = std::make_shared<Storage>();
  storage->bytes = bytes;
  storage->device = device;
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  r.pending.insert(storage.get());
  enter(*storage, std::move(recipe));
  storage->pending = true;
  return storage;
}

std::shared_ptr<const Deferred> pending_recipe(const StoragePtr& storage) {
  if (!storage->pending.load(std::memory_order_acquire)) return nullptr;
  std::lock_guard<std::mutex> lock(registry().mutex);
  return storage->recipe;
}

void replace_recipe(const StoragePtr& storage, std::shared_ptr<const Deferred> recipe) {
  std::shared_ptr<const Deferred> old;
  std::lock_guard<std::mutex> lock(registry().mutex);
  old = leave(*storage);
  enter(*storage, std::move(recipe));
}

void fulfil(const StoragePtr& storage, const StoragePtr& memory) {
  SW_CHECK(storage->bytes == memory->bytes, "fulfil: expected ", storage->bytes, " bytes, got ", memory->bytes);
  std::shared_ptr<const Deferred> done;
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  if (storage->pending) done = complete(r, *storage, *memory);
}

// Two threads may both compute; the second one's memory is dropped. A recipe that was replaced meanwhile is computed anew.
void Storage::materialize() {
  const std::shared_ptr<Storage> alive = shared_from_this();
  while (const std::shared_ptr<const Deferred> wanted = pending_recipe(alive)) {
    const StoragePtr memory = allocate(bytes, device);
    wanted->compute(memory->data);
    std::shared_ptr<const Deferred> done;
    Registry& r = registry();
    std::lock_guard<std::mutex> lock(r.mutex);
    if (pending && recipe == wanted) done = complete(r, *this, *memory);
  }
}

void Storage::forget() {
  std::shared_ptr<const Deferred> done;
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  r.pending.erase(this);
  done = leave(*this);
}

void settle_readers(const StoragePtr& source) {
  if (source->readers == 0) return;
  settle([&](const Storage& s) {
    const auto& read = s.recipe->sources;
    return std::find(read.begin(), read.end(), source) != read.end();
  });
}

void settle_all(Device device) {
  settle([&](const Storage& s) { return s.device == device; });
}

void never_defer_from(const StoragePtr& storage) {
  storage->exported = true;
  settle_readers(storage);
}

bool recipe_source(const StoragePtr& storage) { return !storage->exported && !storage->release; }

bool deferral_enabled() { return enabled; }
void set_deferral_enabled(bool on) { enabled = on; }

}  // namespace skipway
