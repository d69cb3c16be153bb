#include "ops/conv_image.h"

#include "ops/conv_plan.h"

namespace skipway {
namespace {

// Does the kernel copy the image in any case, so that it can normalise in passing? What the others would have to write,
// others can then read as well.
bool loads_norms(const ConvShape& shape, DType dtype, ConvPass pass, Device device) {
  if (!device.is_cpu()) return conv_cuda_loads_norms(shape, dtype, pass, device);
  if (dtype != DType::Float32 && dtype != DType::BFloat16) return false;
  for (int64_t padding : shape.padding)
    if (padding > 0) return true;
  return false;
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
