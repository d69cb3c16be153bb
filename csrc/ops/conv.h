// Convolution (cross-correlation) in 1 to 3 dimensions, shown in 2. With C/g channels c of the group of k:
//   y[n][k][oh][ow] = bias[k] + sum_{c, r, s} x[n][c][oh * stride - padding + r * dilation][ow * ... + s * ...] *
//   w[k][c][r][s]
// where x is 0 outside. Its gradients:
//   dx[n][c][ih][iw] = sum over k, r, s and those oh, ow that read (ih, iw) through (r, s) of dy[n][k][oh][ow] *
//   w[k][c][r][s] dw[k][c][r][s] = sum_{n, oh, ow} dy[n][k][oh][ow] * x[n][c][oh * stride - padding + r *
//   dilation][...] dbias[k] = sum_{n, oh, ow} dy[n][k][oh][ow]
// A transposed convolution computes dx from dy: x takes the place of dy, and the result the place of dx.
//
// In memory images are channels-last and weights are contiguous (out, in / groups, kernel...).
#pragma once
#include <string>

#include "core/tensor.h"
#include "kernels/conv_fused_args.h"
#include "kernels/conv_shape.h"
#include "kernels/dispatch.h"

namespace skipway {

// stride, padding, dilation: one number for all dimensions, or one per dimension.
Tensor conv1d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride, const Shape& padding,
              const Shape& dilation, int64_t groups);
Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride, const Shape& padding,
              const Shape& dilation, int64_t groups);
Tensor conv3d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride, const Shape& padding,
              const Shape& dilation, int64_t groups);
// padding "same" (stride 1; the output is as large as the input, an odd element of padding comes last) or "valid".
Tensor conv1d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
              const std::string& padding, const Shape& dilation, int64_t groups);
Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
              const std::string& padding, const Shape& dilation, int64_t groups);
Tensor conv3d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
              const std::string& padding, const Shape& dilation, int64_t groups);
// weight: (in, out / groups, kernel...). The output has (in - 1) * stride - 2 * padding + dilation * (kernel - 1) +
// output_padding + 1 elements per dimension.
Tensor conv_transpose1d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
                        const Shape& padding, const Shape& output_padding, int64_t groups, const Shape& dilation);
Tensor conv_transpose2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
                        const Shape& padding, const Shape& output_padding, int64_t groups, const Shape& dilation);
Tensor conv_transpose3d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
                        const Shape& padding, const Shape& output_padding, int64_t groups, const Shape& dilation);

// A convolution with what stands before and behind it in a residual network (kernels/conv_fused_args.h): for inference,
// and to build ops from; nothing is recorded for a backward pass. float32, bfloat16 and, on CUDA, float16.
struct ConvFusion {
  Tensor in_mean, in_scale, in_shift, scale, shift;  // float32, may be undefined
  Tensor residual;                                   // may be undefined
  FusedAct in_activation = FusedAct::None, activation = FusedAct::None;
  bool moments = false;
};
struct FusedConv {
  Tensor y, mean, deviations;  // float64 moments, undefined unless asked for
};
FusedConv conv2d_fused(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
                       const Shape& padding, const Shape& dilation, int64_t groups, const ConvFusion& fusion);

// May float32 convolutions on CUDA devices round their operands to tf32 (10 bits of fraction)? Not unless asked for.
void set_conv_tf32(bool allowed);
bool conv_tf32();

// Memory for the weights in the order in which the kernel reads them, of conv_packed_bytes; the kernel fills it unless
// it is ready. Null: the kernel packs them for itself.
struct ConvPacked {
  void* data = nullptr;
  bool ready = false;
};
// All pointers are of `dtype`. tf32: float32 may be rounded so on tensor cores; CPU kernels have none, and do not.
struct ConvForwardArgs {
  ConvShape shape;
  DType dtype;
  const void *x, *weight, *bias;  // bias may be null
  void* y;
  ConvPrologue prologue = {};
  ConvEpilogue epilogue = {};
  bool tf32 = false;
  ConvPacked packed = {};  // CPU kernels only
};
struct ConvPackedBytesArgs {
  ConvShape shape;
  DType dtype;
  int64_t* bytes;  // out; 0 where nothing is gained
};
struct ConvDataGradArgs {
  ConvShape shape;
  DType dtype;
  const void *dy, *weight, *bias;  // bias: of a transposed convolution, in_channels elements, may be null
  Grad dx;
  bool tf32 = false;
  ConvGradSums sums = {};  // CUDA kernels only, where dx is written and there is no bias
};
struct ConvWeightGradArgs {
  ConvShape shape;
  DType dtype;
  const void *x, *dy;
  void* dweight;
  bool tf32 = false;
  ConvPrologue prologue = {};  // of x
};
struct ChannelSumArgs {  // sum over the rows of a dense (rows, channels) matrix
  int64_t rows, channels;
  DType dtype;
  const void* x;
  void* sum;
};
SW_DECLARE_KERNEL(conv_forward, ConvForwardArgs)
SW_DECLARE_KERNEL(conv_packed_bytes, ConvPackedBytesArgs)  // CPU only
SW_DECLARE_KERNEL(conv_data_grad, ConvDataGradArgs)
SW_DECLARE_KERNEL(conv_weight_grad, ConvWeightGradArgs)
SW_DECLARE_KERNEL(channel_sum, ChannelSumArgs)

}  // namespace skipway
