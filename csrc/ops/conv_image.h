// The source image of a convolution: memory, or a norm that the kernel applies as it loads what the norm reads.
#pragma once
#include "kernels/conv_choice.h"
#include "ops/conv.h"
#include "ops/deferred_norm.h"

namespace skipway {

struct ConvImage {
  const void* data;
  ConvPrologue prologue;
  std::shared_ptr<const NormRecipe> norm;  // keeps alive what the pointers point to
  std::shared_ptr<const void> reading;     // no thread changes it before this goes
};
// x: dense channels-last, of dtype; `pass` Forward or WeightGrad.
ConvImage conv_image(const ConvShape& shape, const Tensor& x, ConvPass pass);

}  // namespace skipway
