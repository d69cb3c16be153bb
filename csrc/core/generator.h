// A source of random numbers: a seed and a count of the ops served. Safe to use from several threads.
#pragma once
#include <memory>
#include <mutex>

#include "core/rng.h"
#include "core/tensor.h"

namespace skipway {

class Generator : public std::enable_shared_from_this<Generator> {
 public:
  explicit Generator(Device device = {});  // seeded by the system's entropy
  void manual_seed(uint64_t seed);         // and starts again at offset 0
  uint64_t seed();                         // reseeds from the system's entropy and returns the seed
  uint64_t initial_seed() const;
  Tensor get_state() const;             // uint8, 16 elements: seed, offset, little-endian
  void set_state(const Tensor& state);  // throws TypeError, ShapeError
  Device device() const { return device_; }
  std::shared_ptr<Generator> clone() const;
  RngKey key() const;
  void set_key(RngKey key);
  RngKey next(Device device);  // the key of one op on a tensor there; in a captured graph, of that op in each replay

 private:
  mutable std::mutex mutex_;
  RngKey key_;
  Device device_;
};
using GeneratorPtr = std::shared_ptr<Generator>;

const GeneratorPtr& default_generator();

}  // namespace skipway
