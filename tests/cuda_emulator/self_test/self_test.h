// Small kernels that each do one thing wrong, or right: FAULT_TEST(name) { ... } launches them. A comment
// "// fault: KIND" stands on the line that the emulator must name for the kernel of the same test.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

namespace self_test {

struct Test {
  Test(const char* name, void (*run)(bool right));
  const char* name;
  void (*run)(bool right);
};

// Device memory with a value per element, or uninitialised
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n) : n_(n) {
    if (cudaMalloc(&data_, n * sizeof(T)) != cudaSuccess) throw std::runtime_error("cudaMalloc failed");
  }
  DeviceArray(size_t n, T value) : DeviceArray(n) {
    const std::vector<T> host(n, value);
    cudaMemcpy(data_, host.data(), n * sizeof(T), cudaMemcpyHostToDevice);
  }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    cudaMemcpy(data_, host.data(), n_ * sizeof(T), cudaMemcpyHostToDevice);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  operator T*() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> all(n_);
    cudaMemcpy(all.data(), data_, n_ * sizeof(T), cudaMemcpyDeviceToHost);
    return all;
  }

 private:
  T* data_ = nullptr;
  size_t n_;
};

inline void expect(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}

}  // namespace self_test

#define EMULATOR_TEST(name)                                    \
  static void run_##name([[maybe_unused]] bool right);         \
  static const self_test::Test test_##name{#name, run_##name}; \
  static void run_##name([[maybe_unused]] bool right)

// Launches kernel<true> or kernel<false>.
#define LAUNCH(kernel, at, ...) \
  (right ? rt::launch(kernel<true>, at, __VA_ARGS__) : rt::launch(kernel<false>, at, __VA_ARGS__))
