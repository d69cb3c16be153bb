// Where a tensor lives.
#pragma once
#include <cstdint>
#include <string>

namespace skipway {

enum class DeviceType : uint8_t { CPU, CUDA };

struct Device {
  DeviceType type = DeviceType::CPU;
  int8_t index = 0;
  bool is_cpu() const { return type == DeviceType::CPU; }
  bool operator==(const Device&) const = default;
  std::string str() const;                    // "cpu", "cuda:0"
  static Device parse(const std::string& s);  // throws DeviceError
};

}  // namespace skipway
