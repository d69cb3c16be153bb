#include "core/deferred.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <unordered_map>
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
  std::unordered_map<Storage*, int> read;  // by kernels that run now, as sources of recipes
  std::condition_variable* unread = new std::condition_variable;

  // Of a child process, which has none of the threads that were reading.
  void forget_readers() {
    for (const auto& [source, count] : read) source->readers -= count;
    read.clear();
    unread = new std::condition_variable;
  }
};
Registry& registry() {
  static Registry* const r = [] {
    auto* made = new Registry;
    pthread_atfork([] { registry().mutex.lock(); }, [] { registry().mutex.unlock(); },
                   [] {
                     registry().forget_readers();
                     registry().mutex.unlock();
                   });
    return made;
  }();
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

StoragePtr defer(size_t bytes, Device device, std::shared_ptr<const Deferred> recipe, const StoragePtr& of,
                 const std::shared_ptr<const Deferred>& from) {
  auto storage = std::make_shared<Storage>();
  storage->bytes = bytes;
  storage->device = device;
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  if (from && (!of->pending || of->recipe != from)) return nullptr;
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

bool replace_recipe(const StoragePtr& storage, const std::shared_ptr<const Deferred>& from,
                    std::shared_ptr<const Deferred> to) {
  std::shared_ptr<const Deferred> old;
  std::lock_guard<std::mutex> lock(registry().mutex);
  if (!storage->pending || storage->recipe != from) return false;
  old = leave(*storage);
  enter(*storage, std::move(to));
  return true;
}

std::shared_ptr<const void> read_sources(const StoragePtr& storage, const std::shared_ptr<const Deferred>& recipe) {
  struct Reading {
    std::shared_ptr<const Deferred> recipe;
    bool begun = false;
    ~Reading() {
      if (!begun) return;
      Registry& r = registry();
      std::lock_guard<std::mutex> lock(r.mutex);
      for (const StoragePtr& source : recipe->sources) {
        --source->readers;
        if (const auto found = r.read.find(source.get()); --found->second == 0) r.read.erase(found);
      }
      r.unread->notify_all();
    }
  };
  const auto reading = std::make_shared<Reading>();
  reading->recipe = recipe;
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  if (!storage->pending || storage->recipe != recipe) return nullptr;
  for (const StoragePtr& source : recipe->sources) {
    ++source->readers;
    ++r.read[source.get()];
  }
  reading->begun = true;
  return reading;
}

void fulfil(const StoragePtr& storage, const StoragePtr& memory) {
  SW_CHECK(storage->bytes == memory->bytes, "fulfil: expected ", storage->bytes, " bytes, got ", memory->bytes);
  std::shared_ptr<const Deferred> done;
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  if (storage->pending) done = complete(r, *storage, *memory);
}

// Two threads may both compute; the second one's memory is dropped. A recipe that was replaced meanwhile is computed
// anew.
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
  Registry& r = registry();
  std::unique_lock<std::mutex> lock(r.mutex);
  r.unread->wait(lock, [&] { return !r.read.count(source.get()); });
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
