#include "ops/conv_image.h"

#include <algorithm>

#include "ops/conv_plan.h"

namespace skipway {
namespace {

// Can the kernel normalise in passing? The others would have to make a copy, which others can then read as well.
bool loads_norms(const ConvShape& shape, DType dtype, ConvPass pass, Device device) {
  if (!device.is_cpu()) return conv_cuda_loads_norms(shape, dtype, pass, device);
  if (dtype != DType::Float32 && dtype != DType::BFloat16) return false;
  const int64_t lanes = std::min(64, 16 << int(current_isa())) / size_of(accumulate_dtype(dtype));
  return conv_algorithm(shape, dtype, pass, lanes) == ConvAlgorithm::Winograd;
}

}  // namespace

ConvImage conv_image(const ConvShape& shape, const Tensor& x, ConvPass pass) {
  auto norm = norm_recipe(x);
  if (norm && !norm->residual.defined() && loads_norms(shape, x.dtype(), pass, x.device()))
    if (auto reading = read_sources(x.storage(), norm))
      return {norm->x.data(), prologue_of(*norm), norm, std::move(reading)};
  return {x.data(), {}, nullptr, nullptr};
}

}  // namespace skipway
