// Memory that is computed when it is first read. An op may return a tensor on deferred storage: a recipe with what it
// is to be computed from. Most readers ask for the address, which computes it; an op that can do the recipe's work in
// passing (a convolution that normalises what it loads, an activation that joins the addition before it) takes the
// recipe instead, and the memory may never exist. A recipe gives the bits that its op would have given at once.
//
// What a recipe reads must not change before: whoever changes memory in place calls settle_readers() first; whoever
// lets others change it (an array exported to NumPy) calls never_defer_from(); a change of streams settles all.
#pragma once
#include <memory>
#include <vector>

#include "core/storage.h"

namespace skipway {

struct Deferred {
  virtual ~Deferred() = default;
  virtual void compute(void* to) const = 0;  // on the current stream of the device
  std::vector<StoragePtr> sources;           // what compute() reads
};

// Storage whose memory the recipe computes. The recipe's sources must be recipe_source()s. Where it has grown out of
// `from`, storage `of`'s: null if that no longer is its recipe, as another thread may have settled it to change a
// source.
StoragePtr defer(size_t bytes, Device device, std::shared_ptr<const Deferred> recipe, const StoragePtr& of = nullptr,
                 const std::shared_ptr<const Deferred>& from = nullptr);
// The recipe, unless the memory has been computed.
std::shared_ptr<const Deferred> pending_recipe(const StoragePtr& storage);
// Pending storage gets another recipe: an op has changed it in place. False if `from` is no longer its recipe: another
// thread has read or changed it meanwhile.
bool replace_recipe(const StoragePtr& storage, const std::shared_ptr<const Deferred>& from,
                    std::shared_ptr<const Deferred> to);
// Pending storage takes over memory of the same size, now that this holds what it would have computed.
void fulfil(const StoragePtr& storage, const StoragePtr& memory);

// A kernel reads the sources of `recipe` in storage's place: until what is returned is let go, settle_readers() of a
// source waits, so that no other thread changes it. Null if `recipe` is no longer the storage's.
std::shared_ptr<const void> read_sources(const StoragePtr& storage, const std::shared_ptr<const Deferred>& recipe);

void settle_readers(const StoragePtr& source);  // computes all that is to be computed from it
void settle_all(Device device);
void never_defer_from(const StoragePtr& storage);
// May its memory be read later than now? Not where others can change it unseen.
bool recipe_source(const StoragePtr& storage);

// Off: ops compute their results at once. On by default; results do not depend on it.
bool deferral_enabled();
void set_deferral_enabled(bool on);

}  // namespace skipway
