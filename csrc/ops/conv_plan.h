// What a convolution's kernels would be on a CUDA device.
#pragma once
#include <string>

#include "core/device.h"
#include "core/dtype.h"
#include "kernels/conv_choice.h"
#include "kernels/conv_shape.h"

namespace skipway {

// What a CUDA device would do, by the kernel "conv_plan", which launches nothing: lines "algorithm", "reason" and
// "blocks threads bytes" (of shared memory). multiprocessors: of another device of its kind, 0 for this one's.
struct ConvPlanArgs {
  ConvShape shape;
  DType dtype;
  ConvPass pass;
  bool fused;  // there is more to do than the convolution
  char* text;
  size_t size;
};
using conv_plan_args = ConvPlanArgs;

// Would its kernel normalise what it loads (ConvPrologue) faster than a pass of its own would? By the kernel
// "conv_loads_norms", which launches nothing.
struct ConvLoadsNormsArgs {
  ConvShape shape;
  DType dtype;
  ConvPass pass;
  bool* loads;  // out
};
using conv_loads_norms_args = ConvLoadsNormsArgs;
bool conv_cuda_loads_norms(const ConvShape& shape, DType dtype, ConvPass pass, Device device);

std::string conv_cuda_plan(const ConvShape& shape, DType dtype, ConvPass pass, bool fused, Device device,
                           int multiprocessors = 0);

}  // namespace skipway
