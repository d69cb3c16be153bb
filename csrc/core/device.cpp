#include "core/device.h"

#include "core/check.h"
#include "core/cuda.h"

namespace skipway {

std::string Device::str() const { return is_cpu() ? "cpu" : "cuda:" + std::to_string(index); }

Device Device::parse(const std::string& s) {
  if (s == "cpu" || s == "cpu:0") return {};
  if (s == "cuda") return {DeviceType::CUDA, int8_t(cuda::current_device())};
  if (s.size() > 5 && s.size() <= 7 && s.rfind("cuda:", 0) == 0 &&
      s.find_first_not_of("0123456789", 5) == std::string::npos) {
    return {DeviceType::CUDA, int8_t(std::stoi(s.substr(5)))};
  }
  throw DeviceError(concat("device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"", s, "\""));
}

}  // namespace skipway
