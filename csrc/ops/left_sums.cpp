#include "ops/left_sums.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/storage.h"

namespace skipway {
namespace {

std::atomic<bool> enabled{false}, with_moments{false};
std::atomic<int64_t> taken{0}, used{0};

struct Left {
  std::weak_ptr<Storage> of;
  uint64_t version;
  Tensor coefficients, sums;
  FusedAct activation;
};
struct Registry {
  std::mutex mutex;
  std::unordered_map<const Storage*, Left> left;
};
Registry& registry() {
  static Registry* const r = new Registry;
  return *r;
}

bool holds(const Left& left, const StoragePtr& storage) {
  const StoragePtr known = left.of.lock();
  return known && known == storage && left.version == known->version;
}

void leave(const Tensor& t, const Tensor& coefficients, const Tensor& sums, FusedAct activation) {
  const StoragePtr& storage = t.storage();
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  std::erase_if(r.left, [](const auto& entry) { return entry.second.of.expired(); });
  r.left.insert_or_assign(storage.get(), Left{storage, storage->version, coefficients, sums, activation});
}

}  // namespace

bool grad_sums_enabled() { return enabled; }
void set_grad_sums_enabled(bool on) { enabled = on; }
int64_t grad_sums_taken() { return taken; }

void leave_grad_sums(const Tensor& gradient, const Tensor& coefficients, FusedAct activation, const Tensor& sums) {
  leave(gradient, coefficients, sums, activation);
}

Tensor take_grad_sums(const Tensor& gradient, const Tensor& coefficients, FusedAct activation) {
  if (!enabled) return {};  // nor does anybody wait for the mutex, as a child forked meanwhile would for ever
  const StoragePtr& storage = gradient.storage();
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  const auto found = r.left.find(storage.get());
  if (found == r.left.end()) return {};
  const Left left = std::move(found->second);
  r.left.erase(found);
  const bool fits = holds(left, storage) && left.coefficients.defined() &&
                    left.coefficients.storage() == coefficients.storage() && left.activation == activation;
  if (!fits) return {};
  ++taken;
  return left.sums;
}

bool moments_enabled() { return with_moments; }
void set_moments_enabled(bool on) { with_moments = on; }
int64_t moments_used() { return used; }

void leave_moments(const Tensor& result, const Tensor& moments) { leave(result, {}, moments, FusedAct::None); }

Tensor moments_left(const Tensor& x) {
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  const auto found = r.left.find(x.storage().get());
  const bool fits =
      found != r.left.end() && holds(found->second, x.storage()) && !found->second.coefficients.defined() &&
      x.storage()->bytes == size_t(x.numel() * size_of(x.dtype())) && found->second.sums.numel() == 2 * x.size(1);
  if (!fits) return {};
  ++used;
  return found->second.sums;
}

}  // namespace skipway
