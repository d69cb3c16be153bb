#include "core/generator.h"

#include <cstring>
#include <random>

#include "core/cuda_graph.h"

namespace skipway {
namespace {

constexpr int64_t kStateBytes = 16;

uint64_t entropy() {
  std::random_device device;
  return uint64_t(device()) << 32 | device();
}

}  // namespace

Generator::Generator(Device device) : key_{entropy(), 0}, device_(device) {}

RngKey Generator::key() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return key_;
}

void Generator::set_key(RngKey key) {
  std::lock_guard<std::mutex> lock(mutex_);
  key_ = key;
}

void Generator::manual_seed(uint64_t seed) { set_key({seed, 0}); }

uint64_t Generator::seed() {
  const uint64_t seed = entropy();
  manual_seed(seed);
  return seed;
}

uint64_t Generator::initial_seed() const { return key().seed; }

RngKey Generator::next(Device device) {
  cuda::Graph* const graph = cuda::capturing();
  if (graph && device.is_cpu()) cuda::not_in_capture("a random op on the CPU");
  std::lock_guard<std::mutex> lock(mutex_);
  const RngKey key = graph ? graph->next_key(shared_from_this(), key_) : key_;
  ++key_.offset;
  return key;
}

Tensor Generator::get_state() const {
  Tensor state = empty({kStateBytes}, DType::UInt8);
  const RngKey now = key();
  uint8_t* bytes = state.data_as<uint8_t>();
  for (int i = 0; i < 8; ++i) {
    bytes[i] = uint8_t(now.seed >> (8 * i));
    bytes[8 + i] = uint8_t(now.offset >> (8 * i));
  }
  return state;
}

void Generator::set_state(const Tensor& state) {
  check_defined("set_state", "new_state", state);
  SW_CHECK_TYPE(state.dtype() == DType::UInt8, "set_state: expected a uint8 tensor, got ", state.dtype());
  SW_CHECK_SHAPE(state.dim() == 1 && state.shape()[0] == kStateBytes, "set_state: expected a state of shape (",
                 kStateBytes, ",), got ", state.shape());
  RngKey key;
  const uint8_t* bytes = state.data_as<uint8_t>();
  const int64_t stride = state.strides()[0];
  for (int i = 0; i < 8; ++i) {
    key.seed |= uint64_t(bytes[i * stride]) << (8 * i);
    key.offset |= uint64_t(bytes[(8 + i) * stride]) << (8 * i);
  }
  set_key(key);
}

GeneratorPtr Generator::clone() const {
  auto copy = std::make_shared<Generator>(device_);
  copy->set_key(key());
  return copy;
}

const GeneratorPtr& default_generator() {
  static const GeneratorPtr* generator = new GeneratorPtr(std::make_shared<Generator>());  // outlives every thread
  return *generator;
}

}  // namespace skipway
