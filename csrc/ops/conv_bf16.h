// Convolutions of bfloat16 images on instructions that multiply bfloat16 (kernels/isa_level.h). The formulas stand in
// ops/conv.h. Sums are float32. Weights and biases may be float32: they are rounded to bfloat16 while they are packed,
// so that mixed precision needs no copies of them, and their gradients may be float32 too.
#pragma once
#include "kernels/conv_shape.h"
#include "kernels/isa_level.h"
#include "ops/conv.h"

namespace skipway {

// Forward: from is x, to is y. Data gradient: from is dy, to is dx.
struct ConvBf16Args {
  ConvShape shape;
  bool data_grad;
  const void* from;
  const void* weight;
  const void* bias;  // may be null
  DType weight_dtype, bias_dtype;
  void* to;
  bool add;  // to the values that are there
  ConvPrologue prologue;
  ConvEpilogue epilogue;  // without moments
  ConvPacked packed;
  int64_t* packed_bytes;  // not null: out, instead of computing
};
struct ConvBf16WeightGradArgs {
  ConvShape shape;
  const void *x, *dy;
  void* dweight;
  DType dweight_dtype;
  ConvPrologue prologue;  // of x
};
SW_DECLARE_BF16_KERNEL(conv_bf16, ConvBf16Args)
SW_DECLARE_BF16_KERNEL(conv_bf16_weight_grad, ConvBf16WeightGradArgs)

// Does the present level compute this convolution in bfloat16?
bool runs_bf16(const ConvShape& shape);
bool runs_bf16_weight_grad(const ConvShape& shape);  // of one and two dimensions

// Mixed precision: conv2d(input, weight, bias) computed in bfloat16, whatever their dtypes (bfloat16 or float32). The
// gradients of float32 weights are float32 sums that are not rounded in between, where the present level has kernels.
Tensor conv2d_mixed(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
                    const Shape& padding, const Shape& dilation, int64_t groups);

// For the kernels of ops/conv.h: true when a call of dtype bfloat16 has been computed here, with its epilogue unless
// that asks for moments.
bool conv_forward_bf16(const ConvForwardArgs& a);
bool conv_packed_bytes_bf16(const ConvPackedBytesArgs& a);
bool conv_data_grad_bf16(const ConvDataGradArgs& a);
bool conv_weight_grad_bf16(const ConvWeightGradArgs& a);

}  // namespace skipway
