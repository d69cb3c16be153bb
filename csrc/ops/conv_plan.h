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
std::string conv_cuda_plan(const ConvShape& shape, DType dtype, ConvPass pass, bool fused, Device device,
                           int multiprocessors = 0);

}  // namespace skipway
