#include "ops/conv_plan.h"

#include "kernels/dispatch.h"

namespace skipway {

std::string conv_cuda_plan(const ConvShape& shape, DType dtype, ConvPass pass, bool fused, Device device,
                           int multiprocessors) {
  char text[256] = "";
  const auto plan = reinterpret_cast<cuda::KernelFunction<ConvPlanArgs>>(cuda::find_kernel("conv_plan", device));
  cuda::Stream stream = cuda::current_stream(device.index);
  if (multiprocessors > 0) stream.multiprocessors = multiprocessors;
  plan({shape, dtype, pass, fused, text, sizeof text}, stream);
  return text;
}

bool conv_cuda_loads_norms(const ConvShape& shape, DType dtype, ConvPass pass, Device device) {
  bool loads = false;
  const auto ask =
      reinterpret_cast<cuda::KernelFunction<ConvLoadsNormsArgs>>(cuda::find_kernel("conv_loads_norms", device));
  ask({shape, dtype, pass, &loads}, cuda::current_stream(device.index));
  return loads;
}

}  // namespace skipway
